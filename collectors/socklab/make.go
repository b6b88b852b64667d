package socklab

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// Conn is a socket that Make made, the subject, and its other end in the peer namespace.
// Both descriptors are non-blocking. The end of the test closes them with a reset, which
// also ends orphans.
type Conn struct {
	Kind   Kind
	Family Family
	// Local and Remote are the ends as the subject sees them, mapped addresses as IPv4.
	// Without a peer, Remote is the unspecified address and port 0.
	Local, Remote netip.AddrPort
	FD            int // of the subject, -1 if no process holds it; close it with CloseFD
	Peer          int // of the other end, -1 if there is none; for SYN_SENT the deaf listener
	// StartedBefore is just before the subject entered its state, SeenAfter just after we
	// saw it there. Its true age is at least time.Since(SeenAfter) and at most
	// time.Since(StartedBefore).
	StartedBefore, SeenAfter time.Time
}

// Make makes a socket of a kind. Connections go out from this namespace to the peer,
// except SYN_RECV and unaccepted ones, which come in.
func Make(t testing.TB, k Kind, f Family) *Conn {
	t.Helper()
	Peer(t)
	if k.incoming() {
		return NewListener(t, f, 0).Make(t, k)
	}
	c := newConn(t, k, f)
	if err := c.make(); err != nil {
		t.Fatalf("socklab: make %s %s: %v", k, f, err)
	}
	return c
}

func newConn(t testing.TB, k Kind, f Family) *Conn {
	c := &Conn{Kind: k, Family: f, FD: -1, Peer: -1}
	t.Cleanup(c.close)
	return c
}

func (c *Conn) make() error {
	c.StartedBefore = time.Now()
	if c.Kind.alone() {
		return c.makeAlone()
	}
	l, err := listen(peer, c.Family.other(), netip.AddrPortFrom(c.Family.Remote(), 0), 1)
	if err != nil {
		return err
	}
	if c.Kind == SynSent { // the second SYN must not be refused
		c.Peer = l.FD
		return c.makeVia(l)
	}
	defer unix.Close(l.FD) //nolint:errcheck // nothing was written
	return c.makeVia(l)
}

// makeVia connects to a listener in the peer namespace and goes on from there.
func (c *Conn) makeVia(l *Listener) error {
	var err error
	if c.Kind == SynSent {
		if err := mute(l.FD); err != nil {
			return err
		}
	}
	if c.FD, c.Local, err = dial(home, c.Family, l.Addr); err != nil {
		return err
	}
	c.Remote = l.Addr
	if c.Kind == SynSent {
		return c.await(collectors.SynSent)
	}
	if err := c.await(collectors.Established); err != nil {
		return err
	}
	if c.Peer, _, err = accept(l.FD); err != nil {
		return err
	}
	return c.walk()
}

func (c *Conn) makeAlone() error {
	if c.Kind == Listen {
		l, err := listen(home, c.Family, netip.AddrPortFrom(c.Family.Local(), 0), backlog)
		if err != nil {
			return err
		}
		c.FD, c.Local, c.Remote = l.FD, l.Addr, c.Family.nobody()
		return c.await(collectors.Listen)
	}
	typ := unix.SOCK_STREAM
	if c.Kind.Protocol() == collectors.UDP {
		typ = unix.SOCK_DGRAM
	}
	var err error
	if c.FD, c.Local, err = bind(home, c.Family, typ, netip.AddrPortFrom(c.Family.Local(), 0)); err != nil {
		return err
	}
	c.Remote = c.Family.nobody()
	if c.Kind == UDPConnected {
		o := c.Family.other()
		if c.Peer, c.Remote, err = bind(peer, o, typ, netip.AddrPortFrom(o.Remote(), 0)); err != nil {
			return err
		}
		if err := unix.Connect(c.FD, c.Family.sockaddr(c.Remote)); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
	}
	c.SeenAfter = time.Now()
	return nil
}

// walk takes the steps of the recipe with both ends connected.
func (c *Conn) walk() error {
	for _, s := range recipes[c.Kind].steps {
		if s.into != 0 {
			c.StartedBefore = time.Now()
		}
		if err := c.take(s.op); err != nil {
			return err
		}
		if s.into != 0 {
			if err := c.await(s.into); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Conn) take(o op) (err error) {
	switch o {
	case peerSends:
		if _, err = unix.Write(c.Peer, make([]byte, UnreadBytes)); err != nil {
			return fmt.Errorf("peer writes: %w", err)
		}
	case peerShuts:
		if err = unix.Shutdown(c.Peer, unix.SHUT_WR); err != nil {
			return fmt.Errorf("peer shuts down: %w", err)
		}
	case peerCloses:
		err = unix.Close(c.Peer)
		c.Peer = -1
	case peerMuted:
		// What is still on its way, such as the ACK of the peer's FIN, must arrive.
		if !poll(func() bool { return quiet(c.Peer) }, waitLimit) {
			return errors.New("the peer waits for an ACK")
		}
		return mute(c.Peer)
	case readEOF:
		_, err = unix.Read(c.FD, make([]byte, 1))
	case shuts:
		err = unix.Shutdown(c.FD, unix.SHUT_WR)
	case closes:
		c.CloseFD()
	}
	return err
}

// await waits until the subject is in the state and records the time.
func (c *Conn) await(want collectors.State) error {
	var last collectors.State
	ok := poll(func() bool {
		last, _ = c.Now()
		return last == want
	}, waitLimit)
	c.SeenAfter = time.Now()
	if !ok {
		return fmt.Errorf("state %s does not become %s", last, want)
	}
	return nil
}

// Now is the subject's current state in the kernel, from TCP_INFO or /proc/net; false if
// it is gone.
func (c *Conn) Now() (collectors.State, bool) {
	if c.FD >= 0 && c.Kind.Protocol() == collectors.TCP && c.Kind != Bound {
		s := tcpState(c.FD)
		return s, s != collectors.Close
	}
	return procState(c.Kind.Protocol(), c.Local, c.Remote)
}

// CloseFD closes the descriptor of the subject, if this process still has it.
func (c *Conn) CloseFD() {
	if c.FD >= 0 {
		_ = unix.Close(c.FD)
		c.FD = -1
	}
}

// close leaves as little behind as TCP allows. The peer goes first: its reset ends a
// subject that no process holds.
func (c *Conn) close() {
	for _, fd := range []*int{&c.Peer, &c.FD} {
		if *fd >= 0 {
			_ = unix.SetsockoptLinger(*fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}
