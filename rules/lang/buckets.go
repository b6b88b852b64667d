package lang

import "math/bits"

// buckets say where in a sorted list a search begins and ends, by the leading bits of a
// number: as many as make about one bucket for each span. Where spans crowd, as those of
// one provider do, buckets have buckets of their own.
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

// around returns the part of the list that holds the first span beginning behind a
// number.
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
