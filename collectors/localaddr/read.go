package localaddr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// attempts is how often to begin a dump that, as the kernel says, changed meanwhile.
const attempts = 8

// errChanging says that the addresses changed during every dump.
var errChanging = errors.New("addresses change faster than they can be read")

// Read returns the addresses of the namespace that the calling thread is in. It needs no
// privileges and leaves nothing open. Whoever decides because an address is missing must
// have seen the socket before the call: Read may miss an address that appears meanwhile.
func Read() (*Set, error) {
	for range attempts {
		s, err := read()
		if !errors.Is(err, errInterrupted) {
			return s, err
		}
	}
	return nil, errChanging
}

func read() (*Set, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	defer unix.Close(c.fd) //nolint:errcheck // nothing is lost
	s := &Set{masters: map[uint32]uint32{}}
	if err := c.dump(request(unix.RTM_GETLINK, unix.AF_UNSPEC, unix.SizeofIfInfomsg), s.link); err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		err := c.dump(request(unix.RTM_GETADDR, family, unix.SizeofIfAddrmsg), s.address)
		if err != nil && !absent(family, err) {
			return nil, fmt.Errorf("addresses: %w", err)
		}
		// Since Linux 4.20 the kernel can select these from perhaps a million routes.
		for _, kind := range []byte{unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST} {
			r := request(unix.RTM_GETROUTE, family, unix.SizeofRtMsg)
			r[unix.SizeofNlMsghdr+routeType] = kind
			err := c.dump(r, s.route)
			if err != nil && !absent(family, err) {
				return nil, fmt.Errorf("routes: %w", err)
			}
		}
	}
	return s, nil
}

// absent reports whether the kernel lacks a family.
func absent(family byte, err error) bool {
	return family == unix.AF_INET6 && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT))
}

// routeType is where struct rtmsg has rtm_type.
const routeType = 7

// link notes which device belongs to a bridge or VRF.
func (s *Set) link(typ uint16, body []byte) {
	if typ != unix.RTM_NEWLINK || len(body) < unix.SizeofIfInfomsg {
		return
	}
	index := ne.Uint32(body[4:])
	for typ, v := range attributes(body[unix.SizeofIfInfomsg:]) {
		if typ == unix.IFLA_MASTER && len(v) >= 4 {
			s.masters[index] = ne.Uint32(v)
		}
	}
}

// address notes an address of an interface. On a point-to-point link, IFA_ADDRESS is that
// of the other end.
func (s *Set) address(typ uint16, body []byte) {
	if typ != unix.RTM_NEWADDR || len(body) < unix.SizeofIfAddrmsg {
		return
	}
	var own, at netip.Addr
	for typ, v := range attributes(body[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_LOCAL:
			own, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS:
			at, _ = netip.AddrFromSlice(v)
		}
	}
	if !own.IsValid() {
		own = at
	}
	if own.IsValid() {
		s.add(netip.PrefixFrom(own, own.BitLen()), ne.Uint32(body[4:]))
	}
}

// route notes a local route, or that of a broadcast or anycast address: sockets can be bound
// to these, too.
func (s *Set) route(typ uint16, body []byte) {
	if typ != unix.RTM_NEWROUTE || len(body) < unix.SizeofRtMsg {
		return
	}
	switch body[routeType] {
	case unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST:
	default:
		return // an older kernel shows all of them
	}
	dst := netip.IPv4Unspecified() // a route without a destination is for every address
	if body[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	var device uint32
	for typ, v := range attributes(body[unix.SizeofRtMsg:]) {
		switch {
		case typ == unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(v); ok {
				dst = a
			}
		case typ == unix.RTA_OIF && len(v) >= 4:
			device = ne.Uint32(v)
		}
	}
	if p, err := dst.Prefix(int(body[1])); err == nil {
		s.add(p, device)
	}
}

var ne = binary.NativeEndian
