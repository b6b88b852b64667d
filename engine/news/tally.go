package news

import (
	"context"

	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// tally counts what came of the actions of each rule, for the state file.
type tally struct {
	clock world.Clock
	known *memory.Memory
}

// Listens is false: outcomes are enough.
func (t *tally) Listens() bool { return false }

// Decision counts nothing.
func (t *tally) Decision(string, string, *report.Finding) {}

// Outcome counts one target.
func (t *tally) Outcome(_ context.Context, o *report.Outcome) {
	t.known.Count(o.Rule, string(o.Result), t.clock.Mono())
}

// Cycle counts nothing: what is under way is not done.
func (t *tally) Cycle(context.Context, *rules.Program, *report.Report) {}
