package collectors

import (
	"fmt"
	"math/bits"
	"slices"
)

// setBits is the number of fields that a FieldSet has room for.
const setBits = 128

// FieldSet is a set of fields. The zero value is empty, and == compares.
type FieldSet struct{ low, high uint64 }

// Fields returns the set of the given fields.
func Fields(fields ...Field) FieldSet {
	var s FieldSet
	for _, f := range fields {
		if f < 64 {
			s.low |= 1 << f
		} else {
			s.high |= 1 << (f - 64)
		}
	}
	return s
}

// Has reports whether f is in the set.
func (s FieldSet) Has(f Field) bool {
	if f < 64 {
		return s.low>>f&1 != 0
	}
	return s.high>>(f-64)&1 != 0
}

// Empty reports whether the set is empty.
func (s FieldSet) Empty() bool { return s.low|s.high == 0 }

// Meets reports whether the two sets have a field in common.
func (s FieldSet) Meets(t FieldSet) bool { return s.low&t.low|s.high&t.high != 0 }

// Or returns the union of the sets.
func (s FieldSet) Or(t FieldSet) FieldSet { return FieldSet{s.low | t.low, s.high | t.high} }

// And returns the intersection of the sets.
func (s FieldSet) And(t FieldSet) FieldSet { return FieldSet{s.low & t.low, s.high & t.high} }

// AndNot returns the fields of s that are not in t.
func (s FieldSet) AndNot(t FieldSet) FieldSet { return FieldSet{s.low &^ t.low, s.high &^ t.high} }

// Add adds the fields of t to the set.
func (s *FieldSet) Add(t FieldSet) { s.low, s.high = s.low|t.low, s.high|t.high }

// Remove removes the fields of t from the set.
func (s *FieldSet) Remove(t FieldSet) { s.low, s.high = s.low&^t.low, s.high&^t.high }

// Each calls yield for every field of the set, in order.
func (s FieldSet) Each(yield func(Field) bool) {
	for !s.Empty() {
		f := Field(bits.TrailingZeros64(s.low))
		if s.low == 0 {
			f = Field(64 + bits.TrailingZeros64(s.high))
		}
		if !yield(f) {
			return
		}
		s.Remove(Fields(f))
	}
}

// String names the fields, for test messages.
func (s FieldSet) String() string { return fmt.Sprintf("%v", slices.Collect(s.Each)) }
