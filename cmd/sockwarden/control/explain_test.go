package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"sockwarden/engine/watch"
)

// explains serves an Explainer.
func explains(t *testing.T, f Explainer) (*Server, *Client) {
	t.Helper()
	return serve(t, Options{Explain: f})
}

func TestExplainAnswers(t *testing.T) {
	failing := errors.New("no netlink")
	_, c := explains(t, func(_ context.Context, q url.Values, generation string) (*Text, error) {
		switch q.Get("expr") {
		case "wrong":
			return nil, &QuestionError{http.StatusBadRequest, "unexpected ="}
		case "busy":
			return nil, fmt.Errorf("%w: late", watch.ErrBusy)
		case "failing":
			return nil, failing
		}
		return &Text{"text/plain", []byte(q.Get("expr") + " " + generation)}, nil
	})
	text, err := c.Explain(t.Context(), url.Values{"expr": {"port == 80"}}, "sha256:12")
	if err != nil || string(text) != "port == 80 sha256:12" {
		t.Errorf("%s, %v", text, err)
	}
	for expr, want := range map[string]struct {
		code int
		text string
	}{"wrong": {400, "unexpected ="}, "busy": {409, "the watcher is busy"}, "failing": {500, "no netlink"}} {
		_, err := c.Explain(t.Context(), url.Values{"expr": {expr}}, "")
		wants(t, err, want.code, want.text)
	}
	_, err = c.get(t, "/v1/explain?in=net:%5B1%5D")
	wants(t, err, http.StatusMisdirectedRequest, "in another network namespace")
	_, c = serve(t, Options{})
	_, err = c.Explain(t.Context(), url.Values{}, "")
	wants(t, err, 404, "explains nothing")
}

// One question is answered at a time, however many there are, and who does not read the
// answer, or goes away, keeps nobody from asking.
func TestExplainOneAtATime(t *testing.T) {
	var now, most, gone atomic.Int32
	large := bytes.Repeat([]byte("x"), 8<<20) // does not fit into the buffers of a socket
	s, c := explains(t, func(ctx context.Context, q url.Values, _ string) (*Text, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		switch q.Get("expr") {
		case "large":
			return &Text{"text/plain", large}, nil
		case "slow":
			<-ctx.Done()
			gone.Add(1)
			return nil, ctx.Err()
		}
		return &Text{"text/plain", []byte("small")}, nil
	})
	for _, expr := range []string{"large", "large", "slow"} {
		conn, err := net.Dial("unix", s.socket.path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /v1/explain?expr="+expr+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if expr == "slow" {
			_ = conn.Close()
		}
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			own := newClient(c.Path)
			if text, err := own.Explain(t.Context(), url.Values{}, ""); err != nil || string(text) != "small" {
				t.Errorf("%.20s, %v", text, err)
			}
		})
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d questions at a time", most.Load())
	}
	if gone.Load() > 1 {
		t.Error("a question of a client that went away was asked again")
	}
}

// A connection that has to end for another one ends what it asked for.
func TestEvictedClientsEnd(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	s, c := explains(t, func(ctx context.Context, _ url.Values, _ string) (*Text, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	open := func(request string) net.Conn {
		conn, err := net.Dial("unix", s.socket.path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, request)
		return conn
	}
	defer open("GET /v1/explain HTTP/1.1\r\nHost: x\r\n\r\n").Close()
	<-began
	for range maxOfOne {
		defer open("").Close()
	}
	<-ended
	if _, err := c.get(t, "/v1/status"); err != nil {
		t.Error(err)
	}
}
