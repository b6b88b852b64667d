package view

import (
	"testing"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// TestDead: Dead shows who holds what is dead, with what is unknown about it, and says if
// nobody does.
func TestDead(t *testing.T) {
	known := collectors.Fields(collectors.FieldPID, collectors.FieldProcess)
	all := []world.Dead{
		{Sockets: 3, Owner: collectors.Owner{Known: known.Or(collectors.Fields(collectors.FieldFDs, collectors.FieldFDLimit)), PID: 7, Name: "front", FDs: 9, FDLimit: 100}},
		{Sockets: 1, Owner: collectors.Owner{Known: known, PID: 8, Name: "other"}},
	}
	for name, c := range map[string]struct {
		all         []world.Dead
		unseen, top int
		want        string
	}{
		"nobody": {nil, 0, 0, "no process holds a connection that the kernel has ended\n"},
		"unseen": {nil, 2, 0, "no process holds a connection that the kernel has ended\nnote: 2 processes could not be examined\n"},
		"some":   {all, 0, 0, "COUNT  PROCESS   FDS/LIMIT\n    3  front[7]  9/100\n    1  other[8]  ?\n"},
		"top":    {all, 0, 1, "COUNT  PROCESS   FDS/LIMIT\n    3  front[7]  9/100\n... 1 more process\n"},
	} {
		if got := shown(t, Text, func(o Out) error { return Dead(o, c.all, c.unseen, c.top) }); got != c.want {
			t.Errorf("%s:\n%s\nnot\n%s", name, got, c.want)
		}
	}
}
