package destroy

import (
	"sockwarden/actions"
	"sockwarden/collectors/sockdiag"
)

// conns are the connections of a session, one per namespace. Each keeps its namespace
// alive, so keep sessions short.
type conns struct {
	byNS  map[uint64]*sockdiag.Conn // nil once the session is closed
	spent map[uint64]int            // how many connections we gave up
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

// get returns the connection to a namespace, nil if there is none. A useless connection
// gives way to a new one, but not for ever: before Linux 6.9 one request that hangs holds
// up all others.
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
