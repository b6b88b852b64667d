package destroy

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// udpKind says how a UDP socket got its port and its peer.
type udpKind struct {
	port      bool // bound to a port that it chose
	auto      bool // bound to any port: the kernel chose one
	connected bool
	group     bool // shares its port by SO_REUSEPORT, with no other socket
}

func sockaddr(a netip.AddrPort) (domain int, sa unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func (k udpKind) make(t *testing.T, f socklab.Family) (fd int, s actions.Sealed) {
	t.Helper()
	free := socklab.Make(t, socklab.UDPConnected, f) // has a free port, and a peer
	at, peer := free.Local, free.Remote
	free.CloseFD()
	domain, _ := sockaddr(at)
	fd, err := socklab.Home(t).Socket(domain, unix.SOCK_DGRAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	if k.group {
		must(t, "SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}
	if k.port || k.auto {
		if k.auto {
			at = netip.AddrPortFrom(at.Addr(), 0)
		}
		_, sa := sockaddr(at)
		must(t, "bind", unix.Bind(fd, sa))
	}
	if k.connected {
		_, sa := sockaddr(peer)
		must(t, "connect", unix.Connect(fd, sa))
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	must(t, "SO_COOKIE", err)
	all := actiontest.SealAll(t, collectors.UDP, nil)
	i := slices.IndexFunc(all, func(s actions.Sealed) bool { return s.Socket.Cookie == cookie })
	if i < 0 {
		t.Fatal("the socket is not seen")
	}
	return fd, all[i]
}

// hears reports whether a datagram to the port reaches the socket.
func hears(t *testing.T, fd int, to *collectors.Socket) bool {
	t.Helper()
	addr := to.Local.Netip()
	if addr.IsUnspecified() && to.Family == collectors.IPv6 {
		addr = netip.IPv6Loopback()
	}
	domain, sa := sockaddr(netip.AddrPortFrom(addr, to.LocalPort))
	from, err := socklab.Home(t).Socket(domain, unix.SOCK_DGRAM, 0)
	must(t, "socket", err)
	defer unix.Close(from)
	must(t, "send", unix.Sendto(from, []byte("anybody?"), 0, sa)) // to this host, so it arrives at once
	n, _ := unix.Read(fd, make([]byte, 16))
	return n == 8
}

// What the kernel does to each kind of UDP socket, and that the result says so. Seen on
// Linux 6.18.
func TestUDP(t *testing.T) {
	actiontest.LeakCheck(t)
	for name, c := range map[string]struct {
		kind   udpKind
		want   actions.Result
		detail string
		hears  bool
	}{
		"port":               {udpKind{port: true}, actions.Unchanged, "goes on answering", true},
		"port in a group":    {udpKind{port: true, group: true}, actions.Unchanged, "goes on answering", true},
		"port, connected":    {udpKind{port: true, connected: true}, actions.FDStillHeld, "still receives", true},
		"no port":            {udpKind{auto: true}, actions.FDStillHeld, "hears nothing", false},
		"no port, connected": {udpKind{auto: true, connected: true}, actions.FDStillHeld, "hears nothing", false},
		"connected":          {udpKind{connected: true}, actions.FDStillHeld, "hears nothing", false},
	} {
		for _, f := range []socklab.Family{socklab.IPv4, socklab.IPv6} {
			t.Run(name+"/"+string(f), func(t *testing.T) {
				fd, s := c.kind.make(t, f)
				e := prepared(t, s)
				if out := e.Apply(t.Context()); out.Result != actions.Gone {
					t.Errorf("Apply: %+v", out)
				}
				out := e.Verify(t.Context())
				if out.Result != c.want || !strings.Contains(out.Detail, c.detail) || out.Result.Climbs() {
					t.Errorf("Verify: %+v, not %s %q", out, c.want, c.detail)
				}
				for i, want := range []error{unix.ECONNABORTED, unix.EAGAIN} {
					if _, err := unix.Read(fd, make([]byte, 16)); !errors.Is(err, want) {
						t.Errorf("read %d: %v, not %v", i, err, want)
					}
				}
				if sa, err := unix.Getpeername(fd); !errors.Is(err, unix.ENOTCONN) {
					t.Errorf("it is connected to %+v, %v", sa, err)
				}
				want := c.hears
				if c.kind.port && c.kind.connected && f == socklab.IPv6 {
					want = false // the kernel forgets the port of the peer, but keeps its address
				}
				if got := hears(t, fd, &s.Socket); got != want {
					t.Errorf("it hears: %t", got)
				}
			})
		}
	}
}

// Of UDP sockets that share a port the kernel finds one, as of listeners; the others stay
// untouched, and the result says so.
func TestReuseportUDP(t *testing.T) {
	actiontest.LeakCheck(t)
	fd, first := udpKind{port: true, group: true}.make(t, socklab.IPv4)
	sealed, fds := []actions.Sealed{first}, []int{fd}
	for range 7 {
		fd, err := socklab.Home(t).Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		must(t, "socket", err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		must(t, "SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: first.Socket.Local.Netip().As4(), Port: int(first.Socket.LocalPort)}))
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		must(t, "SO_COOKIE", err)
		s := first
		s.Socket.Cookie = cookie
		sealed, fds = append(sealed, s), append(fds, fd)
	}
	found := 0
	for i, s := range sealed {
		out := prepared(t, s).Apply(t.Context())
		_, err := unix.Read(fds[i], make([]byte, 16))
		switch {
		case out.Result == actions.Gone && errors.Is(err, unix.ECONNABORTED):
			found++
		case out.Result != actions.Refused || out.Detail == "" || !errors.Is(err, unix.EAGAIN):
			t.Errorf("%d: %+v, and read: %v", i, out, err)
		}
	}
	if found != 1 {
		t.Errorf("%d of %d were found", found, len(sealed))
	}
}

// A warning says what destroying does not do, wherever a rule could expect it.
func TestWarnUDP(t *testing.T) {
	both, tcp := []collectors.Protocol{collectors.TCP, collectors.UDP}, []collectors.Protocol{collectors.TCP}
	for _, c := range []struct {
		params map[string]any
		of     collectors.Query
		want   bool
	}{
		{map[string]any{"udp": true}, collectors.Query{Protocols: both, States: collectors.AllStates}, true},
		{map[string]any{"udp": true}, collectors.Query{Protocols: tcp, States: collectors.AllStates}, false},
		{map[string]any{"udp": true}, collectors.Query{Protocols: both, States: collectors.Mask(collectors.Established)}, false},
		{nil, collectors.Query{Protocols: both, States: collectors.AllStates}, false},
	} {
		if got := Plugin().Warn(c.params, &c.of, 0); (got != "") != c.want {
			t.Errorf("%v %+v: %q", c.params, c.of, got)
		}
	}
}
