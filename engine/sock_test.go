package engine

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// sock is a TCP socket of the tests.
type sock struct {
	fd    int
	v6    bool
	local netip.AddrPort
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// bound is a new socket with its own port on an address.
func bound(t testing.TB, at netip.Addr) *sock {
	t.Helper()
	s := &sock{v6: at.Is6()}
	domain := unix.AF_INET
	if s.v6 {
		domain = unix.AF_INET6
	}
	var err error
	s.fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, "socket", err)
	t.Cleanup(s.reset)
	must(t, "bind", unix.Bind(s.fd, sockaddr(netip.AddrPortFrom(at, 0))))
	s.local = addrPort(name(t, s.fd))
	return s
}

// keepsPort is a new socket like bound whose port stays when it is disconnected, because
// it was asked for by number.
func keepsPort(t testing.TB, at netip.Addr) *sock {
	t.Helper()
	first := bound(t, at)
	first.reset()
	s := &sock{v6: at.Is6(), local: first.local}
	domain := unix.AF_INET
	if s.v6 {
		domain = unix.AF_INET6
	}
	var err error
	s.fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, "socket", err)
	t.Cleanup(s.reset)
	must(t, "bind", unix.Bind(s.fd, sockaddr(s.local)))
	return s
}

// reset closes the socket and leaves nothing behind.
func (s *sock) reset() {
	if s.fd >= 0 {
		_ = unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		_ = unix.Close(s.fd)
		s.fd = -1
	}
}

func (s *sock) connect(t testing.TB, to netip.AddrPort) {
	t.Helper()
	if err := unix.Connect(s.fd, sockaddr(to)); err != unix.EINPROGRESS && err != nil {
		t.Fatalf("connect: %v", err)
	}
}

// disconnect is connect(AF_UNSPEC): afterwards the descriptor can be connected again.
func (s *sock) disconnect(t testing.TB) {
	t.Helper()
	_, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&[16]byte{})), 16)
	if e != 0 {
		t.Fatalf("connect(AF_UNSPEC): %v", e)
	}
}

func (s *sock) state(t testing.TB) collectors.State {
	t.Helper()
	return collectors.State(tcpInfo(t, s.fd).State)
}

// until waits for the socket to be in a state, and returns when it was last seen in
// another one: its age is at most the time since then.
func (s *sock) until(t testing.TB, want collectors.State) (before time.Time) {
	t.Helper()
	before = time.Now()
	socklab.WaitFor(t, want.String(), func() bool {
		now := time.Now()
		if s.state(t) == want {
			return true
		}
		before = now
		return false
	})
	return before
}

// recordOf is what the kernel shows of the socket with that local end.
func recordOf(t testing.TB, local netip.AddrPort) (collectors.Socket, time.Time) {
	t.Helper()
	rec, now, found := recordAt(t, local)
	if !found {
		t.Fatalf("%s is not there", local)
	}
	return rec, now
}

// recordAt is recordOf for a connection that may be gone.
func recordAt(t testing.TB, local netip.AddrPort) (collectors.Socket, time.Time, bool) {
	t.Helper()
	for _, rec := range sockets(t) {
		if l, _ := ends(&rec); l == local && rec.State != collectors.Listen && rec.Protocol == collectors.TCP {
			return rec, time.Now(), true
		}
	}
	return collectors.Socket{}, time.Time{}, false
}
