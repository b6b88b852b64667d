package lang

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
	// First is where its first entry stands in the file that it was read from, else nil.
	First *Place

	ports *[1024]uint64 // the ranges, if all lie within 0..65535
	index buckets       // of the ranges
	addrs addrs
	names map[string]struct{}
}

// Range is a range of numbers with both ends.
type Range = span[float64]

// SetKind is what the elements of a set are, as errors name it.
type SetKind string

// The kinds of sets.
const (
	KindEmpty  SetKind = "nothing"
	KindNumber SetKind = "numbers"
	KindAddr   SetKind = "addresses"
	KindName   SetKind = "strings"
)

// Kind returns what the elements are.
func (s *Set) Kind() SetKind {
	switch {
	case len(s.Ranges) > 0:
		return KindNumber
	case !s.addrs.empty():
		return KindAddr
	case len(s.Names) > 0:
		return KindName
	}
	return KindEmpty
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

// Equal reports whether two sets hold the same, names in the same order.
func (s *Set) Equal(o *Set) bool {
	return s == o || slices.Equal(s.Ranges, o.Ranges) && slices.Equal(s.Names, o.Names) &&
		slices.Equal(s.addrs.ipv4, o.addrs.ipv4) && slices.Equal(s.addrs.ipv6, o.addrs.ipv6)
}

// onlyIPv6 reports whether it has all addresses of IPv6 and none of IPv4.
func (s *Set) onlyIPv6() bool {
	all := span[u128]{High: u128{^uint64(0), ^uint64(0)}}
	return len(s.addrs.ipv4) == 0 && len(s.addrs.ipv6) == 1 && s.addrs.ipv6[0] == all
}

// prefixes returns the set as prefixes; nil if there are more than so many.
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
	return (&SetBuilder{ranges: slices.Clone(ranges), names: names}).Set()
}

// With returns the union with another set: one of the two, if it has all of the other. It
// is nil if they do not go together.
func (s *Set) With(more *Set) *Set {
	switch {
	case s == more || more.Kind() == KindEmpty:
		return s
	case s.Kind() == KindEmpty:
		return more
	case s.Kind() != more.Kind():
		return nil
	}
	switch s.Kind() {
	case KindName:
		return s.withNames(more)
	case KindNumber:
		if orderNumbers.covers(s.Ranges, more.Ranges) {
			return s
		}
		return (&SetBuilder{ranges: slices.Clone(orderNumbers.join(s.Ranges, more.Ranges))}).Set()
	case KindAddr, KindEmpty:
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
	for low < high { // the first that begins after it
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

// ParsePorts reads the value of --port: a port, a range, or the name of a set in sets.
func ParsePorts(text string, sets map[string]*Set) (*Set, error) {
	if s, ok := sets[text]; ok {
		if s.Kind() != KindNumber {
			return nil, fmt.Errorf("set %q holds %s, not ports", text, s.Kind())
		}
		return s, nil
	}
	r, ok, err := parseRange(text)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%q is not a port, a range (21115-21119) or a set of ports%s", text, Suggest(text, sortedKeys(sets)))
	}
	if r.High > 65535 {
		return nil, fmt.Errorf("port %s is out of range (0..65535)", text)
	}
	return newSet([]Range{r}, nil), nil
}

// HasPort reports whether the set holds the port.
func (s *Set) HasPort(port uint16) bool { return s.hasNumber(float64(port)) }

// IsPorts reports whether the set can stand for ports.
func (s *Set) IsPorts() bool { return s.ports != nil }
