package rules

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sockwarden/collectors"
)

// Set is a constant list that a condition can ask with "in": numbers and
// ranges, addresses and prefixes, or names. An empty one is of every kind.
type Set struct {
	Ranges []Range // sorted, disjoint
	Names  []string

	ports *[1024]uint64 // the ranges, if all lie within 0..65535
	index buckets       // of the ranges
	addrs addrs
	names map[string]struct{}
	file  *list // that it was read from, nil for none
}

// Range is a range of numbers with both ends.
type Range = span[float64]

// setKind is what the elements of a set are.
type setKind string

const (
	kindEmpty  setKind = "nothing"
	kindNumber setKind = "numbers"
	kindAddr   setKind = "addresses"
	kindName   setKind = "strings"
)

func (s *Set) kind() setKind {
	switch {
	case len(s.Ranges) > 0:
		return kindNumber
	case !s.addrs.empty():
		return kindAddr
	case len(s.Names) > 0:
		return kindName
	}
	return kindEmpty
}

// String lists the elements as they are written in a rules file.
func (s *Set) String() string {
	var parts []string
	for _, r := range s.Ranges {
		text := strconv.FormatFloat(r.Low, 'f', -1, 64)
		if r.High != r.Low {
			text += ".." + strconv.FormatFloat(r.High, 'f', -1, 64)
		}
		parts = append(parts, text)
	}
	parts = append(parts, s.addrs.texts()...)
	for _, n := range s.Names {
		parts = append(parts, strconv.Quote(n))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// equal reports whether two sets hold the same, names in the same order.
func (s *Set) equal(o *Set) bool {
	return s == o || slices.Equal(s.Ranges, o.Ranges) && slices.Equal(s.addrs.ipv4, o.addrs.ipv4) && slices.Equal(s.addrs.ipv6, o.addrs.ipv6) && slices.Equal(s.Names, o.Names)
}

// onlyIPv6 reports whether it has all addresses of IPv6 and none of IPv4.
func (s *Set) onlyIPv6() bool {
	all := span[u128]{High: u128{^uint64(0), ^uint64(0)}}
	return len(s.addrs.ipv4) == 0 && len(s.addrs.ipv6) == 1 && s.addrs.ipv6[0] == all
}

// prefixes returns the set as prefixes; nil if that are more than so many.
func (s *Set) prefixes(most int) []netip.Prefix {
	out := []netip.Prefix{}
	s.addrs.prefixes(func(p netip.Prefix) bool { out = append(out, p); return len(out) <= most })
	if len(out) > most {
		return nil
	}
	return out
}

// newSet makes a set of ranges of numbers, or of names.
func newSet(ranges []Range, names []string) *Set {
	return (&setBuilder{ranges: slices.Clone(ranges), names: names}).set()
}

// with returns the set with what another has besides: one of the two, if it has all
// of the other. It is nil if they do not go together.
func (s *Set) with(more *Set) *Set {
	switch {
	case s == more || more.kind() == kindEmpty:
		return s
	case s.kind() == kindEmpty:
		return more
	case s.kind() != more.kind():
		return nil
	}
	switch s.kind() {
	case kindName:
		return s.withNames(more)
	case kindNumber:
		if orderNumbers.covers(s.Ranges, more.Ranges) {
			return s
		}
		return (&setBuilder{ranges: slices.Clone(orderNumbers.join(s.Ranges, more.Ranges))}).set()
	case kindAddr, kindEmpty:
	}
	four, six := order32.join(s.addrs.ipv4, more.addrs.ipv4), order128.join(s.addrs.ipv6, more.addrs.ipv6)
	for _, one := range []*Set{s, more} {
		if len(four) == len(one.addrs.ipv4) && len(six) == len(one.addrs.ipv6) && order32.covers(one.addrs.ipv4, four) && order128.covers(one.addrs.ipv6, six) {
			return one
		}
	}
	return &Set{addrs: newAddrs(four, six)}
}

func (s *Set) withNames(more *Set) *Set {
	lacks := func(a, b *Set) bool {
		return slices.ContainsFunc(b.Names, func(n string) bool { return !a.hasName(n) })
	}
	switch {
	case !lacks(s, more):
		return s
	case !lacks(more, s):
		return more
	}
	return newSet(nil, slices.Concat(s.Names, more.Names))
}

func portBits(ranges []Range) *[1024]uint64 {
	if len(ranges) == 0 || ranges[0].Low < 0 || ranges[len(ranges)-1].High > 65535 {
		return nil
	}
	bits := new([1024]uint64)
	for _, r := range ranges {
		for p := int(r.Low); p <= int(r.High); p++ {
			bits[p>>6] |= 1 << (p & 63)
		}
	}
	return bits
}

func (s *Set) hasNumber(n float64) bool {
	if s.ports != nil {
		p := uint32(n)
		return n >= 0 && n <= 65535 && n == float64(p) && s.ports[p>>6]&(1<<(p&63)) != 0
	}
	if n != math.Trunc(n) {
		return false
	}
	low, high := s.index.around(uint64(max(n, 0)))
	for low < high { // the first that begins behind it
		if m := (low + high) >> 1; s.Ranges[m].Low <= n {
			low = m + 1
		} else {
			high = m
		}
	}
	return low > 0 && n <= s.Ranges[low-1].High
}

func (s *Set) hasAddr(a collectors.Addr) bool { return s.addrs.has(a) }

func (s *Set) hasName(n string) bool {
	_, ok := s.names[n]
	return ok
}

// ParsePorts reads what --port takes: a port, a range, or the name of a set in
// sets.
func ParsePorts(text string, sets map[string]*Set) (*Set, error) {
	if s, ok := sets[text]; ok {
		if s.kind() != kindNumber {
			return nil, fmt.Errorf("set %q holds %s, not ports", text, s.kind())
		}
		return s, nil
	}
	r, ok, err := parseRange(text)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%q is no port, range (21115-21119) or set of ports%s", text, Suggest(text, sortedKeys(sets)))
	}
	if r.High > 65535 {
		return nil, fmt.Errorf("port %s is out of range (0..65535)", text)
	}
	return newSet([]Range{r}, nil), nil
}

// HasPort reports whether the set holds the port.
func (s *Set) HasPort(port uint16) bool { return s.hasNumber(float64(port)) }

// BuiltinSets returns the sets that every rules file can use without defining
// them: rustdesk, the TCP ports of a RustDesk server.
func BuiltinSets() map[string]*Set {
	return map[string]*Set{"rustdesk": newSet([]Range{{21115, 21119}}, nil)}
}

// IsPorts reports whether the set can stand for ports.
func (s *Set) IsPorts() bool { return s.ports != nil }
