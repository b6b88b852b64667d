package act

import (
	"slices"

	"sockwarden/actions"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// MaxPrograms is how many programs of rules run in parallel. Further ones wait, and get a
// new last look when their turn comes.
const MaxPrograms = 8

// running is a program that runs for a ladder.
type running struct {
	of     *ladder
	effect actions.Effect
}

// programs keeps the running ones.
type programs struct {
	running []running
}

// full reports whether the action of a rung has to wait for a program to end.
func (p *programs) full(rung *rules.Rung) bool {
	if !catalog.Bound(rung).Program {
		return false
	}
	p.running = slices.DeleteFunc(p.running, func(r running) bool { return r.of.done || r.of.effect != r.effect || !r.of.pending })
	return len(p.running) >= MaxPrograms
}

// note notes that the effect of a ladder runs until Verify says otherwise.
func (p *programs) note(l *ladder, out actions.Outcome) {
	if l.pending = l.bound().Program && out.Result.Succeeded(); l.pending {
		p.running = append(p.running, running{l, l.effect})
	}
}
