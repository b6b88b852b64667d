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
	return differ.Compare(ctx, e.judge, picture, was, now), nil
}

func (e *Engine) lookAgain(ctx context.Context, wanted look.Wanted, after time.Duration) (*look.Picture, error) {
	world.Sleep(ctx, e.world, after)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("look twice: %w", context.Cause(ctx))
	}
	return e.looker.Look(ctx, wanted)
}
