package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

const envURL = "WEBHOOK_TEST_URL"

// notifier posts to a URL from the environment, with short pauses.
func notifier(t *testing.T, url string, params map[string]any) *webhook {
	t.Helper()
	socklab.Need(t)
	t.Setenv(envURL, url)
	all := map[string]any{"url_env": envURL}
	maps.Copy(all, params)
	n, err := Plugin().New(all)
	must(t, "New", err)
	w := n.(*webhook)
	w.pause = time.Millisecond
	return w
}

// server is a receiver that records requests and answers them with a function.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	times    []time.Time
	requests []*http.Request
	bodies   []string
}

// serve answers with handle, which gets the number of the request, from 1.
func serve(t *testing.T, handle func(w http.ResponseWriter, r *http.Request, n int)) *server {
	t.Helper()
	socklab.Need(t)
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.times, s.requests, s.bodies = append(s.times, now), append(s.requests, r), append(s.bodies, string(body))
		n := len(s.times)
		s.mu.Unlock()
		handle(w, r, n)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

func status(code int) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(code) }
}

func TestNew(t *testing.T) {
	p := Plugin()
	for what, text := range map[string]string{"name": p.Name, "summary": p.Summary, "doc": p.Doc, "needs": p.Needs} {
		if strings.TrimSpace(text) != text || text == "" {
			t.Errorf("%s is %q", what, text)
		}
	}
	for _, good := range []map[string]any{
		{"url_env": "X"},
		{"url_file": "/etc/url"},
		{"url_env": "X", "format": "generic"},
		{"url_env": "X", "format": "slack"},
		{"url_env": "X", "format": "discord"},
		{"url_env": "X", "timeout": 100 * time.Millisecond},
		{"url_env": "X", "timeout": time.Minute},
		{"url_env": "X", "rate": 1.0, "repeat": time.Minute, "resolved": false},
		{"url_env": "X", "rate": 60.0, "repeat": 144 * time.Hour, "format": "slack"},
		{"url_env": "X", "template": `{"text": {{json .text}}}`},
		{"url_env": "X", "template": `{{json .}}`},
	} {
		if n, err := p.New(good); err != nil || n == nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range []struct {
		params map[string]any
		word   string
	}{
		{nil, "url_file"},
		{map[string]any{"url_env": ""}, "url_file"},
		{map[string]any{"url_env": "X", "url_file": "/x"}, "either"},
		{map[string]any{"url_file": "x"}, "absolute"},
		{map[string]any{"url_file": "https://hooks.example.com/" + secret}, "has no place in a rules file"},
		{map[string]any{"url_env": "https://hooks.example.com/" + secret}, "has no place in a rules file"},
		{map[string]any{"url_env": secret + "/"}, "name of an environment variable such as SLACK_URL"},
		{map[string]any{"url_env": "X", "format": "teams"}, `not "teams"`},
		{map[string]any{"url_env": "X", "timeout": time.Duration(0)}, "timeout"},
		{map[string]any{"url_env": "X", "timeout": 99 * time.Millisecond}, "timeout"},
		{map[string]any{"url_env": "X", "timeout": time.Minute + 1}, "timeout"},
		{map[string]any{"url_env": "X", "rate": 0.0}, "rate is a whole number"},
		{map[string]any{"url_env": "X", "rate": 1.5}, "rate is a whole number"},
		{map[string]any{"url_env": "X", "rate": 61.0}, "rate is a whole number"},
		{map[string]any{"url_env": "X", "repeat": 59 * time.Second}, "repeat is between 1m and 144h"},
		{map[string]any{"url_env": "X", "repeat": 145 * time.Hour}, "repeat is between 1m and 144h"},
		{map[string]any{"url_env": "X", "template": "{{json .rule}}", "format": "slack"}, "takes no format slack"},
		{map[string]any{"url_env": "X", "template": "{{json .rule"}, "template, line 1: unclosed action"},
		{map[string]any{"url_env": "X", "template": "{\n{{json .ruel}}"}, `template, line 2: at <.ruel>: map has no entry for key "ruel"`},
		{map[string]any{"url_env": "X", "template": `{"text": "{{.rule}}"}`}, "{{json .rule}}, without quotes"},
		{map[string]any{"url_env": "X", "template": `{{define "x"}}{{template "x" .}}{{end}}{{template "x" .}}`}, "depth"},
		{map[string]any{"url_env": "X", "template": `{{if eq .event "sum"}}x{{else}}{}{{end}}`}, "JSON of every message"},
		{map[string]any{"url_env": "X", "template": `"` + strings.Repeat("x", 64<<10) + `"`}, "longer than 65536 bytes"},
	} {
		if n, err := p.New(bad.params); err == nil || n != nil || !strings.Contains(err.Error(), bad.word) || strings.Contains(err.Error(), secret) {
			t.Errorf("%v: %v", bad.params, err)
		}
	}
}

// Each message is one POST, in the configured format.
func TestPost(t *testing.T) {
	actiontest.LeakCheck(t)
	s := serve(t, status(http.StatusNoContent))
	for i, format := range []string{"generic", "slack", "discord"} {
		w := notifier(t, strings.Replace(s.URL, "//", "//me:pass@", 1)+"/hooks/a?b=c", map[string]any{"format": format})
		must(t, "Send", w.Send(t.Context(), message()))
		if s.count() != i+1 {
			t.Fatalf("%d requests", s.count())
		}
		r := s.requests[i]
		if !r.Close {
			t.Error("the connection is kept")
		}
		user, pass, _ := r.BasicAuth()
		got := []string{r.Method, r.RequestURI, r.Header.Get("Content-Type"), r.Header.Get("User-Agent"), user, pass, s.bodies[i]}
		if want := []string{"POST", "/hooks/a?b=c", "application/json", "sockwarden", "me", "pass", bodyOf(t, format, message())}; !reflect.DeepEqual(got, want) {
			t.Errorf("%q, not %q", got, want)
		}
	}
	var back actions.Message
	if err := json.Unmarshal([]byte(s.bodies[0]), &back); err != nil || !reflect.DeepEqual(back, message()) {
		t.Errorf("%+v, %v", back, err)
	}
}

// The URL is read for each message, from the file or the environment.
func TestSources(t *testing.T) {
	actiontest.LeakCheck(t)
	s := serve(t, status(http.StatusOK))
	file := filepath.Join(t.TempDir(), "url")
	n, err := Plugin().New(map[string]any{"url_file": file})
	must(t, "New", err)
	if err := n.Send(t.Context(), message()); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), file) {
		t.Errorf("no file: %v", err)
	}
	for _, path := range []string{"/one", "/two"} {
		must(t, "write", os.WriteFile(file, []byte("\n  "+s.URL+path+" \n\n"), 0o600))
		must(t, "Send", n.Send(t.Context(), message()))
	}
	w := notifier(t, s.URL+"/three", nil)
	must(t, "Send", w.Send(t.Context(), message()))
	t.Setenv(envURL, s.URL+"/four")
	must(t, "Send", w.Send(t.Context(), message()))
	for i, want := range []string{"/one", "/two", "/three", "/four"} {
		if got := s.requests[i].URL.Path; got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	// Not a URL, an endless file, and a pipe that nobody writes to.
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, "pipe", unix.Mkfifo(pipe, 0o600))
	must(t, "write", os.WriteFile(file, []byte("hello"), 0o600))
	for path, want := range map[string]string{file: file + " holds no http or https URL", "/dev/zero": "/dev/zero is not a regular file", pipe: pipe + " is not a regular file"} {
		n, err = Plugin().New(map[string]any{"url_file": path})
		must(t, "New", err)
		if err := n.Send(t.Context(), message()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if s.count() != 4 {
		t.Errorf("%d requests", s.count())
	}
}

// In a live run, nobody else may choose where messages go.
func TestForeignURL(t *testing.T) {
	actiontest.LeakCheck(t)
	s := serve(t, status(http.StatusOK))
	file := filepath.Join(t.TempDir(), "url")
	must(t, "write", os.WriteFile(file, []byte(s.URL), 0o600))
	must(t, "chmod", os.Chmod(file, 0o666))
	n, err := Plugin().New(map[string]any{"url_file": file})
	must(t, "New", err)
	m := message()
	m.Mode = "live"
	if err := n.Send(t.Context(), m); err == nil || !strings.Contains(err.Error(), "a live run does not trust it: others can write to "+file+" (mode 0666)") || s.count() != 0 {
		t.Errorf("%v, %d requests", err, s.count())
	}
	m.Mode = "dry-run"
	must(t, "Send", n.Send(t.Context(), m))
	must(t, "chmod", os.Chmod(file, 0o600))
	m.Mode = "live"
	must(t, "Send", n.Send(t.Context(), m))
}

// A file system that does not answer costs the message, but no more than its time.
func TestSilentFileSystem(t *testing.T) {
	socklab.Need(t)
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		socklab.Lacks(t, fmt.Errorf("/dev/fuse: %w", err))
	}
	dir := t.TempDir()
	must(t, "mount", unix.Mount("silent", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse)))
	defer func() { _, _ = unix.Close(fuse), unix.Unmount(dir, unix.MNT_DETACH) }()
	n, err := Plugin().New(map[string]any{"url_file": dir + "/url", "timeout": 100 * time.Millisecond})
	must(t, "New", err)
	if err := n.Send(t.Context(), message()); err == nil || !strings.Contains(err.Error(), dir+"/url could not be read within 100ms: its file system does not answer") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err = Plugin().New(map[string]any{"url_file": dir + "/url", "timeout": time.Minute})
	must(t, "New", err)
	if err := n.Send(ctx, message()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A busy server gets the same message again, after growing pauses.
func TestTriesAgain(t *testing.T) {
	actiontest.LeakCheck(t)
	for _, code := range []int{500, 502, 503, 504, 429} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n < 4 {
				w.WriteHeader(code)
			}
		})
		w := notifier(t, s.URL, nil)
		w.pause = 30 * time.Millisecond
		must(t, "Send", w.Send(t.Context(), message()))
		if s.count() != 4 || s.bodies[3] != s.bodies[0] || s.bodies[0] == "" {
			t.Fatalf("%d: %d attempts, bodies %q", code, s.count(), s.bodies)
		}
		for i, least := range []time.Duration{30, 60, 120} {
			if pause := s.times[i+1].Sub(s.times[i]); pause < least*time.Millisecond {
				t.Errorf("%d: pause %d is %s", code, i, pause)
			}
		}
	}
}

