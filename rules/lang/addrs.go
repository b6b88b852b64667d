package lang

import (
	"encoding/binary"
	"net/netip"

	"sockwarden/collectors"
)

// addrs is a set of addresses: 8 bytes for a span of IPv4, 32 for one of IPv6, and an
// index to find them.
type addrs struct {
	ipv4           []span[uint32]
	ipv6           []span[u128]
	index4, index6 buckets
	blocks         blocks // of IPv6, instead of the buckets
}

func newAddrs(ipv4 []span[uint32], ipv6 []span[u128]) addrs {
	s := addrs{
		ipv4: ipv4, index4: newBuckets(len(ipv4), func(i int) uint64 { return uint64(ipv4[i].Low) }),
		ipv6: ipv6, blocks: newBlocks(ipv6),
	}
	if s.blocks.sizes == nil {
		s.index6 = newBuckets(len(ipv6), func(i int) uint64 { return ipv6[i].Low.hi })
	}
	return s
}

func (s *addrs) empty() bool { return len(s.ipv4)+len(s.ipv6) == 0 }

func (s *addrs) has(a collectors.Addr) bool {
	if !a.IsIPv4() {
		return s.has6(u128{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])})
	}
	n := binary.BigEndian.Uint32(a[12:])
	low, high := s.index4.around(uint64(n))
	for low < high { // the first that begins after it
		if m := (low + high) >> 1; s.ipv4[m].Low <= n {
			low = m + 1
		} else {
			high = m
		}
	}
	return low > 0 && n <= s.ipv4[low-1].High
}

func (s *addrs) has6(n u128) bool {
	if s.blocks.sizes != nil {
		return s.blocks.has(n, s.ipv6)
	}
	low, high := s.index6.around(n.hi)
	for low < high {
		if m := (low + high) >> 1; !n.less(s.ipv6[m].Low) {
			low = m + 1
		} else {
			high = m
		}
	}
	return low > 0 && !s.ipv6[low-1].High.less(n)
}

// prefixes calls yield for each prefix of the set, until yield returns false.
func (s *addrs) prefixes(yield func(netip.Prefix) bool) {
	for _, r := range s.ipv4 {
		if !prefixesOf(u128{0, uint64(r.Low)}, u128{0, uint64(r.High)}, 32, yield) {
			return
		}
	}
	for _, r := range s.ipv6 {
		if !prefixesOf(r.Low, r.High, 128, yield) {
			return
		}
	}
}

// prefixesOf does the same for one span of addresses of so many bits.
func prefixesOf(low, high u128, width int, yield func(netip.Prefix) bool) bool {
	return blocksOf(span[u128]{low, high}, width, func(low u128, size int) bool {
		return yield(netip.PrefixFrom(addrOf(low, width), width-size))
	})
}

// blocksOf calls yield for each block of 1<<size addresses of a span, until yield returns
// false.
func blocksOf(s span[u128], width int, yield func(low u128, size int) bool) bool {
	low, high := s.Low, s.High
	for {
		size := min(low.zeros(), width)
		for high.less(low.or(size)) {
			size--
		}
		if !yield(low, size) {
			return false
		}
		if low = low.or(size); low == high {
			return true
		}
		low = low.next()
	}
}

func addrOf(n u128, width int) netip.Addr {
	if width == 32 {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n.lo))))
	}
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n.hi), n.lo)))
}

func number4(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

func number6(a netip.Addr) u128 {
	b := a.As16()
	return u128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// texts writes each span as a rules file does: as a prefix if it is one.
func (s *addrs) texts() []string {
	var out []string
	text := func(low, high u128, width int) {
		whole := netip.Prefix{}
		if !prefixesOf(low, high, width, func(p netip.Prefix) bool {
			first := !whole.IsValid()
			whole = p
			return first
		}) {
			out = append(out, addrOf(low, width).String()+"-"+addrOf(high, width).String())
			return
		}
		out = append(out, whole.String())
	}
	for _, r := range s.ipv4 {
		text(u128{0, uint64(r.Low)}, u128{0, uint64(r.High)}, 32)
	}
	for _, r := range s.ipv6 {
		text(r.Low, r.High, 128)
	}
	return out
}
