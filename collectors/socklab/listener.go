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

// backlog is the limit of accept queues; the kernel lowers it to net.core.somaxconn.
const backlog = 4096

// Listener is a listening socket in the tests' namespace.
type Listener struct {
	Family Family
	Addr   netip.AddrPort
	FD     int
}

// NewListener listens on the family's local address and the port; 0 means any port. The
// end of the test closes it.
func NewListener(t testing.TB, f Family, port uint16) *Listener {
	t.Helper()
	Need(t)
	l, err := listen(home, f, netip.AddrPortFrom(f.Local(), port), backlog)
	if err != nil {
		t.Fatalf("socklab: listen: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(l.FD) })
	return l
}

// Make makes a socket of a kind that arrives through the listener. The subject is the
// accepted end, or what waits for it in the kernel. Unaccepted ones stay in the queue, so
// nothing can be accepted after them.
func (l *Listener) Make(t testing.TB, k Kind) *Conn {
	t.Helper()
	Peer(t)
	c := newConn(t, k, l.Family)
	if err := c.makeFrom(l); err != nil {
		t.Fatalf("socklab: make %s %s: %v", k, l.Family, err)
	}
	return c
}

// makeFrom connects from the peer namespace to a listener here.
func (c *Conn) makeFrom(l *Listener) error {
	if c.Kind.alone() || c.Kind == SynSent {
		return errors.New("such a socket does not come in by a listener")
	}
	c.StartedBefore = time.Now()
	o := c.Family.other()
	fd, err := peer.Socket(o.domain(), unix.SOCK_STREAM, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	c.Peer, c.Local = fd, l.Addr
	if c.Kind == SynRecv {
		if err := mute(fd); err != nil {
			return err
		}
	}
	if c.Remote, err = connect(fd, o, l.Addr); err != nil {
		return err
	}
	if c.Kind == SynRecv {
		return c.await(collectors.SynRecv)
	}
	if err := c.await(collectors.Established); err != nil {
		return err
	}
	if !c.Kind.Unaccepted() {
		got, from, err := accept(l.FD)
		if err != nil {
			return err
		}
		c.FD = got
		if from != c.Remote {
			return fmt.Errorf("accepted %s, not %s: the queue was not empty", from, c.Remote)
		}
	}
	return c.walk()
}

func listen(n *Namespace, f Family, at netip.AddrPort, backlog int) (*Listener, error) {
	fd, addr, err := bind(n, f, unix.SOCK_STREAM, at)
	if err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &Listener{Family: f, Addr: addr, FD: fd}, nil
}

// bind returns a bound socket and its address.
func bind(n *Namespace, f Family, typ int, at netip.AddrPort) (int, netip.AddrPort, error) {
	fd, err := n.Socket(f.domain(), typ, 0)
	if err != nil {
		return -1, netip.AddrPort{}, fmt.Errorf("socket: %w", err)
	}
	if typ == unix.SOCK_STREAM {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err := unix.Bind(fd, f.sockaddr(at)); err != nil {
		_ = unix.Close(fd)
		return -1, netip.AddrPort{}, fmt.Errorf("bind to %s: %w", at, err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		_ = unix.Close(fd)
		return -1, netip.AddrPort{}, fmt.Errorf("getsockname: %w", err)
	}
	return fd, addrPort(sa), nil
}

// dial begins to connect and returns the socket and its own address.
func dial(n *Namespace, f Family, to netip.AddrPort) (int, netip.AddrPort, error) {
	fd, err := n.Socket(f.domain(), unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, netip.AddrPort{}, fmt.Errorf("socket: %w", err)
	}
	addr, err := connect(fd, f, to)
	if err != nil {
		_ = unix.Close(fd)
		return -1, netip.AddrPort{}, err
	}
	return fd, addr, nil
}

func connect(fd int, f Family, to netip.AddrPort) (netip.AddrPort, error) {
	if err := unix.Connect(fd, f.sockaddr(to)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return netip.AddrPort{}, fmt.Errorf("connect to %s: %w", to, err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", err)
	}
	return addrPort(sa), nil
}

// accept waits for a connection.
func accept(listener int) (fd int, from netip.AddrPort, err error) {
	ok := poll(func() bool {
		var sa unix.Sockaddr
		fd, sa, err = unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err == nil {
			from = addrPort(sa)
		}
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	}, waitLimit)
	if !ok || err != nil {
		return -1, from, fmt.Errorf("accept: %w", err)
	}
	return fd, from, nil
}
