package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// open makes a socket in a namespace until the end of the test.
func open(t testing.TB, n *socklab.Namespace, domain, typ, proto int) int {
	t.Helper()
	fd, err := n.Socket(domain, typ, proto)
	if err != nil {
		t.Fatalf("socket: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// A destroyed listener that chose its port stays bound to it.
func TestDestroyedListenerStaysBound(t *testing.T) {
	c := dialTest(t, -1)
	auto := socklab.Make(t, socklab.Listen, socklab.IPv4)
	port := auto.Local.Port()
	auto.CloseFD()
	l := socklab.NewListener(t, socklab.IPv4, port)
	s := findEnds(t, c, collectors.TCP, l.Addr, auto.Remote)
	must(t, "destroy", c.Destroy(t.Context(), &s))
	fd := open(t, socklab.Home(t), unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: l.Addr.Addr().As4(), Port: int(port)}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("bind to its port: %v", err)
	}
	now, err := c.Get(t.Context(), &s)
	if !socklab.Bound.Shown() {
		if !errors.Is(err, collectors.ErrGone) {
			t.Errorf("get after destroy: %s, %v", now.State, err)
		}
		return
	}
	if err != nil || now.State != collectors.Close || now.Cookie != s.Cookie {
		t.Errorf("get after destroy: %s, %v", now.State, err)
	}
}

// The kernel looks at only one member of an SO_REUSEPORT group; Get finds them all, one
// by one over the same connection.
func TestReuseport(t *testing.T) {
	socklab.Need(t)
	for name, typ := range map[string]int{"tcp": unix.SOCK_STREAM, "udp": unix.SOCK_DGRAM} {
		t.Run(name, func(t *testing.T) {
			c := dialTest(t, -1)
			addr := &unix.SockaddrInet4{Addr: socklab.IPv4.Local().As4()}
			cookies := map[uint64]bool{}
			for range 4 {
				fd := open(t, socklab.Home(t), unix.AF_INET, typ, 0)
				must(t, "SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
				must(t, "bind", unix.Bind(fd, addr))
				if typ == unix.SOCK_STREAM {
					must(t, "listen", unix.Listen(fd, 1))
				}
				sa, err := unix.Getsockname(fd)
				must(t, "getsockname", err)
				addr.Port = sa.(*unix.SockaddrInet4).Port
				cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
				must(t, "SO_COOKIE", err)
				cookies[cookie] = true
			}
			found := 0
			for _, s := range dumpTest(t, c, everything) {
				if !cookies[s.Cookie] {
					continue
				}
				found++
				now, err := c.Get(t.Context(), &s)
				if err != nil || now.Cookie != s.Cookie {
					t.Errorf("get %x: %x, %v", s.Cookie, now.Cookie, err)
				}
				s.Cookie = ^uint64(1)
				if _, err := c.Get(t.Context(), &s); !errors.Is(err, collectors.ErrGone) {
					t.Errorf("get another cookie: %v", err)
				}
			}
			if found != len(cookies) {
				t.Errorf("the dump shows %d of %d", found, len(cookies))
			}
		})
	}
}

// Of a group, Destroy reaches only the member that the kernel looks up. It never mistakes
// one for another.
func TestReuseportDestroy(t *testing.T) {
	c, n := dialTest(t, -1), socklab.Home(t)
	addr := &unix.SockaddrInet4{Addr: socklab.IPv4.Local().As4()}
	alive := map[uint64]bool{}
	for range 3 {
		fd := open(t, n, unix.AF_INET, unix.SOCK_DGRAM, 0)
		must(t, "SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		must(t, "bind", unix.Bind(fd, addr))
		sa, err := unix.Getsockname(fd)
		must(t, "getsockname", err)
		addr.Port = sa.(*unix.SockaddrInet4).Port
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		must(t, "SO_COOKIE", err)
		alive[cookie] = true
	}
	destroyed := 0
	for _, s := range dumpTest(t, c, everything) {
		if !alive[s.Cookie] {
			continue
		}
		switch err := c.Destroy(t.Context(), &s); {
		case err == nil:
			destroyed++
		case errors.Is(err, collectors.ErrGone):
			if now, err := c.Get(t.Context(), &s); err != nil || now.Cookie != s.Cookie {
				t.Errorf("%x was not destroyed, and get says %v", s.Cookie, err)
			}
		default:
			t.Error(err)
		}
	}
	if destroyed == 0 {
		t.Error("none was destroyed")
	}
}

// A link-local socket is found only with its interface.
func TestLinkLocal(t *testing.T) {
	c, peer := dialTest(t, -1), socklab.Peer(t)
	lab0, err := net.InterfaceByName("lab0")
	must(t, "lab0", err)
	var peer0 *net.Interface
	must(t, "peer0", peer.Do(func() (err error) {
		peer0, err = net.InterfaceByName("peer0")
		return err
	}))
	there := netip.MustParseAddr("fe80::9:2")
	server := open(t, peer, unix.AF_INET6, unix.SOCK_STREAM, 0)
	must(t, "bind", unix.Bind(server, &unix.SockaddrInet6{Addr: there.As16(), ZoneId: uint32(peer0.Index)}))
	must(t, "listen", unix.Listen(server, 1))
	sa, err := unix.Getsockname(server)
	must(t, "getsockname", err)
	port := sa.(*unix.SockaddrInet6).Port

	client := open(t, socklab.Home(t), unix.AF_INET6, unix.SOCK_STREAM, 0)
	err = unix.Connect(client, &unix.SockaddrInet6{Addr: there.As16(), Port: port, ZoneId: uint32(lab0.Index)})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	sa, err = unix.Getsockname(client)
	must(t, "getsockname", err)
	own := sa.(*unix.SockaddrInet6)
	local := netip.AddrPortFrom(netip.AddrFrom16(own.Addr), uint16(own.Port))
	s := findEnds(t, c, collectors.TCP, local, netip.AddrPortFrom(there, uint16(port)))
	if int(s.IfIndex) != lab0.Index {
		t.Errorf("interface %d, not %d", s.IfIndex, lab0.Index)
	}
	if _, err := c.Get(t.Context(), &s); err != nil {
		t.Error(err)
	}
	lost := s
	lost.IfIndex = 0
	if _, err := c.Get(t.Context(), &lost); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("get without the interface: %v", err)
	}
	if err := c.Destroy(t.Context(), &lost); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("destroy without the interface: %v", err)
	}
	must(t, "destroy", c.Destroy(t.Context(), &s))
	if _, err := c.Get(t.Context(), &s); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("get after destroy: %v", err)
	}
}

// A connection into another namespace shows the sockets of that one only.
func TestOtherNamespace(t *testing.T) {
	socklab.LeakCheck(t)
	other := socklab.NewNamespace(t, "other")
	fd := open(t, other, unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	here := socklab.Make(t, socklab.Listen, socklab.IPv4)

	c, home := dialTest(t, other.FD()), dialTest(t, -1)
	if c.NetNS() == home.NetNS() || c.NetNS() == 0 {
		t.Errorf("namespace %d, ours is %d", c.NetNS(), home.NetNS())
	}
	all := dumpTest(t, c, everything)
	if len(all) != 1 || all[0].Protocol != collectors.UDP || all[0].NetNS != c.NetNS() {
		t.Fatalf("the namespace shows %+v", all)
	}
	for s, err := range Plugin().New(other.FD()).Collect(t.Context(), everything) {
		if err != nil || s.Cookie != all[0].Cookie {
			t.Errorf("the collector gives %x, %v", s.Cookie, err)
		}
	}
	if _, err := home.Get(t.Context(), &all[0]); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("the other's socket is here: %v", err)
	}
	find(t, home, here)
	must(t, "destroy", c.Destroy(t.Context(), &all[0]))
	if rest := dumpTest(t, c, everything); len(rest) != 0 {
		t.Errorf("after destroy: %+v", rest)
	}

	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	must(t, "pidfd_open", err)
	defer unix.Close(pidfd)
	if c := dialTest(t, pidfd); c.NetNS() != home.NetNS() {
		t.Errorf("by pid descriptor: namespace %d, ours is %d", c.NetNS(), home.NetNS())
	}
}

// The kernel returns EOPNOTSUPP for a family whose sockets it cannot destroy.
func TestNotSupported(t *testing.T) {
	c := dialTest(t, -1)
	req := make([]byte, reqLen)
	req[0] = unix.AF_UNIX
	if _, err := c.execute(t.Context(), typeDestroy, netlink.Acknowledge, req); !errors.Is(err, collectors.ErrNotSupported) {
		t.Errorf("destroy of a unix socket: %v", err)
	}
	if err := c.Supported(t.Context()); err != nil {
		t.Errorf("this kernel: %v", err)
	}
}

func TestDestroyNeedsCookie(t *testing.T) {
	c, subject := dialTest(t, -1), socklab.Make(t, socklab.Established, socklab.IPv4)
	s := find(t, c, subject)
	for _, cookie := range []uint64{0, ^uint64(0)} {
		s.Cookie = cookie
		if err := c.Destroy(t.Context(), &s); err == nil {
			t.Errorf("destroyed cookie %x", cookie)
		}
	}
	if state, ok := subject.Now(); !ok {
		t.Errorf("it is %s", state)
	}
}

// A context that is cancelled, before or during a dump, ends it with its error, at the
// latest with the next datagram.
func TestDumpCancelled(t *testing.T) {
	socklab.LeakCheck(t)
	socklab.Many(t, socklab.Established, socklab.IPv4, 1000)
	before, cancel := context.WithCancel(t.Context())
	cancel()
	c := dialTest(t, -1)
	for s, err := range c.Dump(before, everything) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v, %v", s, err)
		}
	}
	during, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, last := 0, error(nil)
	for _, err := range dialTest(t, -1).Dump(during, everything) {
		cancel()
		n, last = n+1, err
	}
	if !errors.Is(last, context.Canceled) || n >= 1000 {
		t.Errorf("cancelled during: %d records, %v", n, last)
	}
}

