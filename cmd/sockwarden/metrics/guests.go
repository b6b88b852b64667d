package metrics

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
)

// guests is a listener that knows its open connections, the one that came first at the front.
// One more than there may be ends the first of those that ask for nothing: clients that come
// and stay silent keep nobody out.
type guests struct {
	net.Listener
	most int

	mu   sync.Mutex
	open []*guest
}

// guest is a connection.
type guest struct {
	net.Conn
	of     *guests
	asking bool // a request is under way; of.mu
	once   sync.Once
}

// Accept waits for a connection.
func (l *guests) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // a net.Listener
	}
	g := &guest{Conn: conn, of: l}
	if ends := l.add(g); ends != nil {
		_ = ends.Close()
	}
	return g, nil
}

// add notes a connection, and returns the one that has to end for it, nil for none.
func (l *guests) add(g *guest) (ends *guest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		ends = l.open[max(0, slices.IndexFunc(l.open, func(g *guest) bool { return !g.asking }))]
	}
	l.open = append(l.open, g)
	return ends
}

// Close ends the connection and makes room for another.
func (g *guest) Close() error {
	g.once.Do(func() {
		g.of.mu.Lock()
		defer g.of.mu.Unlock()
		g.of.open = slices.DeleteFunc(g.of.open, func(o *guest) bool { return o == g })
	})
	return g.Conn.Close() //nolint:wrapcheck // a net.Conn
}

// noteState is a http.Server's ConnState.
func (l *guests) noteState(conn net.Conn, state http.ConnState) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if g, ok := conn.(*guest); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		g.asking = state == http.StateActive
	}
}
