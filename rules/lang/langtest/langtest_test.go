package langtest

import (
	"testing"

	"sockwarden/collectors"
)

// TestRandomRecord: every field of a random record has one of several values: a condition
// about it is true of some records and false of others.
func TestRandomRecord(t *testing.T) {
	values := map[collectors.Field]map[any]bool{}
	for seed := range uint64(500) {
		r := RandomRecord(NewWriter(seed, 21))
		for _, d := range collectors.AllFields() {
			v, ok := collectors.Value(d.Field, r)
			if !ok {
				t.Fatalf("%s is not known of a random record", d.Name)
			}
			if values[d.Field] == nil {
				values[d.Field] = map[any]bool{}
			}
			values[d.Field][v] = true
		}
	}
	for _, d := range collectors.AllFields() {
		if n := len(values[d.Field]); n < 2 {
			t.Errorf("%s is the same in all random records: tell RandomRecord how it varies", d.Name)
		}
	}
}

// TestPartial: every field can be hidden, and one that is not has the same value in every
// record that completes the rest.
func TestPartial(t *testing.T) {
	hidden, shown := map[collectors.Field]int{}, map[collectors.Field]int{}
	for seed := range uint64(500) {
		w := NewWriter(seed, 22)
		r := RandomRecord(w)
		Hide(w, r)
		c := Complete(w, r, true)
		for _, d := range collectors.AllFields() {
			v, known := collectors.Value(d.Field, r)
			if !known {
				hidden[d.Field]++
				continue
			}
			shown[d.Field]++
			if d.Field == collectors.FieldAge || d.Field == collectors.FieldAgeMax {
				continue // it lies between the bounds
			}
			if of, _ := collectors.Value(d.Field, c); of != v {
				t.Fatalf("seed %d: %s is %v, completed %v: tell groups what it is made of", seed, d.Name, v, of)
			}
		}
	}
	for _, d := range collectors.AllFields() {
		never := collectors.AgeFields().Has(d.Field) || whole.Has(d.Field)
		if hidden[d.Field] == 0 && !never || shown[d.Field] == 0 {
			t.Errorf("%s is hidden %d times and shown %d times: tell groups what it is made of", d.Name, hidden[d.Field], shown[d.Field])
		}
	}
}

// TestConditions: random conditions cover every field, and each field also alone.
func TestConditions(t *testing.T) {
	for _, d := range collectors.AllFields() {
		texts := map[string]bool{}
		w := NewWriter(uint64(d.Field), 23)
		for range 50 {
			texts[w.About(d.Field).Rules] = true
		}
		if len(texts) < 2 {
			t.Errorf("%s: %v", d.Name, texts)
		}
	}
}