// An abandoned dump leaves no descriptor and no goroutine behind.
func TestDumpAbandoned(t *testing.T) {
	socklab.LeakCheck(t)
	socklab.Many(t, socklab.Established, socklab.IPv4, 1000)
	for range 10 {
		for _, err := range Plugin().New(-1).Collect(t.Context(), everything) {
			must(t, "dump", err)
			break
		}
	}
}

// The rest of an abandoned dump is never taken for an answer.
func TestAbandonedConnection(t *testing.T) {
	subject := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	c := dialTest(t, -1)
	var s collectors.Socket
	for now, err := range c.Dump(t.Context(), everything) {
		must(t, "dump", err)
		s = *now
		break
	}
	if err := c.Destroy(t.Context(), &s); err == nil || errors.Is(err, collectors.ErrGone) {
		t.Errorf("destroy: %v", err)
	}
	if _, err := c.Get(t.Context(), &s); err == nil || errors.Is(err, collectors.ErrGone) {
		t.Errorf("get: %v", err)
	}
	for _, err := range c.Dump(t.Context(), everything) {
		if err == nil {
			t.Error("a second dump goes on")
		}
	}
	if state, ok := subject.Now(); !ok || state != collectors.CloseWait {
		t.Errorf("it is %s (%t)", state, ok)
	}
}

