package localaddr

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

// ip runs ip(8) commands in a namespace.
func ip(t *testing.T, n *socklab.Namespace, commands ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-n", n.Name, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v: %s", err, out)
	}
}

// setIn calls Read in a namespace.
func setIn(t *testing.T, n *socklab.Namespace) (s *Set) {
	t.Helper()
	err := n.Do(func() (err error) {
		s, err = Read()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// index returns the number of an interface in a namespace.
func index(t *testing.T, n *socklab.Namespace, name string) (i uint32) {
	t.Helper()
	err := n.Do(func() error {
		dev, err := net.InterfaceByName(name)
		if err == nil {
			i = uint32(dev.Index)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// bindable asks the kernel, which refuses addresses that are not there.
func bindable(n *socklab.Namespace, a netip.Addr, device uint32) (bool, error) {
	domain, at := unix.AF_INET, unix.Sockaddr(nil)
	if a.Is4() {
		at = &unix.SockaddrInet4{Addr: a.As4()}
	} else {
		domain, at = unix.AF_INET6, &unix.SockaddrInet6{Addr: a.As16(), ZoneId: device}
	}
	fd, err := n.Socket(domain, unix.SOCK_DGRAM, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	err = unix.Bind(fd, at)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil, err
}

// Local addresses are those that the kernel lets a socket bind to, and a few more: other
// tables, and AnyIP of IPv6, which allows connections but no binding.
func TestAgreesWithBind(t *testing.T) {
	n := socklab.NewNamespace(t, "addresses")
	ip(t, n,
		"link add d1 type veth peer name d2", "link set d1 up", "link set d2 up",
		"addr add 192.0.2.1/24 brd 192.0.2.255 dev d1", "addr add 198.51.100.1 peer 198.51.100.2/32 dev d1",
		"addr add 2001:db8::1/64 dev d1 nodad", "addr add fe80::11/64 dev d1 nodad", "addr add fe80::12/64 dev d2 nodad",
		"route add local 203.0.113.0/24 dev lo", "route add local 10.8.0.0/16 dev lo table 100", "route add local 2001:db8:a::/48 dev lo",
	)
	d1, d2 := index(t, n, "d1"), index(t, n, "d2")
	s := setIn(t, n)
	for text, want := range map[string]struct{ held, binds bool }{
		"127.0.0.1": {true, true}, "127.9.9.9": {true, true}, "::1": {true, true}, "0.0.0.0": {true, true}, "::": {true, true},
		"192.0.2.1": {true, true}, "192.0.2.2": {}, "192.0.2.255": {true, true}, "198.51.100.1": {true, true}, "198.51.100.2": {},
		"203.0.113.77": {true, true}, "203.0.114.1": {}, "10.8.7.6": {true, false}, "10.9.7.6": {},
		"2001:db8::1": {true, true}, "2001:db8::2": {}, "2001:db8:a:1::5": {true, false}, "2001:db8:b::5": {},
		"224.0.0.251": {true, true}, "ff02::fb": {true, true}, "255.255.255.255": {true, true},
	} {
		a := netip.MustParseAddr(text)
		device := uint32(0)
		if a.IsMulticast() && a.Is6() {
			device = d1 // bind requires one
		}
		binds, err := bindable(n, a, device)
		if err != nil || binds != want.binds {
			t.Errorf("%s: the kernel binds to it: %t, %v", a, binds, err)
		}
		if held := s.Holds(a, 0); held != want.held {
			t.Errorf("%s is held to be an own address: %t", a, held)
		}
		if a.Is4() && s.Holds(netip.AddrFrom16(a.As16()), 0) != want.held {
			t.Errorf("%s differs in its mapped form", a)
		}
	}
	for text, devices := range map[string][2]bool{"fe80::11": {true, false}, "fe80::12": {false, true}, "fe80::13": {false, false}} {
		a := netip.MustParseAddr(text)
		for i, d := range []uint32{d1, d2} {
			if binds, err := bindable(n, a, d); err != nil || binds != devices[i] || s.Holds(a, d) != devices[i] {
				t.Errorf("%s on device %d: bound %t, %v, held %t", a, d, binds, err, s.Holds(a, d))
			}
		}
		if s.Holds(a, 0) != (devices[0] || devices[1]) {
			t.Errorf("%s on any device: %t", a, s.Holds(a, 0))
		}
	}
}

// An address is gone when its interface is, or when somebody removes it; asking leaves
// the namespace as it was.
func TestAddressesLeave(t *testing.T) {
	socklab.LeakCheck(t)
	n := socklab.NewNamespace(t, "leaving")
	vip, dhcp := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("198.51.100.9")
	ip(t, n, "link add d1 type veth peer name d2", "link set d1 up", "link set d2 up", "addr add 192.0.2.9/32 dev d1", "addr add 198.51.100.9/24 dev d2")
	check := func(what string, first, second bool) {
		t.Helper()
		if s := setIn(t, n); s.Holds(vip, 0) != first || s.Holds(dhcp, 0) != second {
			t.Errorf("%s: %t %t", what, s.Holds(vip, 0), s.Holds(dhcp, 0))
		}
	}
	check("at first", true, true)
	ip(t, n, "addr del 192.0.2.9/32 dev d1")
	check("without one", false, true)
	ip(t, n, "link del d2")
	check("without the other's device", false, false)
	ip(t, n, "route add local 192.0.2.0/24 dev lo table 7")
	check("within a local route of any table", true, false)
}

// A device in a bridge (or VRF) and the bridge itself have each other's link-local
// addresses: sockets are bound to either.
func TestMasters(t *testing.T) {
	n := socklab.NewNamespace(t, "masters")
	ip(t, n, "link add d1 type veth peer name d2", "link add name b0 type bridge", "link set d1 master b0",
		"link set d1 up", "link set d2 up", "link set b0 up", "addr add fe80::77/64 dev d1 nodad")
	s, a := setIn(t, n), netip.MustParseAddr("fe80::77")
	for name, want := range map[string]bool{"b0": true, "d1": true, "d2": false} {
		if got := s.Holds(a, index(t, n, name)); got != want {
			t.Errorf("%s on %s: %t", a, name, got)
		}
	}
}

// A router's many routes are not all read to find the few local ones.
func TestManyRoutes(t *testing.T) {
	n := socklab.NewNamespace(t, "router")
	commands := []string{"link add d1 type veth peer name d2", "link set d1 up", "link set d2 up", "addr add 192.0.2.1/24 dev d1"}
	for i := range 2000 {
		commands = append(commands, "route add "+netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}).String()+"/24 dev d1")
	}
	ip(t, n, commands...)
	s := setIn(t, n)
	if !s.Holds(netip.MustParseAddr("192.0.2.1"), 0) || s.Holds(netip.MustParseAddr("10.0.7.1"), 0) || len(s.ranges) > 10 {
		t.Errorf("%d ranges", len(s.ranges))
	}
}

// An older kernel ignores the filter and shows all routes; the rest are left out.
func TestWithoutStrictChecks(t *testing.T) {
	n := socklab.NewNamespace(t, "loose")
	ip(t, n, "link add d1 type veth peer name d2", "link set d1 up", "link set d2 up", "addr add 192.0.2.1/24 dev d1", "route add 10.0.0.0/8 dev d1", "route add local 203.0.113.0/24 dev lo")
	var s Set
	err := n.Do(func() error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer unix.Close(c.fd)
		if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 0); err != nil {
			return err
		}
		return c.dump(request(unix.RTM_GETROUTE, unix.AF_INET, unix.SizeofRtMsg), s.route)
	})
	if err != nil || !s.Holds(netip.MustParseAddr("203.0.113.5"), 0) || !s.Holds(netip.MustParseAddr("192.0.2.1"), 0) || s.Holds(netip.MustParseAddr("10.1.2.3"), 0) {
		t.Errorf("%v, %+v", err, s)
	}
}
