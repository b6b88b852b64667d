package engine

import (
	"slices"

	"sockwarden/actions"
	"sockwarden/rules"
)

// maxPrograms is how many programs of rules run at a time. What is beyond waits, and
// is looked at again when its turn comes.
const maxPrograms = 8

// running is a program that runs for a ladder.
type running struct {
	of     *ladder
	effect actions.Effect
}

// programsFull reports whether the action of a rung has to wait for a program to end.
func (e *Engine) programsFull(rung *rules.Rung) bool {
	if plugin, err := e.opts.Actions.Get(rung.Action); err != nil || !plugin.Program {
		return false
	}
	e.programs = slices.DeleteFunc(e.programs, func(p running) bool { return p.of.done || p.of.effect != p.effect || !p.of.pending })
	return len(e.programs) >= maxPrograms
}

// noteProgram notes that the effect of a ladder runs until Verify says otherwise.
func (e *Engine) noteProgram(l *ladder, out actions.Outcome) {
	plugin, err := e.opts.Actions.Get(l.action())
	if l.pending = err == nil && plugin.Program && out.Result.Succeeded(); l.pending {
		e.programs = append(e.programs, running{l, l.effect})
	}
}
