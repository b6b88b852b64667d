package localaddr

import (
	"net/netip"
	"slices"
)

// loopback is the index of lo in every namespace (LOOPBACK_IFINDEX). Older kernels show it
// as the device of each local route of IPv6.
const loopback = 1

// Set is the addresses that a namespace has: those of its interfaces, and those within a
// local route of any table (AnyIP is local without an address). The zero value is that of a
// namespace without any.
type Set struct {
	at      map[netip.Addr][]uint32 // devices by single addresses, 0 for any
	ranges  []span
	masters map[uint32]uint32 // by device, the bridge or VRF that has it
}

// span is a local route for more than one address.
type span struct {
	prefix netip.Prefix
	device uint32 // 0 for any
}

func (s *Set) add(p netip.Prefix, device uint32) {
	if !p.IsSingleIP() {
		s.ranges = append(s.ranges, span{p, device})
		return
	}
	if s.at == nil {
		s.at = map[netip.Addr][]uint32{}
	}
	if a := p.Addr(); !slices.Contains(s.at[a], device) {
		s.at[a] = append(s.at[a], device)
	}
}

// Holds reports whether an address is one of the namespace's own. The wildcard, multicast
// and broadcast addresses always are. A link-local address of IPv6 belongs to a device:
// device is the socket's, 0 if it is unknown or the socket is bound to none.
func (s *Set) Holds(a netip.Addr, device uint32) bool {
	a = a.Unmap()
	if a.IsUnspecified() || a.IsMulticast() || a == broadcast {
		return true
	}
	scoped := a.Is6() && a.IsLinkLocalUnicast() && device != 0
	fits := func(d uint32) bool {
		return !scoped || d == 0 || d == loopback || d == device || s.masters[d] == device || s.masters[device] == d
	}
	return slices.ContainsFunc(s.at[a], fits) ||
		slices.ContainsFunc(s.ranges, func(r span) bool { return r.prefix.Contains(a) && fits(r.device) })
}

// broadcast is the address of everybody on the link (INADDR_BROADCAST).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
