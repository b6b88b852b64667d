package rules

import (
	"cmp"
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
	Ranges   []Range // sorted, disjoint
	Prefixes []netip.Prefix
	Names    []string

	ports *[1024]uint64 // the ranges, if all lie within 0..65535
	masks []prefixMask
	names map[string]struct{}
	// onlyIPv6 says that it has all addresses of IPv6 and none of IPv4.
	onlyIPv6 bool
}

// Range is a range of numbers with both ends.
type Range struct{ Low, High float64 }

type prefixMask struct {
	addr, mask collectors.Addr
	ipv4       bool // it is about IPv4 addresses only, otherwise about IPv6 only
}

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
	case len(s.Prefixes) > 0:
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
	for _, p := range s.Prefixes {
		parts = append(parts, p.String())
	}
	for _, n := range s.Names {
		parts = append(parts, strconv.Quote(n))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// equal reports whether two sets hold the same, in the same order.
func (s *Set) equal(o *Set) bool {
	return slices.Equal(s.Ranges, o.Ranges) && slices.Equal(s.Prefixes, o.Prefixes) && slices.Equal(s.Names, o.Names)
}

// newSet makes a set of elements of one kind.
func newSet(ranges []Range, prefixes []netip.Prefix, names []string) *Set {
	s := &Set{Ranges: mergeRanges(ranges), Prefixes: prefixes, Names: names}
	s.ports = portBits(s.Ranges)
	ipv4 := false
	for _, p := range prefixes {
		s.masks = append(s.masks, maskOf(p))
		ipv4 = ipv4 || p.Addr().Is4()
		s.onlyIPv6 = s.onlyIPv6 || p.Addr().Is6() && p.Bits() == 0
	}
	s.onlyIPv6 = s.onlyIPv6 && !ipv4
	if len(names) > 0 {
		s.names = make(map[string]struct{}, len(names))
		for _, n := range names {
			s.names[n] = struct{}{}
		}
	}
	return s
}

func mergeRanges(in []Range) []Range {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b Range) int { return cmp.Compare(a.Low, b.Low) })
	var out []Range
	for _, r := range in {
		if n := len(out); n > 0 && r.Low <= out[n-1].High+1 && r.Low == float64(int64(r.Low)) {
			out[n-1].High = max(out[n-1].High, r.High)
			continue
		}
		out = append(out, r)
	}
	return out
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

func maskOf(p netip.Prefix) prefixMask {
	p = collectors.PlainPrefix(p)
	m := prefixMask{addr: collectors.AddrFrom(p.Addr()), ipv4: p.Addr().Is4()}
	bits := p.Bits()
	if m.ipv4 {
		bits += collectors.MappedBits
	}
	for i := range m.mask {
		switch {
		case bits >= 8:
			m.mask[i] = 0xff
		case bits > 0:
			m.mask[i] = 0xff << (8 - bits)
		}
		bits -= 8
	}
	return m
}

func (s *Set) hasNumber(n float64) bool {
	if s.ports != nil {
		p := uint32(n)
		return n >= 0 && n <= 65535 && n == float64(p) && s.ports[p>>6]&(1<<(p&63)) != 0
	}
	if n != math.Trunc(n) {
		return false
	}
	i, _ := slices.BinarySearchFunc(s.Ranges, n, func(r Range, n float64) int { return cmp.Compare(r.High, n) })
	return i < len(s.Ranges) && s.Ranges[i].Low <= n
}

func (s *Set) hasAddr(a collectors.Addr) bool {
	ipv4 := a.IsIPv4()
	for i := range s.masks {
		m := &s.masks[i]
		match := m.ipv4 == ipv4
		for k := range a {
			if a[k]&m.mask[k] != m.addr[k] {
				match = false
				break
			}
		}
		if match {
			return true
		}
	}
	return false
}

func (s *Set) hasName(n string) bool {
	_, ok := s.names[n]
	return ok
}

// parseElement reads one element of a set as it is written in a rules file, in
// a set's file or on the command line: a number, a range (a..b, a-b, a:b), an
// address, a prefix, or a name. Numbers that are ranges must be ports.
func parseElement(text string) (Range, netip.Prefix, setKind, error) {
	if r, ok, err := parseRange(text); ok {
		return r, netip.Prefix{}, kindNumber, err
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return Range{}, collectors.PlainPrefix(p), kindAddr, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return Range{}, netip.Prefix{}, kindAddr, fmt.Errorf("address %q has a zone: match interface instead", text)
		}
		a = a.Unmap()
		return Range{}, netip.PrefixFrom(a, a.BitLen()), kindAddr, nil
	}
	if strings.Contains(text, "/") && strings.ContainsAny(text[:1], "0123456789:") {
		return Range{}, netip.Prefix{}, kindAddr, fmt.Errorf("%q is no CIDR prefix", text)
	}
	return Range{}, netip.Prefix{}, kindName, nil
}

// parseRange reads a number or a range of ports; ok says that it looks like one.
func parseRange(text string) (r Range, ok bool, err error) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return Range{float64(n), float64(n)}, true, nil
	}
	for _, sep := range []string{"..", "-", ":"} {
		low, high, found := strings.Cut(text, sep)
		if !found {
			continue
		}
		a, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 32)
		b, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		if a > b || b > 65535 {
			return Range{}, true, fmt.Errorf("%q is no range of ports: it goes from low to high, up to 65535", text)
		}
		return Range{float64(a), float64(b)}, true, nil
	}
	return Range{}, false, nil
}

// setBuilder collects elements and refuses to mix kinds.
type setBuilder struct {
	ranges   []Range
	prefixes []netip.Prefix
	names    []string
	kind     setKind
}

func (b *setBuilder) add(text string, asName bool) error {
	r, p, k, err := parseElement(text)
	if asName {
		k, err = kindName, nil
	}
	if err != nil {
		return err
	}
	if b.kind == "" {
		b.kind = k
	}
	if b.kind != k {
		return fmt.Errorf("%q is of another kind than the elements before it, which are %s", text, b.kind)
	}
	switch k {
	case kindNumber:
		b.ranges = append(b.ranges, r)
	case kindAddr:
		b.prefixes = append(b.prefixes, p)
	case kindName, kindEmpty:
		b.names = append(b.names, text)
	}
	return nil
}

func (b *setBuilder) set() *Set { return newSet(b.ranges, b.prefixes, b.names) }

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
	return newSet([]Range{r}, nil, nil), nil
}

// HasPort reports whether the set holds the port.
func (s *Set) HasPort(port uint16) bool { return s.hasNumber(float64(port)) }

// BuiltinSets returns the sets that every rules file can use without defining
// them: rustdesk, the TCP ports of a RustDesk server.
func BuiltinSets() map[string]*Set {
	return map[string]*Set{"rustdesk": newSet([]Range{{21115, 21119}}, nil, nil)}
}

// IsPorts reports whether the set can stand for ports.
func (s *Set) IsPorts() bool { return s.ports != nil }
