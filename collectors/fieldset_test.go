package collectors

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// everyBit is the largest set: it has more fields than exist.
var everyBit = FieldSet{math.MaxUint64, math.MaxUint64}

func TestFieldSets(t *testing.T) {
	s := Fields(FieldState, FieldDirection, FieldProtocol, FieldState)
	if got := slices.Collect(s.Each); !slices.Equal(got, []Field{FieldProtocol, FieldState, FieldDirection}) {
		t.Errorf("each: %v", got)
	}
	for f := range s.Each {
		if f == FieldState {
			break
		}
	}
	for f := range fieldCount {
		if s.Has(f) != (f == FieldState || f == FieldDirection || f == FieldProtocol) {
			t.Errorf("%s is in the set: %t", f, s.Has(f))
		}
	}
	if s.String() != "[protocol state direction]" {
		t.Errorf("it is called %s", s)
	}
	if Fields() != (FieldSet{}) || !Fields().Empty() || Fields().Has(0) {
		t.Error("the empty set has something")
	}
}

// A set behaves like a map of its fields, for every one of its bits.
func TestFieldSetIsASet(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		a, b := randomSet(random), randomSet(random)
		sa, sb := setOf(a), setOf(b)
		added, removed := sa, sa
		added.Add(sb)
		removed.Remove(sb)
		meets := false
		for f := range Field(setBits) {
			meets = meets || a[f] && b[f]
			for name, got := range map[string][2]bool{
				"has": {sa.Has(f), a[f]}, "or": {sa.Or(sb).Has(f), a[f] || b[f]}, "and": {sa.And(sb).Has(f), a[f] && b[f]},
				"and not": {sa.AndNot(sb).Has(f), a[f] && !b[f]}, "add": {added.Has(f), a[f] || b[f]}, "remove": {removed.Has(f), a[f] && !b[f]},
			} {
				if got[0] != got[1] {
					t.Fatalf("%s, field %d of %v and %v: %t", name, f, a, b, got[0])
				}
			}
		}
		if sa.Meets(sb) != meets || sa.Empty() != (len(a) == 0) || (sa == sb) != (sa.AndNot(sb).Empty() && sb.AndNot(sa).Empty()) {
			t.Fatalf("%v and %v: meets %t, empty %t", a, b, sa.Meets(sb), sa.Empty())
		}
		if each := slices.Collect(sa.Each); !slices.IsSorted(each) || len(each) != len(a) || Fields(each...) != sa {
			t.Fatalf("%v: each %v", a, each)
		}
	}
}

func randomSet(random *rand.Rand) map[Field]bool {
	m := map[Field]bool{}
	for range random.IntN(6) {
		m[Field(random.IntN(setBits))] = true
	}
	return m
}

func setOf(m map[Field]bool) FieldSet {
	var s FieldSet
	for f := range m {
		s.Add(Fields(f))
	}
	return s
}

// BenchmarkFieldSet measures what the decoder and each read of a field do with sets.
func BenchmarkFieldSet(b *testing.B) {
	base, more, one := Fields(FieldState, FieldPort), Fields(FieldOwners, FieldDirection), Fields(FieldPort)
	b.Run("add", func(b *testing.B) {
		var s FieldSet
		for b.Loop() {
			s = base
			s.Add(more)
			s.Add(Fields(FieldUID))
		}
		if s.Empty() {
			b.Fatal("nothing was added")
		}
	})
	b.Run("meets", func(b *testing.B) {
		n := 0
		for b.Loop() {
			if base.Meets(one) {
				n++
			}
		}
		if n == 0 {
			b.Fatal("it does not meet")
		}
	})
}
