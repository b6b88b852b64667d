package socklab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Family says which addresses a socket has. It names subtests.
type Family string

// The families. A Mapped socket is an IPv6 socket that speaks IPv4.
const (
	IPv4   Family = "v4"
	IPv6   Family = "v6"
	Mapped Family = "mapped"
)

// Families lists all families.
func Families() []Family { return []Family{IPv4, IPv6, Mapped} }

// Local is the address of the tests' namespace on the link to the peer.
func (f Family) Local() netip.Addr {
	if f == IPv6 {
		return netip.MustParseAddr("fd00:9::1")
	}
	return netip.MustParseAddr("10.9.0.1")
}

// Remote is the address of the peer.
func (f Family) Remote() netip.Addr { return f.Local().Next() }

// domain is the address family of the socket.
func (f Family) domain() int {
	if f == IPv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// other is the family of the socket at the other end.
func (f Family) other() Family {
	if f == Mapped {
		return IPv4
	}
	return f
}

// sockaddr turns an address into the form that the socket takes.
func (f Family) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if f == IPv4 {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// addrPort is the reverse; mapped addresses come out as IPv4.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// linkUp brings up an interface in the calling thread's namespace.
func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("flags of %s: %w", name, err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// linkPeer connects the namespaces of the tests and of the peer. Neighbours are
// permanent, so the first packet need not wait for their discovery.
func linkPeer() error {
	const here, there = "02:00:00:00:09:01", "02:00:00:00:09:02"
	for _, n := range []*Namespace{home, peer} {
		err := n.Do(func() error {
			// Link-local addresses must be usable at once.
			return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
		})
		if err != nil {
			return fmt.Errorf("no IPv6: %w", err)
		}
	}
	if err := iproute("link add lab0 address " + here + " type veth peer name peer0 address " + there + " netns " + peerName); err != nil {
		return err
	}
	if err := iproute(furnishLink("lab0", "1", "2", there)); err != nil {
		return err
	}
	return iproute(furnishLink("peer0", "2", "1", here), "-n", peerName)
}

// furnishLink returns the commands that give an interface its addresses, which end in
// own, and its neighbour, whose addresses end in other.
func furnishLink(dev, own, other, otherMAC string) string {
	var b strings.Builder
	for _, prefix := range []string{"10.9.0.%s/24", "fd00:9::%s/64", "fe80::9:%s/64"} {
		fmt.Fprintf(&b, "addr add "+prefix+" dev %s nodad\n", own, dev)
	}
	fmt.Fprintf(&b, "link set %s up\n", dev)
	for _, addr := range []string{"10.9.0.", "fd00:9::", "fe80::9:"} {
		fmt.Fprintf(&b, "neigh replace %s%s lladdr %s dev %s nud permanent\n", addr, other, otherMAC, dev)
	}
	return b.String()
}

// iproute runs a batch of ip commands.
func iproute(batch string, args ...string) error {
	cmd := exec.Command("ip", append(args, "-batch", "-")...)
	cmd.Stdin = strings.NewReader(batch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
