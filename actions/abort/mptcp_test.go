package abort

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// mptcp makes two MPTCP connections in a namespace of their own, each with that many
// subflows, and seals the server's end of the first.
func mptcp(t *testing.T, subflows int) (client, server, neighbour *socklab.Conn, s actions.Sealed, open func() (*os.File, error)) {
	t.Helper()
	n := socklab.NewNamespace(t, "mptcp")
	if subflows > 1 {
		n.AddSubflows(t, netip.MustParseAddr("127.0.0.5"))
	}
	l := socklab.ListenMPTCP(t, n, socklab.IPv4)
	client, server = l.Dial(t)
	neighbour, _ = l.Dial(t)
	open = func() (*os.File, error) { return os.Open("/run/netns/mptcp") }
	socklab.WaitFor(t, "the subflows", func() bool { return len(subflowsOf(t, server, open)) == subflows })
	return client, server, neighbour, seal(t, server, open), open
}

func seal(t *testing.T, c *socklab.Conn, open func() (*os.File, error)) actions.Sealed {
	t.Helper()
	return actiontest.Seal(t, collectors.MPTCP, c.Local, c.Remote, open)
}

// subflowsOf finds the subflows of a connection by its token.
func subflowsOf(t *testing.T, c *socklab.Conn, open func() (*os.File, error)) []actions.Sealed {
	t.Helper()
	token := seal(t, c, open).Socket.Token
	return slices.DeleteFunc(actiontest.SealAll(t, collectors.TCP, open), func(s actions.Sealed) bool {
		return s.Socket.Token != token
	})
}

// The whole connection ends with all its subflows: the peer gets a reset at once, the
// owner keeps a socket without a connection, and the neighbouring connection lives on.
func TestMPTCP(t *testing.T) {
	actiontest.LeakCheck(t)
	client, server, neighbour, s, open := mptcp(t, 2)
	token := s.Socket.Token
	e := prepared(t, s)
	expect(t, "Verify before Apply", e.Verify(t.Context()), actions.Refused)
	expect(t, "Apply", e.Apply(t.Context()), actions.Gone)
	expect(t, "Verify", e.Verify(t.Context()), actions.FDStillHeld)
	if data, err := receive(t, client.FD); data != "" || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the peer gets %q, %v", data, err)
	}
	if _, err := unix.Getpeername(server.FD); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("the owner's peer: %v", err)
	}
	for _, left := range slices.Concat(actiontest.SealAll(t, collectors.TCP, open), actiontest.SealAll(t, collectors.MPTCP, open)) {
		if left.Socket.Token == token {
			t.Errorf("left: %+v", left.Socket)
		}
	}
	if n := len(subflowsOf(t, neighbour, open)); n != 2 {
		t.Errorf("the connection beside it has %d subflows", n)
	}
	expect(t, "Apply again", e.Apply(t.Context()), actions.Changed)
	server.CloseFD()
	expect(t, "Verify after it was closed", e.Verify(t.Context()), actions.Gone)
}

// Half-closed connections are ended as well, but none in another state than the one
// decided on.
func TestMPTCPStates(t *testing.T) {
	actiontest.LeakCheck(t)
	client, server, _, before, open := mptcp(t, 1)
	early := prepared(t, before)
	must(t, "shutdown", unix.Shutdown(client.FD, unix.SHUT_WR))
	var s actions.Sealed
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
		s = seal(t, server, open)
		return s.Socket.State == collectors.CloseWait
	})
	expect(t, "Apply what was decided on ESTABLISHED", early.Apply(t.Context()), actions.Changed)
	if e, err := prepare(t, before); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare: %v, %v", e, err)
	}
	other := s // an earlier connection of the descriptor
	other.Socket.Token++
	if e, err := prepare(t, other); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare of another connection: %v, %v", e, err)
	}
	if n := len(subflowsOf(t, server, open)); n != 1 {
		t.Fatalf("%d subflows are left", n)
	}
	e := prepared(t, s)
	expect(t, "Apply", e.Apply(t.Context()), actions.Gone)
	expect(t, "Verify", e.Verify(t.Context()), actions.FDStillHeld)
	if data, err := receive(t, client.FD); data != "" || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the peer gets %q, %v", data, err)
	}
}

// With a peer that speaks only TCP, MPTCP falls back to TCP, and the kernel no longer
// tells the owner a token.
func TestMPTCPFallback(t *testing.T) {
	actiontest.LeakCheck(t)
	n := socklab.NewNamespace(t, "mptcp")
	l, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	defer unix.Close(l)
	must(t, "bind", unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, "listen", unix.Listen(l, 1))
	addr, err := unix.Getsockname(l)
	must(t, "getsockname", err)
	client, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	if err != nil {
		socklab.Lacks(t, err)
	}
	defer unix.Close(client)
	if err := unix.Connect(client, addr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	server := -1
	socklab.WaitFor(t, "the connection", func() bool {
		server, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return err == nil
	})
	defer unix.Close(server)
	open := func() (*os.File, error) { return os.Open("/run/netns/mptcp") }
	all := actiontest.SealAll(t, collectors.MPTCP, open)
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	e := prepared(t, all[0])
	expect(t, "Apply", e.Apply(t.Context()), actions.Gone)
	expect(t, "Verify", e.Verify(t.Context()), actions.FDStillHeld)
	if data, err := receive(t, server); data != "" || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the peer gets %q, %v", data, err)
	}
}