func TestGivesUp(t *testing.T) {
	actiontest.LeakCheck(t)
	s := serve(t, status(http.StatusInternalServerError))
	err := notifier(t, s.URL, nil).Send(t.Context(), message())
	if err == nil || err.Error() != "attempt 4 of 4: answered 500 Internal Server Error" || s.count() != 4 {
		t.Errorf("%d attempts, %v", s.count(), err)
	}
	if _, final := errors.AsType[*actions.FinalError](err); final {
		t.Errorf("would not be sent again: %v", err)
	}
}

// Errors in the message or the URL are final.
func TestFinal(t *testing.T) {
	actiontest.LeakCheck(t)
	for _, code := range []int{400, 401, 403, 404, 410, 413, 304, 299 + 1} {
		s := serve(t, status(code))
		err := notifier(t, s.URL, nil).Send(t.Context(), message())
		if err == nil || !strings.Contains(err.Error(), "answered "+strconv.Itoa(code)+" "+http.StatusText(code)) || s.count() != 1 {
			t.Errorf("%d: %d attempts, %v", code, s.count(), err)
		}
		if _, final := errors.AsType[*actions.FinalError](err); !final {
			t.Errorf("%d: would be sent again: %v", code, err)
		}
	}
	for _, code := range []int{200, 201, 202, 204, 299} {
		s := serve(t, status(code))
		must(t, strconv.Itoa(code), notifier(t, s.URL, nil).Send(t.Context(), message()))
		if s.count() != 1 {
			t.Errorf("%d: %d attempts", code, s.count())
		}
	}
}

