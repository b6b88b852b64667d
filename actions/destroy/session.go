package destroy

import (
	"sockwarden/actions"
	"sockwarden/collectors/sockdiag"
)

// conns are the connections of a session by namespace. Each keeps its namespace
// alive, so that a session is short.
type conns struct {
	byNS  map[uint64]*sockdiag.Conn // nil once it is closed
	spent map[uint64]int            // connections that were given up
}

// Session returns a Batcher that does not connect anew for each call.
func (a action) Session() (b actions.Batcher, closes func()) {
	c := &conns{byNS: map[uint64]*sockdiag.Conn{}, spent: map[uint64]int{}}
	a.conns = c
	return a, func() {
		for _, conn := range c.byNS {
			_ = conn.Close()
		}
		c.byNS = nil
	}
}

// get returns the connection into a namespace, nil if there is none. One that is of no
// use any more gives way to another, but not for ever: before Linux 6.9 a request that
// hangs holds up all others.
func (c *conns) get(ns uint64) *sockdiag.Conn {
	if c == nil {
		return nil
	}
	conn := c.byNS[ns]
	if conn == nil || !conn.Spent() || c.spent[ns] >= maxHung {
		return conn
	}
	c.spent[ns]++
	delete(c.byNS, ns)
	_ = conn.Close()
	return nil
}

// keep reports whether a connection stays open until the end of the session.
func (c *conns) keep(ns uint64, conn *sockdiag.Conn) bool {
	if c == nil || c.byNS == nil {
		return false
	}
	c.byNS[ns] = conn
	return true
}
