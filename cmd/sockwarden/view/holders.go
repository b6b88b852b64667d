package view

import (
	"fmt"

	"sockwarden/collectors"
	"sockwarden/engine"
)

// alsoHeld says who else holds what would be destroyed, besides the processes that the
// user named or, if none, the first owner of each socket; "" if nobody does.
func alsoHeld(targets []*engine.Finding, names func(*collectors.Owner) bool) string {
	var others ownerSet
	n := 0
	for _, f := range targets {
		shared := false
		for i := range f.Facts.Owners {
			if o := &f.Facts.Owners[i]; i > 0 && !names(o) {
				others.add(o)
				shared = true
			}
		}
		if shared {
			n++
		}
	}
	switch {
	case n == 0:
		return ""
	case len(targets) == 1:
		return fmt.Sprintf("also held by %s, for whom it is gone, too", &others)
	case n == 1:
		return fmt.Sprintf("1 of them is also held by %s, for whom it is gone, too", &others)
	}
	return fmt.Sprintf("%d of them are also held by %s, for whom they are gone, too", n, &others)
}

// protectedAmong names the protected processes that hold what would be destroyed, "" if
// there are none.
func protectedAmong(targets []*engine.Finding) string {
	var protected ownerSet
	for _, f := range targets {
		for i := range f.Facts.Owners {
			if o := &f.Facts.Owners[i]; engine.IsProtected(o) {
				protected.add(o)
			}
		}
		if l := f.Facts.ListenerOwner; l != nil && engine.IsProtected(l) {
			protected.add(l)
		}
	}
	if len(protected.owners) == 0 {
		return ""
	}
	return "connections of protected processes are among them: " + protected.String()
}

// ownerSet is a set of processes, in the order in which they were added.
type ownerSet struct {
	owners []collectors.Owner
	known  map[int]bool
}

func (s *ownerSet) add(o *collectors.Owner) {
	if s.known == nil {
		s.known = map[int]bool{}
	}
	if !s.known[o.PID] {
		s.known[o.PID] = true
		s.owners = append(s.owners, *o)
	}
}

func (s *ownerSet) String() string { return collectors.OwnerNames(s.owners) }
