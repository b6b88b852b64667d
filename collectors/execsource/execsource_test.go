package execsource

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

var all = collectors.Query{Protocols: []collectors.Protocol{collectors.TCP, collectors.UDP}, States: collectors.AllStates}

func program(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func collect(t testing.TB, ctx context.Context, path string) (sockets []collectors.Socket, err error) {
	t.Helper()
	p, err := Plugin(path)
	if err != nil {
		t.Fatal(err)
	}
	for s, err := range p.New(-1).Collect(ctx, all) {
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, *s)
	}
	return sockets, nil
}

const good = `{"protocol":"tcp","state":"CLOSE-WAIT","local_addr":"10.0.0.1","port":80,"remote_addr":"10.0.0.2","remote_port":4000,` +
	`"cookie":"1a2b","inode":7,"recv_queue":1}`

func TestRecords(t *testing.T) {
	got, err := collect(t, t.Context(), program(t, "cat <<'X'\n"+good+"\n\n"+
		`{"protocol":"udp","state":"CLOSE","local_addr":"::","port":53,"remote_addr":"::","remote_port":0}`+"\nX\n"))
	if err != nil || len(got) != 2 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	s := got[0]
	if s.State != collectors.CloseWait || s.Cookie != 0x1a2b || s.Family != collectors.IPv4 || s.LocalPort != 80 || s.RemotePort != 4000 || s.Inode != 7 {
		t.Errorf("%+v", s)
	}
	if !s.Known.Has(collectors.FieldRecvQueue) || s.Known.Has(collectors.FieldSendQueue) || s.Known.Has(collectors.FieldUID) || s.Known.Has(collectors.FieldIdle) {
		t.Errorf("known %s", s.Known)
	}
	if u := got[1]; u.Protocol != collectors.UDP || u.Family != collectors.IPv6 || u.Cookie != 0 || u.Known.Has(collectors.FieldCookie) {
		t.Errorf("%+v", u)
	}
}

func TestRefused(t *testing.T) {
	replace := func(old, new string) string {
		out := strings.Replace(good, old, new, 1)
		if out == good {
			t.Fatalf("%q is not in the record", old)
		}
		return out
	}
	for line, word := range map[string]string{
		"hello":                             "line 1: record",
		replace(`"inode"`, `"inodes"`):      "unknown field",
		replace(`"tcp"`, `"sctp"`):          "neither tcp nor udp",
		replace("CLOSE-WAIT", "CLOSEWAIT"):  "unknown state",
		replace(`"port":80,`, ""):           "must be there",
		replace(`80`, `70000`):              "record",
		replace("10.0.0.2", "fe80::1"):      "one family",
		replace("10.0.0.2", "nowhere"):      "record",
		replace("1a2b", "xyz"):              "not a cookie",
		replace("1a2b", "0"):                "not a cookie",
		replace("1a2b", "ffffffffffffffff"): "not a cookie",
		good + good:                         "more than one object",
		strings.Repeat("x", maxLine+1):      "too long",
	} {
		got, err := collect(t, t.Context(), program(t, "cat <<'X'\n"+line+"\nX\n"))
		if err == nil || !strings.Contains(err.Error(), word) || len(got) != 0 {
			t.Errorf("%.80s: %d records, %v; want %q", line, len(got), err, word)
		}
	}
}

func TestProgram(t *testing.T) {
	if _, err := Plugin("source"); err == nil {
		t.Error("a relative path is taken")
	}
	for text, word := range map[string]string{
		"echo oops >&2; exit 3": "exit code 3: oops",
		"kill -9 $$":            "ended by SIGKILL",
	} {
		if _, err := collect(t, t.Context(), program(t, text)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := collect(t, t.Context(), "/nonexistent/source"); err == nil {
		t.Error("a missing program is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := collect(t, ctx, program(t, "sleep 60")); err == nil {
		t.Error("a cancelled context is no error")
	}
	// The environment is clean, and the reader may go away.
	t.Setenv("SECRET", "x")
	if _, err := collect(t, t.Context(), program(t, `test -z "$SECRET"`)); err != nil {
		t.Errorf("environment: %v", err)
	}
	p, _ := Plugin(program(t, "while :; do echo '"+good+"'; done"))
	for _, err := range p.New(-1).Collect(t.Context(), all) {
		if err != nil {
			t.Error(err)
		}
		break
	}
}

// alive reports whether a process still runs, by the number in a file beside the program.
func alive(t testing.TB, program string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(program), "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// away starts a process in its own session that holds the output.
const away = `(setsid sh -c 'echo $$ > '$(dirname $0)'/pid; exec sleep 1000' &)
while ! test -s $(dirname $0)/pid; do :; done
`

// Nothing is left of a program that ran out of time, was stopped, sent bad records, or
// whose reader wants no more.
func TestNothingIsLeft(t *testing.T) {
	run := func(t *testing.T, ctx context.Context, timeout time.Duration, text string, each func() bool) error {
		t.Helper()
		path := program(t, away+text)
		began := time.Now()
		var failed error
		for _, err := range (source{path, timeout}).Collect(ctx, all) {
			if failed = err; err != nil || !each() {
				break
			}
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		if alive(t, path) {
			t.Error("what it started is left")
		}
		return failed
	}
	yes := func() bool { return true }
	if err := run(t, t.Context(), 500*time.Millisecond, "sleep 1000", yes); err == nil || !strings.Contains(err.Error(), "killed after 500ms") {
		t.Errorf("timeout: %v", err)
	}
	// In the middle of a record as well.
	err := run(t, t.Context(), 500*time.Millisecond, `printf '{"protocol":'; sleep 1000`, yes)
	if err == nil || !strings.Contains(err.Error(), "killed after 500ms") {
		t.Errorf("timeout: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := func() bool { cancel(errors.New("no more")); return true }
	if err := run(t, ctx, time.Hour, "echo '"+good+"'; sleep 1000", stop); err == nil || !strings.Contains(err.Error(), "stopped: no more") {
		t.Errorf("stop: %v", err)
	}
	if err := run(t, t.Context(), time.Hour, "echo hello; sleep 1000", yes); err == nil || !strings.Contains(err.Error(), "line 1: record") {
		t.Errorf("wrong record: %v", err)
	}
	if err := run(t, t.Context(), time.Hour, "echo '"+good+"'; sleep 1000", func() bool { return false }); err != nil {
		t.Errorf("enough: %v", err)
	}
}

// What a program leaves behind delays nobody, and is not mistaken for its end.
func TestOutputHeld(t *testing.T) {
	path := program(t, away+"echo '"+good+"'")
	var got int
	var failed error
	for _, err := range (source{path, time.Hour}).Collect(t.Context(), all) {
		if failed = err; err == nil {
			got++
		}
	}
	if got != 1 || !errors.Is(failed, errHeld) {
		t.Errorf("%d records, %v", got, failed)
	}
	if !alive(t, path) {
		t.Error("it was killed")
	}
	text, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	_ = unix.Kill(pid, unix.SIGKILL)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"protocol":"udp","state":"CLOSE","local_addr":"::","port":53,"remote_addr":"::","remote_port":0,"dual_stack":true}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var s collectors.Socket
		if parse(line, &s) == nil && (s.Protocol == 0 || s.State == 0 || s.Cookie == ^uint64(0)) {
			t.Errorf("%+v", s)
		}
	})
}
