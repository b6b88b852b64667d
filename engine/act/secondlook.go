package act

import (
	"context"
	"fmt"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// climbsTwice is nil if a further rung may be begun that does more than end one
// connection: what led to it was seen for long enough, which is waited for.
func (h *Hand) climbsTwice(ctx context.Context, l *ladder, plugin *actions.Plugin) error {
	if !plugin.Wide() || !l.rule.ReadsTime() {
		return nil
	}
	left := h.unseen(l)
	if left <= 0 {
		return nil
	}
	if world.Sleep(ctx, h.world, left+look.Grain); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := h.Last.again(ctx, l, nil); err != nil {
		return err
	}
	if h.unseen(l) > 0 {
		return fmt.Errorf("%s: it was seen for less than %s", plugin.Name, report.Short(look.SecondLook)) //nolint:err113 // for people
	}
	return nil
}

// unseen is how much longer the sockets of a ladder must be seen. Of one that is
// destroyed it is since when its process has kept the descriptor.
func (h *Hand) unseen(l *ladder) (left time.Duration) {
	now := h.world.Mono()
	for _, f := range l.findings {
		if !l.own(f) {
			continue
		}
		cand := f.latest().Clone()
		cand.Since = f.Since
		if began := h.cooling.memory.Since(collectors.KeyOf(&f.Socket)); began > cand.Since {
			cand.Since = began
		}
		left = max(left, cand.LeftAt(now))
	}
	return left
}
