package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sockwarden/engine/explain"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Explain says why the rules take the sockets of a selection or not. Like Look, it judges
// the whole picture by all rules of the program; it prepares and does nothing. With
// observe it looks twice, that far apart. The selection has one rule, whose condition
// selects the sockets in question.
func (e *Engine) Explain(ctx context.Context, p *rules.Program, q explain.Question, observe time.Duration) (*explain.Explanation, error) {
	wanted := e.judge.Council.Wanted(p)
	wanted.Plan = wanted.Plan.Wider(q.Selection)
	wanted.Younger = append(slices.Clone(wanted.Younger), q.Selection)
	c, err := e.findIn(ctx, p, wanted, false)
	if err != nil {
		return nil, err
	}
	if observe > 0 {
		world.Sleep(ctx, e.world, observe)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("look twice: %w", context.Cause(ctx))
		}
		if c, err = e.findIn(ctx, p, wanted, false); err != nil {
			return nil, err
		}
	}
	x := explain.Explain(ctx, e.judge, c, q)
	e.finish(c)
	return x, nil
}
