package lang

import (
	"hash/maphash"
	"math/bits"
)

// table finds the entries of a list by a hash. For each entry it holds the place in the
// list, and in the spare bits some of the hash: for most missing entries one look into
// memory is enough, whatever the size of the list.
type table struct {
	slots []uint32 // 0 for none, otherwise the place+1 and above it a part of the hash
	width int      // bits of the place
}

// newTable makes a table for so many entries of a list of n.
func newTable(entries, n int) table {
	return table{slots: make([]uint32, entries+entries/3+1), width: bits.Len(uint(n))}
}

// slot returns where the search for a hash begins, and the tag above the place.
func (t *table) slot(hash uint64) (at int, tag uint32) {
	high, _ := bits.Mul64(hash, uint64(len(t.slots)))
	return int(high), uint32(hash) >> t.width << t.width
}

// add notes the place of an entry.
func (t *table) add(hash uint64, place int) {
	at, tag := t.slot(hash)
	for t.slots[at] != 0 {
		if at++; at == len(t.slots) {
			at = 0
		}
	}
	t.slots[at] = tag | uint32(place+1)
}

// next returns the next place, from a slot on, where an entry with the tag may stand, and
// the slot behind it; false if there is none.
func (t *table) next(at int, tag uint32) (place, behind int, ok bool) {
	for {
		s := t.slots[at]
		if at++; at == len(t.slots) {
			at = 0
		}
		if s == 0 {
			return 0, 0, false
		}
		if low := s & (1<<t.width - 1); s-low == tag {
			return int(low) - 1, at, true
		}
	}
}

// seed keeps whoever writes a list from choosing entries that meet in one slot.
var seed = func() u128 {
	s := maphash.MakeSeed()
	return u128{maphash.String(s, "high"), maphash.String(s, "low")}
}()

// hash128 mixes a 128-bit number and a small one.
func hash128(n u128, with int) uint64 {
	high, low := bits.Mul64(n.hi^seed.hi, n.lo^seed.lo^uint64(with)<<32)
	high, low = bits.Mul64(high^low^n.hi, 0x9e3779b97f4a7c15)
	return high ^ low
}
