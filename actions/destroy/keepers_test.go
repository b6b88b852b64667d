package destroy

import (
	"slices"
	"testing"

	"sockwarden/actions"
	"sockwarden/collectors"
)

// Every process that keeps the descriptor is named, and no other.
func TestKeepers(t *testing.T) {
	e := &effect{}
	for pid, name := range map[int]string{5: "a", 6: "b", 7: "c", 8: "d", 9: "e"} {
		e.sealed.Facts.Owners = append(e.sealed.Facts.Owners, collectors.Owner{PID: pid, Name: name})
	}
	slices.SortFunc(e.sealed.Facts.Owners, func(a, b collectors.Owner) int { return a.PID - b.PID })
	for _, test := range []struct {
		keep   []int
		detail string
	}{
		{[]int{6}, "b[6] still has the descriptor"},
		{[]int{5, 9}, "a[5], e[9] still have the descriptor"},
		{[]int{5, 6, 7, 8, 9}, "a[5], b[6], c[7] and 2 more still have the descriptor"},
		{nil, ""},
	} {
		out := e.verified(&collectors.Socket{}, collectors.ErrGone, func(o *collectors.Owner, _ uint32) bool { return slices.Contains(test.keep, o.PID) })
		var got []int
		for _, o := range e.Keepers() {
			got = append(got, o.PID)
		}
		if out.Detail != test.detail || !slices.Equal(got, test.keep) || (out.Result == actions.FDStillHeld) != (test.keep != nil) {
			t.Errorf("%v keep it: %s %q, keepers %v", test.keep, out.Result, out.Detail, got)
		}
	}
}