func TestRedirect(t *testing.T) {
	actiontest.LeakCheck(t)
	elsewhere := serve(t, status(http.StatusOK))
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request, _ int) { http.Redirect(w, r, elsewhere.URL, code) })
		err := notifier(t, s.URL, nil).Send(t.Context(), message())
		if err == nil || !strings.Contains(err.Error(), strconv.Itoa(code)) || s.count() != 1 || elsewhere.count() != 0 {
			t.Errorf("%d: %d and %d attempts, %v", code, s.count(), elsewhere.count(), err)
		}
	}
}

// The server says how long it is busy.
func TestRetryAfter(t *testing.T) {
	actiontest.LeakCheck(t)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	must(t, "Send", notifier(t, s.URL, nil).Send(t.Context(), message()))
	if s.count() != 2 || s.times[1].Sub(s.times[0]) < time.Second {
		t.Errorf("%d attempts at %v", s.count(), s.times)
	}
	// Not a number of seconds, or less than the usual pause.
	for _, value := range []string{"", "0", "-7", "soon", "Wed, 21 Oct 2099 07:28:00 GMT", "1e9"} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n == 1 {
				w.Header().Set("Retry-After", value)
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		start := time.Now()
		if err := notifier(t, s.URL, nil).Send(t.Context(), message()); err != nil || s.count() != 2 || time.Since(start) > time.Minute {
			t.Errorf("%q: %d attempts, %v", value, s.count(), err)
		}
	}
	// A far too long wait is cut to the longest pause.
	for _, value := range []string{"3600", "99999999999", "9223372036854775807"} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		w := notifier(t, s.URL, nil)
		after, err := w.post(t.Context(), s.URL, nil)
		if err == nil || after != maxPause {
			t.Errorf("%q: %s, %v", value, after, err)
		}
	}
}

