package metrics

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Clients that come and say nothing, or half of a request, keep no scrape out, even if they
// have for ever.
func TestSilentClients(t *testing.T) {
	s, err := Listen(t.Context(), "127.0.0.1:0", "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if s.server.ReadHeaderTimeout <= 0 || s.server.IdleTimeout <= 0 {
		t.Error("a silent client may stay for ever")
	}
	s.server.ReadHeaderTimeout, s.server.ReadTimeout, s.server.IdleTimeout = 0, 0, 0
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(collectorOf(nil, 1)) }()
	var open []net.Conn
	for i := range 100 {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if open = append(open, conn); i%2 == 0 {
			_, _ = io.WriteString(conn, "GET /metr")
		}
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := new(http.Transport).RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil || !strings.Contains(string(text), "sockwarden_build_info") {
			t.Errorf("%v: %s", err, text)
		}
	}
	// The first that came had to go.
	_ = open[1].SetReadDeadline(time.Now().Add(2 * time.Minute))
	if n, err := open[1].Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("it is still there: %d, %v", n, err)
	}
	s.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Who asks for something is not ended for those who do not.
func TestWhoAsksStays(t *testing.T) {
	l := &guests{most: 2}
	end, other := net.Pipe()
	defer end.Close()
	defer other.Close()
	one, two, three := &guest{Conn: end, of: l}, &guest{Conn: end, of: l}, &guest{Conn: end, of: l}
	if l.add(one) != nil || l.add(two) != nil {
		t.Error("somebody has to go although there is room")
	}
	l.noteState(one, http.StateActive)
	if l.add(three) != two {
		t.Error("not the silent one has to go")
	}
	_ = two.Close()
	l.noteState(three, http.StateActive)
	if l.add(two) != one {
		t.Error("where all ask, not the first has to go")
	}
	l.noteState(one, http.StateIdle)
	if one.asking {
		t.Error("its request is over")
	}
}
