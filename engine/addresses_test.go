package engine

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// ip runs commands of ip(8) in the tests' namespace.
func ip(t *testing.T, commands ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v: %s", err, out)
	}
}

// lend gives lab0 an address and returns a function that takes it away.
func lend(t *testing.T, prefix string) (leave func()) {
	t.Helper()
	socklab.Peer(t)
	flags := ""
	if strings.Contains(prefix, ":") {
		flags = " nodad"
	}
	ip(t, "addr add "+prefix+" dev lab0"+flags)
	there := true
	leave = func() {
		if there {
			there = false
			ip(t, "addr del "+prefix+" dev lab0")
		}
	}
	t.Cleanup(leave)
	return leave
}

// lent is a socket on an address that goes away.
type lent struct {
	typ       int // SOCK_STREAM, SOCK_DGRAM
	options   []int
	connected bool // to the peer
	listening bool
	at        netip.AddrPort
	device    uint32
}

// open makes the socket and returns its local port.
func (s *lent) open(t *testing.T) uint16 {
	t.Helper()
	domain, a := unix.AF_INET, s.at.Addr()
	if !a.Is4() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, s.typ|unix.SOCK_CLOEXEC, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "linger", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	for _, o := range s.options {
		must(t, "option", unix.SetsockoptInt(fd, unix.SOL_IP, o, 1))
	}
	at := sockaddr(s.at)
	if six, ok := at.(*unix.SockaddrInet6); ok {
		six.ZoneId = s.device
	}
	must(t, "bind "+s.at.String(), unix.Bind(fd, at))
	if s.listening {
		must(t, "listen", unix.Listen(fd, 1))
	}
	if s.connected {
		must(t, "connect", unix.Connect(fd, sockaddr(s.peer(t))))
	}
	bound := addrPort(name(t, fd))
	return bound.Port()
}

// peer starts a listener for the socket and returns its address.
func (s *lent) peer(t *testing.T) (to netip.AddrPort) {
	t.Helper()
	must(t, "peer", socklab.Peer(t).Do(func() error {
		host := "10.9.0.2"
		if a := s.at.Addr(); !a.Is4() && !a.Is4In6() {
			host = "fd00:9::2"
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
			to = l.Addr().(*net.TCPAddr).AddrPort()
			to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		}
		return err
	}))
	if s.at.Addr().Is4In6() {
		return netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port())
	}
	return to
}

// gone returns for each local port what is known about its address: gone, there or
// unknown.
func gone(t *testing.T, l *lab, ports map[string]uint16) map[string]string {
	t.Helper()
	r := l.run(t, l.rules(t, ruleFile(`protocol in ["tcp", "udp"] and (local_addr_gone or not local_addr_gone or not known(local_addr_gone))`, "log", "mode: observe")))
	noErrors(t, r)
	found := map[string]string{}
	for name, port := range ports {
		found[name] = "absent"
		for _, f := range r.Findings {
			if f.Socket.LocalPort != port {
				continue
			}
			record := f.Record()
			switch v, known := collectors.Value(collectors.FieldLocalAddrGone, &record); {
			case !known:
				found[name] = "unknown"
			case v == true:
				found[name] = "gone"
			default:
				found[name] = "there"
			}
		}
	}
	return found
}

