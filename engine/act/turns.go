package act

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors/stuck"
	"sockwarden/engine/look"
	"sockwarden/engine/pause"
	"sockwarden/engine/world"
)

// turnLen is how many sockets one turn looks up and then acts on at once. It is small
// because SOCK_DESTROY ignores what state a socket has entered in between. Before each
// turn we check the pause switch, and whether to stop.
const turnLen = 8

// lookFor is how long a look at sockets counts as the last one before an effect.
const lookFor = 50 * time.Millisecond

// fate is how far a ladder got in a turn.
type fate int

const (
	isAgain   fate = iota // the last search for holders is out of date
	isAlone               // its effect cannot join others
	isStopped             // asked to stop before it began
	isRefused             // the host has refused an earlier one
	isPaused
	notReady // err says why
	applied  // out says what came of it
)

// turn is what came of one ladder among many.
type turn struct {
	fate   fate
	effect actions.Effect
	out    actions.Outcome
	pause  *pause.Pause
	err    error
}

// startAll is startRung for several ladders. It looks up a few, compares them with the
// decisions, applies them together, concludes each, and goes on to the next few. It returns
// those that must begin again.
func (t *turns) startAll(ctx context.Context, ladders []*ladder, batcher actions.Batcher) (again []*ladder) {
	if t.hostError != nil {
		t.leave(ladders, hostOutcome(t.hostError))
		return nil
	}
	// Count groups first, as that looks at everything.
	for _, l := range ladders {
		err := t.Last.stillGroup(ctx, l, l.findings[0])
		if err == nil {
			err = t.Last.groupsAgree(ctx, l.findings[0])
		}
		if err != nil {
			t.notPrepared(ctx, l, err)
		}
	}
	ladders = slices.DeleteFunc(slices.Clone(ladders), func(l *ladder) bool { return l.done })
	if len(ladders) == 0 {
		return nil
	}
	if err := t.Last.ready(ctx, ladders...); err != nil {
		for _, l := range ladders {
			t.notPrepared(ctx, l, err)
		}
		return nil
	}
	var refused atomic.Bool
	turns := look.InParts(t.workers, ladders, func(part []*ladder) (turns []turn) {
		glance := t.world.Processes.Glance()
		defer glance.Close()
		session := batcher
		if s, ok := batcher.(actions.Sessions); ok {
			var closes func()
			session, closes = s.Session()
			defer closes()
		}
		for some := range slices.Chunk(part, turnLen) {
			turns = append(turns, t.takeTurn(ctx, glance, some, session, &refused)...)
		}
		return turns
	})
	return t.concludeTurns(ctx, ladders, turns, batcher)
}

func targetsOf(ladders []*ladder, host string) []actions.Target {
	targets := make([]actions.Target, len(ladders))
	for i, l := range ladders {
		targets[i] = l.target(host)
	}
	return targets
}

// takeTurn takes the last look at a few sockets and acts on them at once. Several can run in
// parallel: it changes nothing but the host.
func (t *turns) takeTurn(ctx context.Context, glance world.Glance, ladders []*ladder, batcher actions.Batcher, refused *atomic.Bool) []turn {
	turns := make([]turn, len(ladders))
	t.judge.Council.ReadRules()
	if not, ok := t.notNow(ctx, ladders, refused); !ok {
		for i := range turns {
			turns[i] = not
		}
		return turns
	}
	began := t.world.Mono()
	effects, places := t.prepareTurn(ctx, glance, ladders, batcher, turns)
	if len(effects) == 0 {
		return turns
	}
	// Whatever held this up: nothing is done by a look that is too old.
	if t.world.Mono()-began > lookFor.Seconds() {
		for _, i := range places {
			turns[i] = turn{fate: isAgain}
		}
		return turns
	}
	for k, out := range t.applyAll(ctx, batcher, effects) {
		turns[places[k]] = turn{fate: applied, effect: effects[k], out: out}
		if errors.Is(out.Err, actions.ErrNotBegun) {
			turns[places[k]] = turn{fate: isAgain}
		}
		if out.EndsAll() {
			refused.Store(true)
		}
	}
	return turns
}

