package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sockwarden/engine/differ"
	"sockwarden/engine/look"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Diff says for which sockets two programs differ, by one look at the host. With observe it
// looks twice, that far apart. It prepares and does nothing.
func (e *Engine) Diff(ctx context.Context, was, now *rules.Program, observe time.Duration) (*differ.Difference, error) {
	wanted := e.judge.Council.Wanted(was)
	wanted.Plan = wanted.Plan.Wider(now)
	wanted.Younger = append(slices.Clone(wanted.Younger), now)
	picture, err := e.looker.Look(ctx, wanted)
	if err == nil && observe > 0 {
		picture, err = e.lookAgain(ctx, wanted, observe)
	}
	if err != nil {
		return nil, err
	}
	d := differ.Compare(ctx, e.judge, picture, was, now)
	d.Report.Recording = e.recording()
	return d, nil
}

func (e *Engine) lookAgain(ctx context.Context, wanted look.Wanted, after time.Duration) (*look.Picture, error) {
	world.Sleep(ctx, e.world, after)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("look twice: %w", context.Cause(ctx))
	}
	return e.looker.Look(ctx, wanted)
}

// maxCompared is how many sockets a watcher compares rules by. A comparison takes about 10
// microseconds and 2 KB for each (BenchmarkDiff), and a watcher is to stay small and on time:
// sockwarden rules diff compares any number.
const maxCompared = 10_000

// compare says for which sockets of the last cycle two generations of rules differ. It is
// false if the cycle was not about both.
func (e *Engine) compare(ctx context.Context, was, now *rules.Program) (text string, ok bool) {
	p := e.last.picture
	if p == nil || !lookedFor(p, was) || !lookedFor(p, now) {
		return "", false
	}
	e.last.picture = nil
	if n := len(p.Candidates); n > maxCompared {
		return fmt.Sprintf("%d sockets are too many to compare here: sockwarden rules diff does", n), true
	}
	return differ.Compare(ctx, e.judge, p, was, now).Summary(), true
}

func lookedFor(p *look.Picture, rs *rules.Program) bool {
	return slices.ContainsFunc(append([]*rules.Program{p.Program}, p.Younger...), func(q *rules.Program) bool { return q.Generation == rs.Generation })
}