// An address has left or it has not; a socket that may wait for its address does not lack
// it.
func TestLocalAddrGone(t *testing.T) {
	l := newLab(t, Options{})
	at := func(a string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(a), 0) }
	leave := []func(){lend(t, "10.9.0.77/24"), lend(t, "fd00:9::77/64"), lend(t, "fe80::77/64")}
	lab0, err := net.InterfaceByName("lab0")
	must(t, "lab0", err)
	free, transparent := []int{unix.IP_FREEBIND}, []int{unix.IP_TRANSPARENT}
	stream, dgram := unix.SOCK_STREAM, unix.SOCK_DGRAM
	ports, want := map[string]uint16{}, map[string]string{}
	for name, c := range map[string]struct {
		socket lent
		want   string
	}{
		"connection":               {lent{typ: stream, connected: true, at: at("10.9.0.77")}, "gone"},
		"IPv6":                     {lent{typ: stream, connected: true, at: at("fd00:9::77")}, "gone"},
		"mapped":                   {lent{typ: stream, connected: true, at: at("::ffff:10.9.0.77")}, "gone"},
		"listener":                 {lent{typ: stream, listening: true, at: at("10.9.0.77")}, "gone"},
		"link-local":               {lent{typ: stream, listening: true, at: at("fe80::77"), device: uint32(lab0.Index)}, "gone"},
		"connection, freebind":     {lent{typ: stream, connected: true, options: free, at: at("10.9.0.77")}, "gone"},
		"listener, freebind":       {lent{typ: stream, listening: true, options: free, at: at("10.9.0.77")}, "there"},
		"listener, transparent":    {lent{typ: stream, listening: true, options: transparent, at: at("10.9.0.77")}, "unknown"},
		"connection, transparent":  {lent{typ: stream, connected: true, options: transparent, at: at("10.9.0.77")}, "unknown"},
		"UDP":                      {lent{typ: dgram, at: at("10.9.0.77")}, "gone"},
		"UDP, freebind":            {lent{typ: dgram, options: free, at: at("10.9.0.77")}, "there"},
		"UDP, connected, freebind": {lent{typ: dgram, connected: true, options: free, at: at("10.9.0.77")}, "gone"},
		"multicast":                {lent{typ: dgram, at: at("224.0.0.251")}, "there"},
		"broadcast":                {lent{typ: dgram, at: at("255.255.255.255")}, "there"},
		"of the net":               {lent{typ: dgram, at: at("10.9.0.255")}, "there"},
		"wildcard":                 {lent{typ: stream, listening: true, at: at("::")}, "there"},
		"stays":                    {lent{typ: stream, connected: true, at: at("10.9.0.1")}, "there"},
	} {
		ports[name], want[name] = c.socket.open(t), c.want
	}
	before := maps.Clone(want)
	for name := range before {
		before[name] = "there"
	}
	if got := gone(t, l, ports); !maps.Equal(got, before) {
		t.Errorf("before they leave: %v", got)
	}
	for _, f := range leave {
		f()
	}
	if got := gone(t, l, ports); !maps.Equal(got, want) {
		t.Errorf("%v, not\n%v", got, want)
	}
	// Now any program may wait for an address.
	socklab.Home(t).Sysctl(t, "net/ipv4/ip_nonlocal_bind", "1")
	want["listener"], want["UDP"] = "there", "there"
	if got := gone(t, l, ports); !maps.Equal(got, want) {
		t.Errorf("with ip_nonlocal_bind: %v, not\n%v", got, want)
	}
	ip(t, "route add local 10.9.0.64/27 dev lo table 99")
	t.Cleanup(func() { ip(t, "route del local 10.9.0.64/27 dev lo table 99") })
	for name := range want {
		if !strings.Contains("IPv6 link-local", name) {
			want[name] = "there"
		}
	}
	if got := gone(t, l, ports); !maps.Equal(got, want) {
		t.Errorf("with AnyIP: %v, not\n%v", got, want)
	}
}

// An accepted connection inherits from its listener that it may wait for an address, but
// has lost its address all the same. Mini-sockets do not show whether they may wait.
func TestLocalAddrGoneOfAccepted(t *testing.T) {
	l := newLab(t, Options{})
	leave := lend(t, "10.9.0.78/24")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "freebind", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1))
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{10, 9, 0, 78}}))
	must(t, "listen", unix.Listen(fd, 1))
	addr := addrPort(name(t, fd))
	accepted, finished := acceptFrom(t, fd, addr), acceptFrom(t, fd, addr)
	must(t, "close", unix.Close(finished.FD)) // first, so this end is the one in TIME_WAIT
	must(t, "close the peer", unix.Close(finished.Peer))
	finished.FD, finished.Peer = -1, -1
	socklab.WaitFor(t, "TIME_WAIT", func() bool {
		s, ok := recordFor(t, addr, finished.Remote)
		return ok && s.State == collectors.TimeWait
	})
	leave()
	r := l.run(t, l.rules(t, ruleFile(`local_addr_gone or not known(local_addr_gone)`, "log", "mode: observe")))
	got := map[string]bool{}
	for _, f := range r.Findings {
		record := f.Record()
		v, known := collectors.Value(collectors.FieldLocalAddrGone, &record)
		_, remote := ends(&f.Socket)
		switch remote {
		case accepted.Remote:
			got["accepted"] = known && v == true
		case finished.Remote:
			got["finished"] = !known
		default:
			t.Errorf("found %s", line(f))
		}
	}
	if !got["accepted"] || !got["finished"] {
		t.Errorf("%v\n%s", got, describe(r))
	}
}

