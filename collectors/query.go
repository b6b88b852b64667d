package collectors

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Query says which records the caller wants. A source may return more, never fewer.
type Query struct {
	Protocols []Protocol
	States    StateMask
	// Fields are the wanted fields. A source always shows what costs it nothing; it may
	// leave out what costs more (a netlink extension, another file) and is not wanted.
	Fields FieldSet
	// Clauses narrow the answer to sockets for which at least one of them holds. No
	// clauses, no narrowing.
	Clauses []Clause
	// Plain asks a source to answer in its simplest way, which shows whether a cleverer
	// way is at fault.
	Plain bool
}

// Clause describes a wanted socket. Empty and zero members ask for nothing.
type Clause struct {
	Protocols []Protocol
	States    StateMask
	Family    Family // of the traffic: IPv4 includes IPv4 traffic in IPv6 sockets
	Local     []PortRange
	Remote    []PortRange
	Peers     []netip.Prefix // the remote address is in one of them
}

// PortRange is a range of ports that includes both ends.
type PortRange struct{ Low, High uint16 }

// MergePorts returns the same ports as sorted, disjoint ranges. It reorders its argument.
func MergePorts(in []PortRange) []PortRange {
	slices.SortFunc(in, func(a, b PortRange) int { return cmp.Compare(a.Low, b.Low) })
	out := in[:0]
	for _, r := range in {
		if n := len(out); n > 0 && int(r.Low) <= int(out[n-1].High)+1 {
			out[n-1].High = max(out[n-1].High, r.High)
			continue
		}
		out = append(out, r)
	}
	return out
}

func hasPort(ranges []PortRange, p uint16) bool {
	return len(ranges) == 0 || slices.ContainsFunc(ranges, func(r PortRange) bool { return r.Low <= p && p <= r.High })
}

// Covers reports whether a complete answer to q would have included a socket with that
// key.
func (q *Query) Covers(k *Key) bool {
	if !slices.Contains(q.Protocols, k.Protocol) || !q.States.Has(k.State) {
		return false
	}
	return len(q.Clauses) == 0 || slices.ContainsFunc(q.Clauses, func(c Clause) bool { return c.covers(k) })
}

func (c *Clause) covers(k *Key) bool {
	switch {
	case len(c.Protocols) > 0 && !slices.Contains(c.Protocols, k.Protocol),
		c.States != 0 && !c.States.Has(k.State),
		c.Family != 0 && c.Family != k.family(),
		!hasPort(c.Local, k.LocalPort), !hasPort(c.Remote, k.RemotePort):
		return false
	}
	peer := k.Remote.Netip()
	return len(c.Peers) == 0 || slices.ContainsFunc(c.Peers, func(p netip.Prefix) bool { return PlainPrefix(p).Contains(peer) })
}

// For returns the wanted states of a protocol and the clauses that narrow them, if any.
func (q *Query) For(p Protocol) (StateMask, []Clause) {
	if len(q.Clauses) == 0 {
		return q.States, nil
	}
	var states StateMask
	var clauses []Clause
	for i := range q.Clauses {
		c := &q.Clauses[i]
		if len(c.Protocols) > 0 && !slices.Contains(c.Protocols, p) {
			continue
		}
		if c.States == 0 {
			states |= q.States
		}
		states |= c.States & q.States
		clauses = append(clauses, *c)
	}
	return states, clauses
}

// Split divides q by protocol into at most n queries for parallel use; together they ask
// for the same as q.
func Split(q Query, n int) []Query {
	n = min(n, len(q.Protocols))
	if n < 2 {
		return []Query{q}
	}
	parts := make([]Query, n)
	for i := range parts {
		parts[i] = q
		parts[i].Protocols = nil
	}
	for i, p := range q.Protocols {
		parts[i%n].Protocols = append(parts[i%n].Protocols, p)
	}
	return parts
}

// String says what the clause asks for beyond states and protocols, "" for nothing.
func (c *Clause) String() string {
	var parts []string
	add := func(what string, n int, one func(i int) string) {
		values := make([]string, n)
		for i := range values {
			values[i] = one(i)
		}
		if n > 0 {
			parts = append(parts, what+" "+strings.Join(values, ","))
		}
	}
	add("port", len(c.Local), func(i int) string { return c.Local[i].String() })
	add("remote_port", len(c.Remote), func(i int) string { return c.Remote[i].String() })
	add("remote_addr", len(c.Peers), func(i int) string { return c.Peers[i].String() })
	switch c.Family {
	case IPv4:
		parts = append(parts, "ipv4")
	case IPv6:
		parts = append(parts, "ipv6")
	}
	return strings.Join(parts, " and ")
}

// String writes the range as a rules file does.
func (r PortRange) String() string {
	if r.Low == r.High {
		return strconv.Itoa(int(r.Low))
	}
	return fmt.Sprintf("%d..%d", r.Low, r.High)
}

// narrows reports whether the clause asks for more than states and protocols.
func (c *Clause) narrows() bool {
	return len(c.Local) > 0 || len(c.Remote) > 0 || len(c.Peers) > 0 || c.Family != 0
}

// SplitAt divides a query about one protocol in two at a remote port: the ports below it,
// and the rest. It does not divide a query for certain ports or peers.
func SplitAt(q Query, port uint16) []Query {
	if len(q.Protocols) != 1 || port == 0 || q.Plain {
		return []Query{q}
	}
	states, clauses := q.For(q.Protocols[0])
	if len(clauses) > 0 && !slices.ContainsFunc(clauses, func(c Clause) bool { return !c.narrows() }) {
		return []Query{q}
	}
	parts := []Query{q, q}
	for i, ports := range []PortRange{{0, port - 1}, {port, 65535}} {
		parts[i].States, parts[i].Clauses = states, []Clause{{Remote: []PortRange{ports}}}
	}
	return parts
}
