package lang

import (
	"net/netip"
	"slices"

	"sockwarden/collectors"
)

// box is a set of sockets, by what every record shows: what the kernel can be asked for,
// and what finds the rules that can match. Nil ports and peers mean all of them.
type box struct {
	states    collectors.StateMask
	protocols collectors.ProtocolSet
	families  families // what connections speak
	local     []collectors.PortRange
	remote    []collectors.PortRange
	peers     []netip.Prefix
	why       string // of an empty box: why nothing is in it, "" for several reasons
}

// families is a set of the values of the field family.
type families uint8

const (
	speaksIPv4 families = 1 << iota
	speaksIPv6
	speaksAny = speaksIPv4 | speaksIPv6
)

var anyProtocol = collectors.ProtocolsIn(collectors.Protocols()...)

// maxPeers bounds the prefixes of one box; a longer list is not worth asking for.
const maxPeers = 32

var (
	everything = box{states: collectors.AllStates, protocols: anyProtocol, families: speaksAny}
	nothing    = box{}
)

func (b box) empty() bool { return b.states == 0 || b.protocols == 0 || b.families == 0 }

func (b box) meet(o box) box {
	switch {
	case b.empty():
		return b
	case o.empty():
		return o
	}
	m := box{
		states: b.states & o.states, protocols: b.protocols & o.protocols, families: b.families & o.families,
		// Both must hold, so either list will do.
		peers: shorterPeers(b.peers, o.peers),
	}
	var some1, some2 bool
	m.local, some1 = meetPorts(b.local, o.local)
	m.remote, some2 = meetPorts(b.remote, o.remote)
	switch {
	case m.states == 0:
		return box{why: noState}
	case m.protocols == 0:
		return box{why: noProtocol}
	case m.families == 0:
		return box{why: noFamily}
	case !some1:
		return box{why: noPort(collectors.FieldPort)}
	case !some2:
		return box{why: noPort(collectors.FieldRemotePort)}
	}
	return m
}

func (b box) join(o box) box {
	switch {
	case b.empty() && o.empty() && b.why != o.why:
		return nothing
	case b.empty():
		return o
	case o.empty():
		return b
	}
	return box{
		states: b.states | o.states, protocols: b.protocols | o.protocols, families: b.families | o.families,
		local: joinPorts(b.local, o.local), remote: joinPorts(b.remote, o.remote), peers: joinPeers(b.peers, o.peers),
	}
}

func shorterPeers(a, b []netip.Prefix) []netip.Prefix {
	if a == nil || b != nil && len(b) < len(a) {
		return b
	}
	return a
}

func joinPeers(a, b []netip.Prefix) []netip.Prefix {
	if a == nil || b == nil || len(a)+len(b) > maxPeers {
		return nil
	}
	return slices.Concat(a, b)
}

// meetPorts returns what is in both lists; false if nothing is.
func meetPorts(a, b []collectors.PortRange) ([]collectors.PortRange, bool) {
	switch {
	case a == nil:
		return b, true
	case b == nil:
		return a, true
	}
	var both []collectors.PortRange
	for i, k := 0, 0; i < len(a) && k < len(b); {
		if low, high := max(a[i].Low, b[k].Low), min(a[i].High, b[k].High); low <= high {
			both = append(both, collectors.PortRange{Low: low, High: high})
		}
		if a[i].High < b[k].High {
			i++
		} else {
			k++
		}
	}
	return both, len(both) > 0
}

func joinPorts(a, b []collectors.PortRange) []collectors.PortRange {
	if a == nil || b == nil {
		return nil
	}
	return collectors.MergePorts(slices.Concat(a, b))
}

// otherPorts returns the ports that are not in a sorted list; false if there are
// none.
func otherPorts(in []collectors.PortRange) ([]collectors.PortRange, bool) {
	var out []collectors.PortRange
	next := 0
	for _, r := range in {
		if int(r.Low) > next {
			out = append(out, collectors.PortRange{Low: uint16(next), High: r.Low - 1})
		}
		next = int(r.High) + 1
	}
	if next <= 65535 {
		out = append(out, collectors.PortRange{Low: uint16(next), High: 65535})
	}
	return out, len(out) > 0
}

// clause is the box as a part of a query.
func (b box) clause() collectors.Clause {
	c := collectors.Clause{States: b.states, Local: b.local, Remote: b.remote, Peers: b.peers, Protocols: b.protocols.All()}
	switch b.families {
	case speaksIPv4:
		c.Family = collectors.IPv4
	case speaksIPv6:
		c.Family = collectors.IPv6
	default:
	}
	return c
}

// bounds says where a condition may be true and where it may be false; both
// are too wide rather than too narrow.
type bounds struct{ yes, no box }

var unbounded = bounds{everything, everything}

func (b bounds) not() bounds         { return bounds{b.no, b.yes} }
func (b bounds) and(o bounds) bounds { return bounds{b.yes.meet(o.yes), b.no.join(o.no)} }
func (b bounds) or(o bounds) bounds  { return bounds{b.yes.join(o.yes), b.no.meet(o.no)} }

// within bounds a condition that is true in yes and false outside of it; why says what
// it means if one of them is empty.
func within(why string, restrict func(*box) bool, exclude func(*box) bool) bounds {
	b := unbounded
	if !restrict(&b.yes) || b.yes.empty() {
		b.yes = box{why: why}
	}
	if !exclude(&b.no) || b.no.empty() {
		b.no = box{why: why}
	}
	return b
}

func statesBounds(m collectors.StateMask) bounds {
	return within(noState,
		func(b *box) bool { b.states = m & collectors.AllStates; return true },
		func(b *box) bool { b.states = collectors.AllStates &^ m; return true })
}

func protocolBounds(p collectors.ProtocolSet) bounds {
	return within(noProtocol,
		func(b *box) bool { b.protocols = p; return true },
		func(b *box) bool { b.protocols = anyProtocol &^ p; return true })
}

func familyBounds(f families) bounds {
	return within(noFamily,
		func(b *box) bool { b.families = f; return true },
		func(b *box) bool { b.families = speaksAny &^ f; return true })
}

// portBounds bounds a question about the local or the remote port that is true
// for the ports of the ranges.
func portBounds(f collectors.Field, ranges []Range) bounds {
	ports := make([]collectors.PortRange, 0, len(ranges))
	for _, r := range ranges {
		if r.High >= 0 && r.Low <= 65535 {
			ports = append(ports, collectors.PortRange{Low: uint16(max(r.Low, 0)), High: uint16(min(r.High, 65535))})
		}
	}
	ports = collectors.MergePorts(ports)
	side := func(b *box) *[]collectors.PortRange {
		if f == collectors.FieldRemotePort {
			return &b.remote
		}
		return &b.local
	}
	return within(noPort(f),
		func(b *box) bool { *side(b) = ports; return len(ports) > 0 },
		func(b *box) (some bool) { *side(b), some = otherPorts(ports); return some })
}

// compared returns the ports for which "port op n" is true.
func compared(op string, n float64) []Range {
	switch op {
	case "==":
		return []Range{{n, n}}
	case "!=":
		return []Range{{0, n - 1}, {n + 1, 65535}}
	case "<":
		return []Range{{0, n - 1}}
	case "<=":
		return []Range{{0, n}}
	case ">":
		return []Range{{n + 1, 65535}}
	}
	return []Range{{n, 65535}}
}

// peerBounds bounds a question that is true for peers within the prefixes, nil for
// too many.
func peerBounds(prefixes []netip.Prefix) bounds {
	b := unbounded
	b.yes.peers = prefixes
	return b
}
