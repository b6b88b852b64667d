package act

import (
	"context"

	"sockwarden/actions"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/world"
)

// Rehearsal says what would be done. It prepares effects and applies none.
type Rehearsal struct {
	world   *world.World
	harms   *look.Harms
	workers int
}

// NewRehearsal makes the rehearsal of a dry engine.
func NewRehearsal(w *world.World, harms *look.Harms) *Rehearsal {
	return &Rehearsal{w, harms, w.Host.Workers}
}

// Act prepares what was decided on.
func (r *Rehearsal) Act(ctx context.Context, c *judge.Cycle) {
	for ladders := ladderPerTarget(ctx, c, r.harms); len(ladders) > 0; {
		n, batcher := together(ladders)
		part := ladders[:n]
		ladders = ladders[n:]
		switch {
		case ctx.Err() != nil:
			// Asked to stop.
			for _, l := range part {
				l.finish(actions.Outcome{Result: actions.Failed, Err: context.Cause(ctx)}, l.action())
			}
		case batcher != nil:
			r.many(ctx, part, batcher)
		default:
			r.one(ctx, part[0])
		}
	}
}

// many prepares the effects of several ladders together.
func (r *Rehearsal) many(ctx context.Context, ladders []*ladder, batcher actions.Batcher) {
	prepared := look.InParts(r.workers, targetsOf(ladders, r.world.Host.Name), func(part []actions.Target) []actions.Prepared {
		return batcher.PrepareAll(ctx, part)
	})
	for i, l := range ladders {
		switch p := prepared[i]; {
		case ctx.Err() != nil:
			l.finish(actions.Outcome{Result: actions.Failed, Err: context.Cause(ctx)}, l.action())
		case p.Alone:
			r.one(ctx, l)
		case p.Err != nil:
			l.finish(actions.OutcomeOf(p.Err), l.action())
		default:
			l.would(p.Effect)
		}
	}
}

// one prepares the effect of a ladder by itself.
func (r *Rehearsal) one(ctx context.Context, l *ladder) {
	effect, err := l.bound().Action.Prepare(ctx, l.target(r.world.Host.Name))
	if err != nil {
		l.finish(actions.OutcomeOf(err), l.action())
		return
	}
	l.would(effect)
}

// would ends a ladder with what it would do.
func (l *ladder) would(effect actions.Effect) {
	l.finish(actions.Outcome{Result: actions.Would, Detail: l.wouldDie()}, effect.String())
}