// acceptFrom makes a connection from the peer namespace to a listener.
func acceptFrom(t *testing.T, listener int, at netip.AddrPort) *socklab.Conn {
	t.Helper()
	peer, err := socklab.Peer(t).Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	c := &socklab.Conn{Kind: socklab.Established, Family: socklab.IPv4, FD: -1, Peer: peer, Local: at}
	t.Cleanup(func() {
		for _, fd := range []int{c.Peer, c.FD} {
			if fd >= 0 {
				_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
				_ = unix.Close(fd)
			}
		}
	})
	if err := unix.Connect(peer, sockaddr(at)); err != nil && err != unix.EINPROGRESS {
		t.Fatalf("connect: %v", err)
	}
	fd, from, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	must(t, "accept", err)
	c.FD, c.Remote = fd, addrPort(from)
	return c
}

// recordFor returns what the kernel shows of a connection.
func recordFor(t *testing.T, local, remote netip.AddrPort) (collectors.Socket, bool) {
	t.Helper()
	for _, s := range sockets(t) {
		if l, r := ends(&s); l == local && r == remote {
			return s, true
		}
	}
	return collectors.Socket{}, false
}

// If the address is back when the action begins, the connection is spared: an interface
// that is being set up again lacks it for a moment.
func TestLocalAddrComesBack(t *testing.T) {
	leave := lend(t, "10.9.0.79/24")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{10, 9, 0, 79}}))
	must(t, "listen", unix.Listen(fd, 1))
	c := acceptFrom(t, fd, addrPort(name(t, fd)))
	holder(t, c)
	l := newLab(t, Options{Live: true})
	p := l.rules(t, ruleFile("local_addr_gone and state == 'ESTABLISHED'", "destroy"))
	leave()
	looked, err := l.Look(t.Context(), p)
	must(t, "look", err)
	expect(t, findingOf(t, looked, c), report.DecideAct, "", actions.Would)
	leave = lend(t, "10.9.0.79/24")
	began := time.Now()
	socklab.WaitFor(t, "the answer to grow old", func() bool { return time.Since(began) > 300*time.Millisecond })
	r := l.Act(t.Context(), p, looked)
	l.Finish(t.Context(), r)
	expect(t, findingOf(t, r, c), report.DecideAct, "", actions.Changed)
	if !survives(t, c) {
		t.Error("the connection is gone")
	}
	leave()
	expect(t, findingOf(t, l.run(t, p), c), report.DecideAct, "", actions.FDStillHeld)
}

// addressless is a host that does not say which addresses it has.
type addressless struct {
	world.Network
	asked int
}

func (a *addressless) Addresses(*world.Namespace) (world.Addresses, error) {
	a.asked++
	return world.Addresses{}, context.DeadlineExceeded
}

// Where addresses cannot be read, none is gone and the report says why. The engine asks
// for them only where a rule reads the field, once per cycle.
func TestLocalAddressesUnknown(t *testing.T) {
	socklab.Need(t)
	host := hostWorld(t, world.OwnersProc, 1)
	silent := &addressless{Network: host.Network}
	host.Network = silent
	l := newLab(t, Options{World: host})
	socklab.Make(t, socklab.Established, socklab.IPv4)
	socklab.Make(t, socklab.Listen, socklab.IPv6)
	r := l.run(t, l.rules(t, ruleFile("local_addr_gone", "destroy")))
	if len(r.Findings) != 0 || len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Error(), "local addresses of namespace host") || silent.asked != 1 {
		t.Errorf("asked %d times, %v\n%s", silent.asked, r.Errors, describe(r))
	}
	noErrors(t, l.run(t, l.rules(t, ruleFile("port == 1", "destroy"))))
	if silent.asked != 1 {
		t.Errorf("asked %d times by a rule that does not read it", silent.asked-1)
	}
}