// hang does not answer until the client gives up.
func hang(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() }

// Each attempt has its own time limit.
func TestSlow(t *testing.T) {
	actiontest.LeakCheck(t)
	var s *server
	longer := func(what string, handle func(http.ResponseWriter, *http.Request, int), attempts int, send func(w *webhook, timeout time.Duration) error) {
		t.Helper()
		for timeout := 200 * time.Millisecond; ; timeout *= 2 { // a busy machine needs more to answer
			s = serve(t, handle)
			err := send(notifier(t, s.URL, map[string]any{"timeout": timeout}), timeout)
			if err == nil && s.count() == attempts {
				return
			}
			if timeout > 20*time.Second {
				t.Fatalf("%s: %d attempts, %v", what, s.count(), err)
			}
		}
	}
	longer("two are not answered", func(w http.ResponseWriter, r *http.Request, n int) {
		if n < 3 {
			hang(w, r, n)
		}
	}, 3, func(w *webhook, timeout time.Duration) error {
		start := time.Now()
		err := w.Send(t.Context(), message())
		if took := time.Since(start); took < 2*timeout && s.count() > 2 {
			t.Errorf("%d attempts in %s", s.count(), took)
		}
		return err
	})
	longer("none is", hang, 4, func(w *webhook, timeout time.Duration) error {
		if err := w.Send(t.Context(), message()); err == nil || err.Error() != "attempt 4 of 4: post: no answer within "+timeout.String() {
			return errors.New("it says " + fmt.Sprint(err))
		}
		return nil
	})
}

// An endless answer is not read to the end.
func TestLongAnswer(t *testing.T) {
	actiontest.LeakCheck(t)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		for block := make([]byte, 1<<16); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	start := time.Now()
	must(t, "Send", notifier(t, s.URL, nil).Send(t.Context(), message()))
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

// A request to stop waits neither for an answer nor for a pause.
func TestCancelled(t *testing.T) {
	actiontest.LeakCheck(t)
	for name, handle := range map[string]func(http.ResponseWriter, *http.Request, int){
		"no answer": hang, "pause": status(http.StatusServiceUnavailable),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, handle)
			w := notifier(t, s.URL, map[string]any{"timeout": time.Minute})
			w.pause = time.Hour
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			result := make(chan error, 1)
			go func() { result <- w.Send(ctx, message()) }()
			socklab.WaitFor(t, "the first attempt", func() bool { return s.count() == 1 })
			select {
			case err := <-result:
				t.Fatalf("it did not wait: %v", err)
			default:
			}
			why := errors.New("the watcher stops")
			start := time.Now()
			cancel(why)
			err := <-result
			if took := time.Since(start); took > time.Minute {
				t.Errorf("it took %s", took)
			}
			if !errors.Is(err, why) || s.count() != 1 {
				t.Errorf("%d attempts, %v", s.count(), err)
			}
		})
	}
}

const secret = "S3CR3T"

