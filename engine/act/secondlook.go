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

// climbsTwice is nil if a further rung may begin that does more than end one connection. It
// waits until we have seen the cause for long enough.
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

// unseen is how much longer we must see the sockets of a ladder. For a destroyed socket the
// time counts from when its process first kept the descriptor.
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
