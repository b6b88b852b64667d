package socklab

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// MPTCPListener takes connections of MPTCP over the loopback of a namespace.
type MPTCPListener struct {
	Family Family
	Addr   netip.AddrPort
	FD     int
	in     *Namespace
}

// ListenMPTCP makes a listener in a namespace, until the end of the test.
func ListenMPTCP(t testing.TB, n *Namespace, f Family) *MPTCPListener {
	t.Helper()
	l := &MPTCPListener{Family: f, in: n}
	l.FD = l.socket(t)
	t.Cleanup(func() { _ = unix.Close(l.FD) })
	at := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if f == IPv6 {
		at = netip.IPv6Loopback()
	}
	if err := unix.Bind(l.FD, f.sockaddr(netip.AddrPortFrom(at, 0))); err != nil {
		t.Fatalf("socklab: bind: %v", err)
	}
	if err := unix.Listen(l.FD, 8); err != nil {
		t.Fatalf("socklab: listen: %v", err)
	}
	l.Addr = nameOf(t, l.FD)
	return l
}

func (l *MPTCPListener) socket(t testing.TB) int {
	t.Helper()
	fd, err := l.in.Socket(l.Family.domain(), unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	if err != nil {
		Lacks(t, fmt.Errorf("MPTCP: %w", err))
	}
	return fd
}

// Queue makes a connection that nobody has accepted yet.
func (l *MPTCPListener) Queue(t testing.TB) (client *Conn) {
	t.Helper()
	client = newConn(t, Established, l.Family)
	client.FD, client.Remote = l.socket(t), l.Addr
	var err error
	if client.Local, err = connect(client.FD, l.Family, l.Addr); err != nil {
		t.Fatalf("socklab: %v", err)
	}
	WaitFor(t, "the MPTCP handshake", func() bool {
		_, err := unix.Getpeername(client.FD)
		return err == nil
	})
	return client
}

// Dial makes a connection and returns both of its ends. A byte has gone from the client to
// the server, without which no further subflow begins.
func (l *MPTCPListener) Dial(t testing.TB) (client, server *Conn) {
	t.Helper()
	client = l.Queue(t)
	server = newConn(t, Established, l.Family)
	server.Local, server.Remote = client.Remote, client.Local
	var err error
	if server.FD, _, err = accept(l.FD); err != nil {
		t.Fatalf("socklab: %v", err)
	}
	if _, err := unix.Write(client.FD, []byte{1}); err != nil {
		t.Fatalf("socklab: write: %v", err)
	}
	WaitFor(t, "a byte over MPTCP", func() bool {
		n, _ := unix.Read(server.FD, make([]byte, 1))
		return n == 1
	})
	return client, server
}

// AddSubflows lets connections of MPTCP in a namespace have another subflow, from an
// address of its loopback.
func (n *Namespace) AddSubflows(t testing.TB, from netip.Addr) {
	t.Helper()
	if err := n.Do(func() error {
		return iproute("mptcp limits set subflow 2\nmptcp endpoint add " + from.String() + " subflow\n")
	}); err != nil {
		Lacks(t, err)
	}
}

// nameOf is the local end of a socket.
func nameOf(t testing.TB, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatalf("socklab: getsockname: %v", err)
	}
	return addrPort(sa)
}
