package lang

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sockwarden/collectors"
)

// Element is one element of a set.
type Element struct {
	Kind      SetKind
	number    Range
	low, high netip.Addr // both IPv4 and not mapped, or both IPv6
}

// ParseElement reads one element of a set as it is written in a rules file, in a set's
// file or on the command line: a number, a range (a..b, a-b, a:b), an address, a prefix,
// a range of addresses (a-b, a..b), or a name. Ranges of numbers must be ports. What
// looks like an address but is not one is an error.
func ParseElement(text string) (Element, error) {
	if r, ok, err := parseRange(text); ok {
		return Element{Kind: KindNumber, number: r}, err
	}
	name, addr := Element{Kind: KindName}, Element{Kind: KindAddr}
	if host, _, slash := strings.Cut(text, "/"); slash {
		if p, err := netip.ParsePrefix(text); err == nil {
			p = collectors.PlainPrefix(p)
			addr.low, addr.high = p.Addr(), lastOf(p)
			return addr, nil
		}
		if _, err := netip.ParseAddr(host); err == nil || strings.ContainsAny(text[:1], "0123456789:") {
			return addr, fmt.Errorf("%q is not a CIDR prefix, such as 10.0.0.0/8 or 2001:db8::/32", text)
		}
		return name, nil
	}
	if !strings.ContainsAny(text, ".:") {
		return name, nil
	}
	a, err := netip.ParseAddr(text)
	if err == nil {
		if a.Zone() != "" {
			return addr, fmt.Errorf("address %q has a zone: match interface instead", text)
		}
		addr.low, addr.high = a.Unmap(), a.Unmap()
		return addr, nil
	}
	for _, sep := range []string{"..", "-"} {
		low, high, found := strings.Cut(text, sep)
		if !found {
			continue
		}
		if a, errLow := netip.ParseAddr(strings.TrimSpace(low)); errLow == nil {
			return addr.between(text, a, strings.TrimSpace(high))
		}
	}
	if likeAddress(text) {
		_, why, _ := strings.Cut(err.Error(), "): ")
		return addr, fmt.Errorf("%q is not an address: %s", text, why)
	}
	return name, nil
}

// between is a range of addresses.
func (e Element) between(text string, low netip.Addr, to string) (Element, error) {
	high, err := netip.ParseAddr(to)
	low, high = low.Unmap(), high.Unmap()
	if err != nil || low.BitLen() != high.BitLen() || high.Less(low) || low.Zone()+high.Zone() != "" {
		return e, fmt.Errorf("%q is not a range of addresses: it goes from a low one to a high one of the same family, both written in full", text)
	}
	e.low, e.high = low, high
	return e, nil
}

// likeAddress reports whether a text could only be meant as an address: four numbers
// with dots, or hexadecimal ones with several colons.
func likeAddress(text string) bool {
	dots, colons := strings.Count(text, "."), strings.Count(text, ":")
	digits := "0123456789."
	if colons >= 2 {
		digits = "0123456789abcdefABCDEF.:"
	}
	return (dots == 3 || colons >= 2) && strings.Trim(text, digits) == ""
}

func lastOf(p netip.Prefix) netip.Addr {
	width := p.Addr().BitLen()
	if width == 32 {
		return addrOf(u128{0, uint64(number4(p.Addr()))}.or(32-p.Bits()), 32)
	}
	return addrOf(number6(p.Addr()).or(128-p.Bits()), 128)
}

// parseRange reads a number or a range of ports; ok says that it looks like one.
func parseRange(text string) (r Range, ok bool, err error) {
	if n, ok := parseNumber(text); ok {
		return Range{n, n}, true, nil
	}
	for _, sep := range []string{"..", "-", ":"} {
		low, high, found := strings.Cut(text, sep)
		if !found {
			continue
		}
		a, okLow := parseNumber(strings.TrimSpace(low))
		b, okHigh := parseNumber(strings.TrimSpace(high))
		if !okLow || !okHigh {
			continue
		}
		if a > b || b > 65535 {
			return Range{}, true, fmt.Errorf("%q is not a range of ports: it goes from low to high, up to 65535", text)
		}
		return Range{a, b}, true, nil
	}
	return Range{}, false, nil
}

