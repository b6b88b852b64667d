package socklab

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Many makes n connections of one kind to one port of the peer, in states that do not
// need the other end: ESTABLISHED, CLOSE_WAIT and FIN_WAIT2. The other ends vanish
// without a word, so each connection costs one descriptor. They end with the test, or
// earlier if they send something.
func Many(t testing.TB, k Kind, f Family, n int) []*Conn {
	t.Helper()
	Peer(t)
	if !slices.Contains([]Kind{Established, CloseWait, CloseWaitFIN, CloseWaitUnread, FinWait2}, k) {
		t.Fatalf("socklab: many %s: the other end is needed", k)
	}
	o := f.other()
	l, err := listen(peer, o, netip.AddrPortFrom(o.Remote(), 0), backlog)
	if err != nil {
		t.Fatalf("socklab: many %s: %v", k, err)
	}
	defer unix.Close(l.FD) //nolint:errcheck // nothing was written
	conns := make([]*Conn, n)
	for i := range conns {
		conns[i] = newConn(t, k, f)
		if err := conns[i].makeVia(l); err != nil {
			t.Fatalf("socklab: %s %d of %d: %v", k, i, n, err)
		}
		// ACKs of FINs are delayed by a jiffy or more, so wait for many at once.
		if i%batch != batch-1 && i != n-1 {
			continue
		}
		for j := i - i%batch; j <= i; j++ {
			if err := conns[j].forgetPeer(); err != nil {
				t.Fatalf("socklab: %s %d of %d: %v", k, j, n, err)
			}
		}
	}
	return conns
}

// batch is how many other ends Many keeps open at a time.
const batch = 500

// forgetPeer closes the other end without sending anything (TCP_REPAIR).
func (c *Conn) forgetPeer() error {
	if !poll(func() bool { return quiet(c.Peer) }, waitLimit) {
		return fmt.Errorf("the peer waits for an ACK")
	}
	if err := unix.SetsockoptInt(c.Peer, unix.SOL_TCP, unix.TCP_REPAIR, 1); err != nil {
		return fmt.Errorf("TCP_REPAIR: %w", err)
	}
	err := unix.Close(c.Peer)
	c.Peer = -1
	return err
}
