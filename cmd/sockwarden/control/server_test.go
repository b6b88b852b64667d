package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockwarden/engine/look"
	"sockwarden/engine/pause"
	"sockwarden/engine/report"
	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

// askAs is the variable by which the test binary becomes a client: the path of the socket.
const askAs = "SOCKWARDEN_TEST_ASK"

func TestMain(m *testing.M) {
	if path := os.Getenv(askAs); path != "" {
		code, err := newClient(path).Do(context.Background(), os.Args[1], os.Args[2], nil, nil)
		fmt.Println(code, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// place is a path for a socket in a directory of our own.
func place(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "control.sock")
}

// serve serves a board on a socket until the end of the test.
func serve(t *testing.T, o Options) (*Server, *Client) {
	t.Helper()
	if o.Path == "" {
		o.Path = place(t)
	}
	if o.Board == nil {
		o.Board = watch.NewBoard()
		o.Board.Show(good())
	}
	if o.PauseFile == "" {
		o.PauseFile = filepath.Join(t.TempDir(), "pause.json")
	}
	if o.SilenceFile == "" {
		o.SilenceFile = filepath.Join(t.TempDir(), "silences.json")
		o.Silences = []string{o.SilenceFile}
	}
	o.Log, o.Version, o.PauseFiles = slog.New(slog.DiscardHandler), "test", []string{o.PauseFile}
	s, err := Serve(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, newClient(o.Path)
}

// good is the state of a watcher that is well.
func good() *watch.Status {
	now := time.Now()
	return &watch.Status{
		Mode: "live", Started: now, Every: 3600, Due: now, Rules: watch.RulesStatus{Generation: "sha256:0123456789", Names: []string{"leak", "other"}, LastReload: watch.LastReload{Time: now, OK: true}},
		Cycle: &watch.CycleStatus{Time: now}, Report: &report.Report{},
	}
}

func (c *Client) get(t *testing.T, path string) (int, error) {
	t.Helper()
	return c.Do(t.Context(), http.MethodGet, path, nil, nil)
}

func wants(t *testing.T, err error, code int, words string) {
	t.Helper()
	no, ok := errors.AsType[*Refused](err)
	if !ok || no.Code != code || !strings.Contains(no.Text, words) {
		t.Errorf("got %v, not %d with %q", err, code, words)
	}
}

func TestSocketModes(t *testing.T) {
	for group, want := range map[string]os.FileMode{"": 0o600, "4242": 0o660} {
		s, c := serve(t, Options{Group: group})
		st, err := os.Lstat(s.socket.path)
		if err != nil || st.Mode().Type() != os.ModeSocket || st.Mode().Perm() != want {
			t.Errorf("group %q: %v %v", group, st.Mode(), err)
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || group != "" && sys.Gid != 4242 {
			t.Errorf("group %q: gid %d", group, sys.Gid)
		}
		if _, err := c.get(t, "/v1/status"); err != nil {
			t.Error(err)
		}
		s.Close()
		if _, err := os.Lstat(s.socket.path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
		if _, err := c.get(t, "/v1/status"); !errors.Is(err, ErrNobody) {
			t.Errorf("got %v", err)
		}
	}
}

// A socket that a killed watcher has left is replaced; one that is held is not touched.
func TestStaleAndHeld(t *testing.T) {
	path := place(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	_, c := serve(t, Options{Path: path})
	_, err = Serve(Options{Path: path, Board: watch.NewBoard(), Log: slog.New(slog.DiscardHandler)})
	if want := fmt.Sprintf("process %d holds %s", os.Getpid(), path); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, not %q", err, want)
	}
	if _, err := c.get(t, "/v1/status"); err != nil {
		t.Errorf("the first one answers no more: %v", err)
	}
}

// What is in the way, or could be replaced by others, is no place for a socket.
func TestNoPlace(t *testing.T) {
	file, open, long := place(t), place(t), filepath.Join(t.TempDir(), strings.Repeat("x", 100), "control.sock")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(open), 0o777); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "is not a socket", open: "others could put another socket in its place", long: "too long"} {
		_, err := Serve(Options{Path: path, Board: watch.NewBoard(), Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", path, err, want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("the file has %q, %v", b, err)
	}
	_, err := Serve(Options{Path: place(t), Group: "no-such-group", Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), `there is no group "no-such-group"`) {
		t.Errorf("got %v", err)
	}
}

// Root and the watcher's own user may change what it does; who can connect may read.
func TestWhoMayChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("another user can only be tried by root")
	}
	s, c := serve(t, Options{Group: "4242"})
	as := func(uid, gid uint32, method, path string) string {
		exe := filepath.Join(filepath.Dir(s.socket.path), "client")
		copyFile(t, exe)
		cmd := exec.Command(exe, method, path)
		cmd.Env = []string{askAs + "=" + s.socket.path, "GORACE=atexit_sleep_ms=0"} // it has no race to tell of
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, out)
		}
		return string(out)
	}
	for _, uid := range []uint32{4343, 65534} {
		if got := as(uid, 4242, "GET", "/v1/status"); !strings.HasPrefix(got, "200 <nil>") {
			t.Errorf("uid %d of the group may not read: %s", uid, got)
		}
		for _, path := range []string{"/v1/reload", "/v1/pause", "/v1/resume", "/v1/silences"} {
			if got := as(uid, 4242, "POST", path); !strings.HasPrefix(got, fmt.Sprintf("403 uid %d may look, and not change anything", uid)) {
				t.Errorf("uid %d, %s: %s", uid, path, got)
			}
		}
		if got := as(uid, 4343, "GET", "/v1/status"); !strings.Contains(got, "permission denied") {
			t.Errorf("uid %d of another group: %s", uid, got)
		}
	}
	if p := pause.Read(time.Now(), s.opts.PauseFile); p != nil {
		t.Errorf("paused %s", p)
	}
	if _, err := c.Do(t.Context(), http.MethodPost, "/v1/pause", nil, nil); err != nil {
		t.Error(err)
	}
	for uid, want := range map[uint32]bool{0: true, 4343: false, 65534: false} {
		if mayChange(uid) != want {
			t.Errorf("uid %d may change: %t", uid, !want)
		}
	}
}

func copyFile(t *testing.T, to string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(to); err == nil {
		return
	}
	if err := os.Chmod(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWrongRequests(t *testing.T) {
	_, c := serve(t, Options{})
	for _, q := range []struct {
		method, path, body string
		code               int
		words              string
	}{
		{"GET", "/", "", 404, "there is no /"},
		{"GET", "/v1/statu", "", 404, "there is no /v1/statu"},
		{"GET", "/v1/\x1b[2J", "", 404, `there is no "/v1/\x1b[2J"`},
		{"POST", "/v1/status", "", 405, "cannot be POST"},
		{"GET", "/v1/pause", "", 405, "cannot be GET"},
		{"POST", "/v1/pause", `{"for":"x"}`, 400, `for: "x" is not a time`},
		{"POST", "/v1/pause", `{"for":"-5m"}`, 400, "is not a time"},
		{"POST", "/v1/pause", `{"form":"5m"}`, 400, `unknown field "form"`},
		{"POST", "/v1/pause", `{} {}`, 400, "more than one"},
		{"POST", "/v1/pause", `not json`, 400, "not what it has to be"},
		{"POST", "/v1/pause", `{"by":"` + strings.Repeat("x", maxBody) + `"}`, 400, "larger than"},
		{"POST", "/v1/silences", ``, 400, "for:"},
		{"POST", "/v1/silences", `{"for":"2h"}`, 400, "nothing is selected"},
		{"POST", "/v1/silences", `{"for":"2h","rules":["leek"]}`, 422, `no rule "leek" (did you mean "leak"?)`},
		{"POST", "/v1/silences", `{"for":"2h","expr":"prt == 80"}`, 422, "the condition is wrong"},
		{"POST", "/v1/silences", `{"for":"-2h","rules":["leak"]}`, 400, "for:"},
		{"PUT", "/v1/silences", ``, 405, "cannot be PUT"},
		{"DELETE", "/v1/silences/7", ``, 404, "there is no silence 7 in force"},
		{"DELETE", "/v1/silences/x", ``, 400, "x is no number"},
		{"GET", "/v1/silences/7", ``, 405, "cannot be GET"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), q.method, "http://watcher", strings.NewReader(q.body))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path = q.path
		a, err := c.http.Do(r)
		if err != nil {
			t.Errorf("%s %s: %v", q.method, q.path, err)
			continue
		}
		var doc errorDoc
		err = json.NewDecoder(a.Body).Decode(&doc)
		_ = a.Body.Close()
		if err != nil || a.StatusCode != q.code || !strings.Contains(doc.Error, q.words) || doc.Problems == nil {
			t.Errorf("%s %q %.20s: %d %q %v", q.method, q.path, q.body, a.StatusCode, doc.Error, err)
		}
	}
	if _, err := c.get(t, "/v1/status"); err != nil {
		t.Error(err)
	}
}

func TestPauseByRequest(t *testing.T) {
	s, c := serve(t, Options{})
	var doc struct{ Paused *pause.Pause }
	if _, err := c.Do(t.Context(), http.MethodPost, "/v1/pause", pauseRequest{For: "30m", By: "anna\x1b[2J"}, &doc); err != nil {
		t.Fatal(err)
	}
	p := pause.Read(time.Now(), s.opts.PauseFile)
	if p == nil || p.Until.Sub(p.Since) != 30*time.Minute || !strings.HasPrefix(p.By, `"anna\x1b[2J", as `) || doc.Paused == nil {
		t.Errorf("paused %+v, said %+v", p, doc.Paused)
	}
	st, err := c.Status(t.Context())
	if err != nil || st.Paused == nil || !st.Well || st.Version != "test" || st.PID != os.Getpid() {
		t.Errorf("%+v, %v", st, err)
	}
	var ended struct {
		Resumed bool
		Paused  *pause.Pause
	}
	if _, err := c.Do(t.Context(), http.MethodPost, "/v1/resume", nil, &ended); err != nil || !ended.Resumed || ended.Paused != nil {
		t.Errorf("%+v, %v", ended, err)
	}
	if p := pause.Read(time.Now(), s.opts.PauseFile); p != nil {
		t.Errorf("still paused %s", p)
	}
}

// Clients that do not write, do not read, or are a thousand, keep nobody out.
func TestHostileClients(t *testing.T) {
	board := watch.NewBoard()
	st := good()
	rule := &rules.Rule{Name: strings.Repeat("r", 1000)}
	for range 2_000 { // far more than fits into the buffers of a socket
		st.Report.Findings = append(st.Report.Findings, &report.Finding{Rule: rule, Candidate: &look.Candidate{NS: &look.Namespace{}}})
	}
	board.Show(st)
	s, c := serve(t, Options{Board: board})
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	hostile := []string{"", "GET /v1/findings HTTP/1.1\r\nHost: x\r\n\r\n", "GET /v1/sta", "\x00\xff\x16\x03\x01", strings.Repeat("GET ", 10_000)}
	for i := range 1000 {
		conn, err := net.Dial("unix", s.socket.path)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(conn, hostile[i%len(hostile)])
		open = append(open, conn)
		if i%100 != 0 {
			continue
		}
		if _, err := c.get(t, "/v1/status"); err != nil {
			t.Fatalf("after %d hostile ones: %v", i+1, err)
		}
	}
	if _, err := c.get(t, "/readyz"); err != nil {
		t.Error(err)
	}
}

// All findings come, or as many as a client wants.
func TestFindings(t *testing.T) {
	board := watch.NewBoard()
	_, c := serve(t, Options{Board: board})
	_, err := c.get(t, "/v1/status")
	wants(t, err, 503, "is starting: it has not looked yet")
	st := good()
	for _, n := range []int{0, 1, 3} {
		st.Report = &report.Report{}
		for range n {
			st.Report.Findings = append(st.Report.Findings, &report.Finding{Rule: &rules.Rule{Name: "r"}, Decision: report.DecideObserve, Candidate: &look.Candidate{NS: &look.Namespace{}}})
		}
		board.Show(st)
		var all []struct{ Rule, Decision string }
		if _, err := c.Do(t.Context(), http.MethodGet, "/v1/findings", nil, &all); err != nil || len(all) != n || n > 0 && (all[0].Rule != "r" || all[0].Decision != "observe") {
			t.Errorf("%d: %v, %v", n, all, err)
		}
	}
}

func TestHealth(t *testing.T) {
	board := watch.NewBoard()
	_, c := serve(t, Options{Board: board})
	st := good()
	st.Rules.LastReload = watch.LastReload{Time: time.Now(), Problems: []watch.Problem{{File: "a.yaml", Line: 3, Column: 5, Message: "wrong"}}}
	board.Show(st)
	if _, err := c.get(t, "/healthz"); err != nil {
		t.Error(err)
	}
	_, err := c.get(t, "/readyz")
	wants(t, err, 503, "rejected")
	said, err := c.Status(t.Context())
	if err != nil || said.Well || len(said.Wrong) != 1 || said.Rules.LastReload.Problems[0].String() != "a.yaml:3:5: wrong" {
		t.Errorf("%+v, %v", said, err)
	}
}

// A reload waits for the loop, and while it is busy the client says so.
func TestReloadOfBusyLoop(t *testing.T) {
	_, c := serve(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Reload(ctx, func(string) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := c.get(t, "/v1/status"); err != nil {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	s, _ := serve(t, Options{})
	missing := filepath.Join(t.TempDir(), "nothing")
	c, err := Find(t.Context(), []string{missing, s.socket.path})
	if err != nil || c.Path != s.socket.path {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := Find(t.Context(), []string{missing}); !errors.Is(err, ErrNobody) || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v", err)
	}
	t.Setenv("RUNTIME_DIRECTORY", "/run/one:/run/two")
	if Default() != "/run/one/control.sock" {
		t.Errorf("default %s", Default())
	}
	if places := Places(); !bytes.Equal([]byte(places[len(places)-1]), []byte("/run/sockwarden/control.sock")) || places[0] != Default() {
		t.Errorf("places %v", places)
	}
}

// A silence is kept, listed with what it covers, and removed.
func TestSilences(t *testing.T) {
	board := watch.NewBoard()
	st := good()
	for _, name := range []string{"leak", "leak", "other"} {
		st.Report.Findings = append(st.Report.Findings, &report.Finding{Rule: &rules.Rule{Name: name}, Candidate: &look.Candidate{NS: &look.Namespace{}}})
	}
	board.Show(st)
	s, c := serve(t, Options{Board: board})
	var added watch.SilenceStatus
	if _, err := c.Do(t.Context(), http.MethodPost, "/v1/silences", SilenceRequest{For: "2h", Rules: []string{"leak"}, By: "anna", Comment: "x"}, &added); err != nil {
		t.Fatal(err)
	}
	if added.ID != 1 || added.Spares != 2 || added.EndsAt.Sub(added.StartsAt) != 2*time.Hour || !strings.HasPrefix(added.CreatedBy, "anna, as ") {
		t.Errorf("%+v", added)
	}
	if in := silence.NewStore(s.opts.SilenceFile).At(time.Now()); len(in) != 1 || in[0].Comment != "x" {
		t.Errorf("kept %+v", in)
	}
	said, err := c.Status(t.Context())
	if err != nil || !said.Well || len(said.Silences) != 1 || said.Silences[0].Spares != 2 {
		t.Errorf("%+v, %v", said, err)
	}
	if _, err := c.Do(t.Context(), http.MethodDelete, "/v1/silences/1", nil, nil); err != nil {
		t.Error(err)
	}
	var all []watch.SilenceStatus
	if _, err := c.Do(t.Context(), http.MethodGet, "/v1/silences", nil, &all); err != nil || all == nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	// A broken file is not well: nothing is done.
	if err := os.WriteFile(s.opts.SilenceFile, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := c.Status(t.Context()); err != nil || said.Well || !strings.Contains(said.Wrong[0], "nothing is done: silences that cannot be read") {
		t.Errorf("%+v, %v", said, err)
	}
}