// raw is a server that reads a request and writes its own answer.
func raw(t *testing.T, answer func(c net.Conn, request []byte)) string {
	t.Helper()
	socklab.Need(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, "listen", err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			n, _ := c.Read(buf)
			answer(c, buf[:n])
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// The URL is secret: no error and no text about the notifier contains any of it, whatever
// goes wrong.
func TestSecret(t *testing.T) {
	actiontest.LeakCheck(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, "listen", err)
	refusing := l.Addr().String()
	must(t, "close", l.Close())
	hanging := serve(t, hang)
	overTLS := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	overTLS.Config.ErrorLog = nil
	overTLS.StartTLS()
	t.Cleanup(overTLS.Close)
	plain := serve(t, status(http.StatusNotFound))
	moved := serve(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		http.Redirect(w, r, r.RequestURI+"/", http.StatusMovedPermanently)
	})
	movedBadly := serve(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		w.Header().Set("Location", "http://[bad"+r.RequestURI)
		w.WriteHeader(http.StatusFound)
	})
	echoing := raw(t, func(c net.Conn, request []byte) { _, _ = c.Write(request) })
	chatty := raw(t, func(c net.Conn, _ []byte) { _, _ = c.Write([]byte("HTTP/1.1 404 No " + secret + " here\r\n\r\n")) })
	nonsense := raw(t, func(c net.Conn, _ []byte) { _, _ = c.Write([]byte("HTTP/1.1 " + secret + "\r\n\r\n")) })
	header := raw(t, func(c net.Conn, _ []byte) { _, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n")) })
	closing := raw(t, func(net.Conn, []byte) {})

	const path = "/services/" + secret + "?token=" + secret
	for name, c := range map[string]struct{ url, word string }{
		"refused":          {"http://" + refusing + path, "connection refused"},
		"user, refused":    {"http://" + secret + ":" + secret + "@" + refusing + path, "connection refused"},
		"TLS, refused":     {"https://" + refusing + path, "connection refused"},
		"no such host":     {"http://no-such-host.invalid" + path, "no-such-host.invalid"},
		"slow":             {hanging.URL + path, "no answer within"},
		"certificate":      {overTLS.URL + path, "certificate"},
		"plain to TLS":     {strings.Replace(overTLS.URL, "https", "http", 1) + path, "answered 400 Bad Request"},
		"TLS to plain":     {strings.Replace(plain.URL, "http", "https", 1) + path, "HTTP response to HTTPS client"},
		"not found":        {plain.URL + path, "answered 404 Not Found"},
		"redirect":         {moved.URL + path, "answered 301"},
		"bad redirect":     {movedBadly.URL + path, "no valid answer"},
		"echo":             {"http://" + echoing + path, "no valid answer"},
		"status text":      {"http://" + chatty + path, "answered 404 Not Found"},
		"bad status":       {"http://" + nonsense + path, "no valid answer"},
		"bad header":       {"http://" + header + path, "no valid answer"},
		"closed":           {"http://" + closing + path, "closed without an answer"},
		"no URL":           {secret, "holds no http"},
		"empty":            {"", "holds no http"},
		"no scheme":        {"hooks.example.com" + path, "holds no http"},
		"another scheme":   {"ftp://hooks.example.com" + path, "holds no http"},
		"file":             {"file:///etc/" + secret, "holds no http"},
		"no host":          {"https://" + path, "holds no http"},
		"bad port":         {"https://host:" + secret + path, "holds no http"},
		"bad escape":       {"https://host/%zz" + path, "holds no http"},
		"two lines":        {"https://host" + path + "\nhttps://host" + path, "holds no http"},
		"a space within":   {"https://ho st" + path, "holds no http"},
		"bad address":      {"https://[::1" + path, "holds no http"},
		"control":          {"https://host" + path + "\x7f", "holds no http"},
		"port out of sync": {"http://127.0.0.1:99999" + path, "invalid port"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := 10 * time.Second
			if name == "slow" {
				timeout = 100 * time.Millisecond
			}
			w := notifier(t, c.url, map[string]any{"timeout": timeout})
			err := w.Send(t.Context(), message())
			if err == nil || !strings.Contains(err.Error(), c.word) {
				t.Errorf("%v, not %s", err, c.word)
			}
			for ; err != nil; err = errors.Unwrap(err) {
				if text := fmt.Sprintf("%v %+v %q", err, err, err); strings.Contains(text, secret) {
					t.Errorf("the error has it: %s", text)
				}
			}
			if text := fmt.Sprintf("%v %+v %#v", w, w, w); strings.Contains(text, secret) {
				t.Errorf("the notifier has it: %s", text)
			}
		})
	}
}

// The other side may have taken the message of an attempt that is under way: if whoever
// sends says so, it is waited for. No other attempt begins.
func TestEndsAttempt(t *testing.T) {
	actiontest.LeakCheck(t)
	for code, want := range map[int]string{200: "", 503: "answered 503 Service Unavailable, given up: context canceled"} {
		answer := make(chan struct{})
		s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int) { <-answer; w.WriteHeader(code) })
		w := notifier(t, s.URL, map[string]any{"timeout": time.Minute})
		w.pause = time.Hour
		ctx, cancel := context.WithCancel(actions.WithAttempt(t.Context()))
		result := make(chan error, 1)
		go func() { result <- w.Send(ctx, message()) }()
		socklab.WaitFor(t, "the attempt", func() bool { return s.count() == 1 })
		cancel()
		close(answer)
		if err := <-result; (err == nil) != (want == "") || err != nil && err.Error() != want || s.count() != 1 {
			t.Errorf("%d: %d attempts, %v", code, s.count(), err)
		}
	}
}
