package lang

import (
	"cmp"
	"math/bits"
	"slices"
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
		out = slices.Clone(out) // what is kept for long takes no more memory than it needs
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
	both := make([]span[K], 0, n) // keep a million of them in memory no longer than needed
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