const ipprotoMPTCP = 262 // IPPROTO_MPTCP, include/uapi/linux/in.h

// The TCP connections under MPTCP are shown as such, but a dump only says so along with
// tcp_info.
func TestMPTCPSubflow(t *testing.T) {
	c := dialTest(t, -1)
	server, err := socklab.Peer(t).Socket(unix.AF_INET, unix.SOCK_STREAM, ipprotoMPTCP)
	if err != nil {
		socklab.Lacks(t, fmt.Errorf("no MPTCP: %w", err))
	}
	defer unix.Close(server)
	must(t, "bind", unix.Bind(server, &unix.SockaddrInet4{Addr: socklab.IPv4.Remote().As4()}))
	must(t, "listen", unix.Listen(server, 1))
	sa, err := unix.Getsockname(server)
	must(t, "getsockname", err)
	client := open(t, socklab.Home(t), unix.AF_INET, unix.SOCK_STREAM, ipprotoMPTCP)
	if err := unix.Connect(client, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	port := uint16(sa.(*unix.SockaddrInet4).Port)
	var s collectors.Socket
	socklab.WaitFor(t, "a subflow", func() bool {
		for _, s = range dumpTest(t, c, everything) {
			if s.RemotePort == port && s.State == collectors.Established {
				return s.Subflow
			}
		}
		return false
	})
	bare := everything
	bare.Fields.Remove(collectors.InfoFields())
	for _, s := range dumpTest(t, c, bare) {
		if s.Subflow {
			t.Errorf("a subflow without tcp_info: %+v", s)
		}
	}
	if now, err := c.Get(t.Context(), &s); err != nil || !now.Subflow {
		t.Errorf("get: subflow %t, %v", now.Subflow, err)
	}
}