// notNow says why a turn is not to be taken; ok if it is.
func (t *turns) notNow(ctx context.Context, ladders []*ladder, refused *atomic.Bool) (not turn, ok bool) {
	switch pause := t.pauseOf(ladders[0]); {
	case ctx.Err() != nil:
		return turn{fate: isStopped, err: context.Cause(ctx)}, false
	case refused.Load():
		return turn{fate: isRefused}, false
	case pause != nil:
		return turn{fate: isPaused, pause: pause}, false
	case slices.ContainsFunc(ladders, func(l *ladder) bool { return !t.Last.recent(l) }):
		return turn{fate: isAgain}, false
	}
	return turn{}, true
}

// prepareTurn looks the sockets of a turn up and prepares what is to be done to those
// of which the verdict still holds, by their places; of the others turns says why not.
func (t *turns) prepareTurn(ctx context.Context, glance world.Glance, ladders []*ladder, batcher actions.Batcher, turns []turn) (effects []actions.Effect, places []int) {
	began := t.world.Mono()
	now := make([]*look.Candidate, len(ladders))
	for i, l := range ladders {
		now[i] = l.findings[0].latest().Glimpse(glance)
	}
	prepared := batcher.PrepareAll(ctx, targetsOf(ladders, t.world.Host.Name))
	// One that hangs takes seconds, and by then the look at the others is too old.
	in := t.Last.quiet()
	heldUp := slices.ContainsFunc(prepared, func(p actions.Prepared) bool { return stuck.In(p.Err) != nil })
	for i, p := range prepared {
		if p.Alone {
			turns[i] = turn{fate: isAlone}
			continue
		}
		if heldUp && (p.Err == nil || errors.Is(p.Err, world.ErrNotAsked)) {
			turns[i] = turn{fate: isAgain}
			continue
		}
		err := p.Err
		if err == nil {
			now[i].Socket = *p.Now
			err = t.Last.verdict(ladders[i], ladders[i].findings[0], now[i], began, in)
		}
		if err == nil {
			err = t.Last.allowed(ladders[i], now[i])
		}
		if err != nil {
			turns[i] = turn{fate: notReady, err: err}
			continue
		}
		effects, places = append(effects, p.Effect), append(places, i)
	}
	// A process may have passed its descriptor on microseconds ago: check once more.
	for k, i := range slices.Backward(places) {
		cand := now[i]
		if !glance.StillHeld(cand.Facts.Owners, cand.Socket.Inode) {
			turns[i] = turn{fate: notReady, err: actions.Changedf("its process has given it away, or closed it")}
			effects, places = slices.Delete(effects, k, k+1), slices.Delete(places, k, k+1)
		}
	}
	return effects, places
}

// concludeTurns records the outcomes of turns: first of those that acted, because they show
// whether the host refuses.
func (t *turns) concludeTurns(ctx context.Context, ladders []*ladder, turns []turn, batcher actions.Batcher) (again []*ladder) {
	for i, l := range ladders {
		one := &turns[i]
		if one.fate != applied {
			continue
		}
		l.effect, l.batcher = one.effect, batcher
		if one.out.Err != nil && ctx.Err() != nil && errors.Is(one.out.Err, context.Cause(ctx)) {
			t.leave(ladders[i:i+1], one.out) // asked to stop, nothing was done
			continue
		}
		t.cooling.begin(l)
		t.applied(ctx, l, one.out)
	}
	for i, l := range ladders {
		switch one := &turns[i]; one.fate {
		case isAgain:
			again = append(again, l)
		case isAlone:
			t.Last.queue = ladders[i:]
			t.startRung(ctx, l)
		case isStopped:
			t.leave(ladders[i:i+1], actions.Outcome{Result: actions.Failed, Err: one.err})
		case isRefused:
			t.leave(ladders[i:i+1], hostOutcome(t.hostError))
		case isPaused:
			t.cooling.untouched(l)
			t.endPaused(one.pause, l)
		case notReady:
			t.notPrepared(ctx, l, one.err)
		case applied:
		}
	}
	return again
}
