package sockdiag

import (
	"net/netip"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

// everything asks for all sockets.
var everything = collectors.Query{
	Protocols: []collectors.Protocol{collectors.TCP, collectors.UDP},
	States:    collectors.AllStates,
	Fields:    collectors.InfoFields().Or(collectors.MemoryFields()).Or(collectors.CongestionFields()),
}

// dialTest opens a connection until the end of the test, in the namespace of an open
// descriptor, or for -1 in that of the tests.
func dialTest(t testing.TB, netns int) *Conn {
	t.Helper()
	socklab.Need(t)
	c, err := Dial(netns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// dumpTest returns the complete answer to a query.
func dumpTest(t testing.TB, c *Conn, q collectors.Query) []collectors.Socket {
	t.Helper()
	var all []collectors.Socket
	for s, err := range c.Dump(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *s)
	}
	return all
}

func ends(s *collectors.Socket) (local, remote netip.AddrPort) {
	return netip.AddrPortFrom(s.Local.Netip(), s.LocalPort), netip.AddrPortFrom(s.Remote.Netip(), s.RemotePort)
}

// hidden reports whether the kernel shows no sockets of the connection's kind, and fails
// the test if it does show some after all.
func hidden(t testing.TB, c *Conn, subject *socklab.Conn) bool {
	t.Helper()
	if subject.Kind.Shown() {
		return false
	}
	for _, s := range dumpTest(t, c, everything) {
		if l, r := ends(&s); s.Protocol == subject.Kind.Protocol() && l == subject.Local && r == subject.Remote {
			t.Errorf("the dump shows %+v, which this kernel should not", s)
		}
	}
	return true
}

// find dumps and returns the one record with the ends of the connection.
func find(t testing.TB, c *Conn, want *socklab.Conn) collectors.Socket {
	t.Helper()
	return findEnds(t, c, want.Kind.Protocol(), want.Local, want.Remote)
}

func findEnds(t testing.TB, c *Conn, p collectors.Protocol, local, remote netip.AddrPort) collectors.Socket {
	t.Helper()
	var found []collectors.Socket
	for _, s := range dumpTest(t, c, everything) {
		if l, r := ends(&s); s.Protocol == p && l == local && r == remote {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the dump shows %s %s %s %d times, not once", p, local, remote, len(found))
	}
	return found[0]
}
