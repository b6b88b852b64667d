package rules

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"sockwarden/collectors"
)

// span is a range with both ends.
type span[K any] struct{ Low, High K }

// u128 is an address of IPv6 as a number.
type u128 struct{ hi, lo uint64 }

func compare128(a, b u128) int {
	if c := cmp.Compare(a.hi, b.hi); c != 0 {
		return c
	}
	return cmp.Compare(a.lo, b.lo)
}

func (a u128) less(b u128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// next returns a+1; after the last number comes the first.
func (a u128) next() u128 {
	lo, carry := bits.Add64(a.lo, 1, 0)
	return u128{a.hi + carry, lo}
}

// or returns a with its last n bits set.
func (a u128) or(n int) u128 {
	if n > 64 {
		return u128{a.hi | (1<<(n-64) - 1), ^uint64(0)}
	}
	return u128{a.hi, a.lo | (1<<n - 1)}
}

// from returns a without its last n bits.
func (a u128) from(n int) u128 {
	if n >= 64 {
		return u128{a.hi >> (n - 64) << (n - 64), 0}
	}
	return u128{a.hi, a.lo >> n << n}
}

func (a u128) zeros() int {
	if a.lo != 0 {
		return bits.TrailingZeros64(a.lo)
	}
	return 64 + bits.TrailingZeros64(a.hi)
}

// order says how the ends of spans compare, and whether b comes directly after a.
type order[K any] struct {
	compare func(a, b K) int
	follows func(a, b K) bool
}

var (
	orderNumbers = order[float64]{cmp.Compare[float64], func(a, b float64) bool { return b == a+1 && b == float64(int64(b)) }}
	order32      = order[uint32]{cmp.Compare[uint32], func(a, b uint32) bool { return b != 0 && b == a+1 }}
	order128     = order[u128]{compare128, func(a, b u128) bool { return b != u128{} && b == a.next() }}
)

// merge sorts spans and joins those that overlap or touch. It uses its argument up.
func (o order[K]) merge(in []span[K]) []span[K] {
	byLow := func(a, b span[K]) int { return o.compare(a.Low, b.Low) }
	if !slices.IsSortedFunc(in, byLow) {
		slices.SortFunc(in, byLow)
	}
	out := in[:0]
	for _, s := range in {
		n := len(out)
		if n == 0 || o.compare(s.Low, out[n-1].High) > 0 && !o.follows(out[n-1].High, s.Low) {
			out = append(out, s)
		} else if o.compare(out[n-1].High, s.High) < 0 {
			out[n-1].High = s.High
		}
	}
	if cap(out)-len(out) > len(out)/8 {
		out = slices.Clone(out) // what is kept for long takes no more than it needs
	}
	return out
}

// covers reports whether merged spans hold all that others do.
func (o order[K]) covers(all, some []span[K]) bool {
	i := 0
	for _, s := range some {
		for i < len(all) && o.compare(all[i].High, s.Low) < 0 {
			i++
		}
		if i == len(all) || o.compare(all[i].Low, s.Low) > 0 || o.compare(s.High, all[i].High) > 0 {
			return false
		}
	}
	return true
}

// join returns what is in one of two lists of merged spans: one of them, if it has
// all of the other.
func (o order[K]) join(a, b []span[K]) []span[K] {
	switch {
	case o.covers(a, b):
		return a
	case o.covers(b, a):
		return b
	}
	n := 0
	o.joined(a, b, func(span[K]) { n++ })
	both := make([]span[K], 0, n) // a million of them are no longer in memory than they must
	o.joined(a, b, func(s span[K]) { both = append(both, s) })
	return both
}

// joined calls yield for the spans of two merged lists together.
func (o order[K]) joined(a, b []span[K], yield func(span[K])) {
	var last span[K]
	for begun := false; len(a)+len(b) > 0; begun = true {
		from := &a
		if len(a) == 0 || len(b) > 0 && o.compare(b[0].Low, a[0].Low) < 0 {
			from = &b
		}
		s := (*from)[0]
		*from = (*from)[1:]
		switch {
		case !begun:
			last = s
		case o.compare(s.Low, last.High) > 0 && !o.follows(last.High, s.Low):
			yield(last)
			last = s
		case o.compare(last.High, s.High) < 0:
			last.High = s.High
		}
	}
	yield(last)
}

// buckets say where in a sorted list a search has to begin and to end: by the leading
// bits of a number, of which as many are taken as make about one bucket for each span.
// Where spans crowd, as those of one provider, buckets have buckets of their own.
type buckets struct {
	start, end int // the part of the list that they divide
	base       uint64
	shift      int
	first      []uint32 // the first span of each bucket that begins in it or behind it
	inner      []*buckets
}

const (
	// indexedFrom is how many spans are worth buckets, which take 4 to 8 bytes a span.
	indexedFrom = 256
	// crowded is how many spans in one bucket are divided further.
	crowded = 32
	// maxBucketBits bounds the first buckets: more take memory, and fit into no cache.
	maxBucketBits = 18
)

func newBuckets(n int, low func(i int) uint64) buckets {
	b := buckets{end: n}
	if n >= indexedFrom {
		b.divide(low)
	}
	return b
}

func (b *buckets) divide(low func(i int) uint64) {
	b.base = low(b.start)
	width := low(b.end-1) - b.base
	b.shift = max(0, bits.Len64(width)-min(bits.Len(uint(b.end-b.start-1)), maxBucketBits))
	b.first = make([]uint32, width>>b.shift+2)
	next := 0
	for i := b.start; i < b.end; i++ {
		for at := int((low(i) - b.base) >> b.shift); next <= at; next++ {
			b.first[next] = uint32(i)
		}
	}
	b.first[next] = uint32(b.end)
	for at := range len(b.first) - 1 {
		in := buckets{start: int(b.first[at]), end: int(b.first[at+1])}
		if in.end-in.start <= crowded || low(in.start) == low(in.end-1) {
			continue
		}
		if b.inner == nil {
			b.inner = make([]*buckets, len(b.first)-1)
		}
		in.divide(low)
		b.inner[at] = &in
	}
}

// around returns between which places of the list the first span is that begins behind
// a number.
func (b *buckets) around(number uint64) (from, to int) {
	for b.first != nil {
		if number < b.base {
			return b.start, b.start
		}
		at := (number - b.base) >> b.shift
		if at >= uint64(len(b.first)-1) {
			return b.end, b.end
		}
		if b.inner == nil || b.inner[at] == nil {
			return int(b.first[at]), int(b.first[at+1])
		}
		b = b.inner[at]
	}
	return b.start, b.end
}

// addrs is a set of addresses: 8 bytes for a span of IPv4, 32 for one of IPv6, and what
// finds them.
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
	for low < high { // the first that begins behind it
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

// prefixes calls yield for the prefixes that together are the set, until it says no.
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

// prefixesOf does so for one span of addresses of so many bits.
func prefixesOf(low, high u128, width int, yield func(netip.Prefix) bool) bool {
	return blocksOf(span[u128]{low, high}, width, func(low u128, size int) bool {
		return yield(netip.PrefixFrom(addrOf(low, width), width-size))
	})
}

// blocksOf calls yield for the blocks of 1<<size addresses that together are a span,
// until it says no.
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
