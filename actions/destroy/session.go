package destroy

import (
	"sockwarden/actions"
	"sockwarden/collectors/sockdiag"
)

// conns are the connections of a session by namespace. Each keeps its namespace
// alive, so that a session is short.
type conns struct {
	byNS map[uint64]*sockdiag.Conn // nil once it is closed
}

// Session returns a Batcher that does not connect anew for each call.
func (a action) Session() (b actions.Batcher, closes func()) {
	c := &conns{byNS: map[uint64]*sockdiag.Conn{}}
	a.conns = c
	return a, func() {
		for _, conn := range c.byNS {
			_ = conn.Close()
		}
		c.byNS = nil
	}
}

// get returns the connection into a namespace, nil if there is none, or none that is
// of use any more.
func (c *conns) get(ns uint64) *sockdiag.Conn {
	if c == nil {
		return nil
	}
	conn := c.byNS[ns]
	if conn != nil && !conn.Usable() {
		_ = conn.Close()
		delete(c.byNS, ns)
		return nil
	}
	return conn
}

// keep reports whether a connection stays open until the end of the session.
func (c *conns) keep(ns uint64, conn *sockdiag.Conn) bool {
	if c == nil || c.byNS == nil {
		return false
	}
	c.byNS[ns] = conn
	return true
}