// parseNumber reads a number of at most 32 bits. Most texts that it gets are not numbers,
// and that costs no error.
func parseNumber(text string) (float64, bool) {
	if text == "" || text[0] < '0' || text[0] > '9' || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return float64(n), err == nil
}

// SetBuilder collects elements and refuses to mix kinds.
type SetBuilder struct {
	ranges []Range
	ipv4   []span[uint32]
	ipv6   []span[u128]
	names  []string
	kind   SetKind
}

// Expect says of what kind the elements are before there are any.
func (b *SetBuilder) Expect(k SetKind) { b.kind = k }

// Reserve makes room for n elements like the first, if they are addresses: growing step
// by step would take several times the memory for a moment.
func (b *SetBuilder) Reserve(first *Element, n int) {
	switch {
	case first.Kind != KindAddr:
	case first.low.Is4():
		b.ipv4 = make([]span[uint32], 0, n)
	default:
		b.ipv6 = make([]span[u128], 0, n)
	}
}

// Add adds an element as it is written, or a name, whatever it looks like.
func (b *SetBuilder) Add(text string, asName bool) error {
	e, err := Element{Kind: KindName}, error(nil)
	if !asName {
		e, err = ParseElement(text)
	}
	if err != nil {
		return err
	}
	if b.kind == "" {
		b.kind = e.Kind
	}
	if b.kind != e.Kind {
		return fmt.Errorf("%q is of another kind than the elements before it, which are %s: put it into a list of its own", text, b.kind)
	}
	b.Put(text, &e)
	return nil
}

// Put adds an element that was already read, without checking its kind.
func (b *SetBuilder) Put(text string, e *Element) {
	switch {
	case e.Kind == KindNumber:
		b.ranges = append(b.ranges, e.number)
	case e.Kind == KindName:
		b.names = append(b.names, text)
	case e.low.Is4():
		b.ipv4 = append(b.ipv4, span[uint32]{number4(e.low), number4(e.high)})
	default:
		b.ipv6 = append(b.ipv6, span[u128]{number6(e.low), number6(e.high)})
	}
}

// TakeBack takes back the last element put, which was like e.
func (b *SetBuilder) TakeBack(e *Element) {
	switch {
	case e.Kind == KindNumber:
		b.ranges = b.ranges[:len(b.ranges)-1]
	case e.Kind == KindName:
		b.names = b.names[:len(b.names)-1]
	case e.low.Is4():
		b.ipv4 = b.ipv4[:len(b.ipv4)-1]
	default:
		b.ipv6 = b.ipv6[:len(b.ipv6)-1]
	}
}

// AddAll adds all that a set holds.
func (b *SetBuilder) AddAll(s *Set) {
	b.ranges, b.names = append(b.ranges, s.Ranges...), append(b.names, s.Names...)
	b.ipv4, b.ipv6 = append(b.ipv4, s.addrs.ipv4...), append(b.ipv6, s.addrs.ipv6...)
}

// Set makes the set and uses the builder up.
func (b *SetBuilder) Set() *Set {
	s := &Set{Ranges: orderNumbers.merge(b.ranges), addrs: newAddrs(order32.merge(b.ipv4), order128.merge(b.ipv6))}
	s.index = buckets{end: len(s.Ranges)}
	if s.ports = portBits(s.Ranges); s.ports == nil && len(s.Ranges) > 0 && s.Ranges[0].Low >= 0 {
		s.index = newBuckets(len(s.Ranges), func(i int) uint64 { return uint64(s.Ranges[i].Low) })
	}
	if len(b.names) == 0 {
		return s
	}
	s.names, s.Names = make(map[string]struct{}, len(b.names)), make([]string, 0, len(b.names))
	for _, n := range b.names {
		if _, twice := s.names[n]; !twice {
			s.names[n] = struct{}{}
			s.Names = append(s.Names, n)
		}
	}
	return s
}
