package act

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/catalog"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// settle is how long programs have to react before we verify an outcome: a program that
// notices closes its descriptor within milliseconds.
const settle = 250 * time.Millisecond

// Act starts the ladders for all decisions to act, and takes each as far as it goes without
// waiting longer than the time to settle.
func (h *Hand) Act(ctx context.Context, c *judge.Cycle) {
	h.signalled = map[string]bool{}
	ladders := ladderPerTarget(ctx, c, h.harms)
	if err := h.cooling.start(ladders); err != nil {
		h.hostError = err
		c.Report.Errors = append(c.Report.Errors, err)
	}
	h.start(ctx, ladders)
	h.Last.counted = recount{}
	if err := h.cooling.keepTakenBack(); err != nil {
		c.Warn(err)
	}
	h.Last.queue = ladders // those that climb
	h.settle(ctx, ladders)
	h.Last.queue = nil
	for _, l := range ladders {
		if !l.done {
			h.Ladders = append(h.Ladders, l)
		}
	}
	c.Report.HostError = h.hostError
}

// ladderPerTarget makes a ladder for each socket to act on, or for each process or unit.
func ladderPerTarget(ctx context.Context, c *judge.Cycle, harms *look.Harms) []*ladder {
	var ladders []*ladder
	byProcess := map[string]*ladder{}
	standings := map[*report.Group]*standing{}
	for _, one := range c.Cases {
		f := &subject{Case: one, standing: standings[one.Group]}
		if one.Group != nil && f.standing == nil {
			f.standing = &standing{at: one.Group.CountedAt}
			standings[one.Group] = f.standing
		}
		if f.Decision != report.DecideAct {
			continue
		}
		first := catalog.Bound(&f.Rule.Then[0])
		if !first.OnProcess() {
			ladders = append(ladders, newLadder(len(ladders)+1, c.Program, f, nil))
			continue
		}
		owners := f.Processes(first)
		for i := range owners {
			o := &owners[i]
			// One effect for each process, even if two rules want one: the first gets it.
			key := look.TargetKey(o, first.Plugin)
			if l, ok := byProcess[key]; ok && l.findings[len(l.findings)-1] == f {
				continue // another process of the same unit
			} else if ok {
				l.findings, l.slots = append(l.findings, f), append(l.slots, -1)
				continue
			}
			l := newLadder(len(ladders)+1, c.Program, f, o)
			l.harm = harms.Of(ctx, c.Picture, f.Candidate, o, first)
			byProcess[key] = l
			ladders = append(ladders, l)
		}
	}
	return ladders
}

// start prepares and applies the current rung of each ladder.
func (h *Hand) start(ctx context.Context, ladders []*ladder) {
	defer func() { h.Last.queue = nil }()
	for vain := 0; len(ladders) > 0; {
		n, batcher := together(ladders)
		part := ladders[:n]
		h.Last.queue, ladders = ladders, ladders[n:]
		switch {
		case ctx.Err() != nil:
			// Asked to stop: begin nothing more.
			h.leave(part, actions.Outcome{Result: actions.Failed, Err: context.Cause(ctx)})
		case batcher != nil:
			again := h.turns.startAll(ctx, part, batcher)
			if vain++; len(again) < len(part) {
				vain = 0
			}
			if vain == maxVain {
				h.leave(again, actions.Outcome{Result: actions.Failed, Err: errTooSlow})
				again = nil
			}
			ladders = slices.Concat(again, ladders)
		default:
			h.startRung(ctx, part[0])
		}
	}
}

// maxVain is how often we ask in vain who holds sockets: each answer was too old before
// we could act on it.
const maxVain = 20

var errTooSlow = errors.New("this machine is too busy to look and act in time; nothing was done")

// leave ends ladders without doing anything.
func (h *Hand) leave(ladders []*ladder, out actions.Outcome) {
	for _, l := range ladders {
		h.cooling.untouched(l)
		l.finish(out, l.action())
	}
}

func (h *Hand) startRung(ctx context.Context, l *ladder) {
	rung := &l.rule.Then[l.rung]
	if h.hostError != nil {
		h.leave([]*ladder{l}, hostOutcome(h.hostError))
		return
	}
	if l.waits = h.programs.full(rung); l.waits {
		return // Step begins it
	}
	err := h.prepareInTime(ctx, l, rung)
	if err != nil {
		h.notPrepared(ctx, l, err)
		return
	}
	if p := h.pauseOf(l); p != nil {
		h.cooling.untouched(l)
		h.endPaused(p, l)
		return
	}
	if err := h.silencesOf(l); err != nil {
		h.notPrepared(ctx, l, err)
		return
	}
	if l.process != nil {
		l.signals = true
		h.signalled[look.TargetKey(l.process, catalog.Bound(rung).Plugin)] = true
	}
	h.cooling.begin(l)
	h.applied(ctx, l, h.apply(ctx, l))
}

// notPrepared ends a ladder whose target is gone, or cannot be prepared.
func (h *Hand) notPrepared(ctx context.Context, l *ladder, err error) {
	out := actions.OutcomeOf(err)
	what := l.action()
	l.effect = nil
	if out.Result == actions.Changed {
		h.cooling.giveBack(l)
	}
	l.finish(out, what)
	h.news.Outcome(ctx, l.outcome(what, out))
	h.heedHost(out)
}

// applied takes the first outcome of a rung. A success is verified later.
func (h *Hand) applied(ctx context.Context, l *ladder, out actions.Outcome) {
	h.programs.note(l, out)
	l.applied = h.world.Now()
	l.Deadline = l.applied.Add(max(l.rule.Then[l.rung].Wait, h.SettleTime))
	if out.Result.Succeeded() {
		if g := l.findings[0].standing; g != nil && l.process == nil {
			g.taken = append(g.taken, l.findings[0].Candidate)
		}
		l.note(out, l.effect.String())
		return
	}
	h.conclude(ctx, l, out)
}

// prepareInTime takes the last look and prepares the effect. If that takes so long that the
// look is out of date, it does both again.
func (h *Hand) prepareInTime(ctx context.Context, l *ladder, rung *rules.Rung) error {
	for range maxVain {
		l.looked = 0
		err := h.Last.recheck(ctx, l)
		if err == nil {
			l.effect, err = catalog.Bound(rung).Action.Prepare(ctx, l.target(h.world.Host.Name))
		}
		counts := lookFor + time.Duration(len(l.findings)-1)*time.Millisecond // each takes its time
		if err != nil || l.looked == 0 || h.world.Mono()-l.looked <= min(counts, max(lookFor, recentAtMost)).Seconds() {
			return err
		}
	}
	return errTooSlow
}

func hostOutcome(err error) actions.Outcome {
	out := actions.OutcomeOf(err)
	if !out.Result.EndsAll() {
		out.Result = actions.Failed
	}
	return out
}

// apply and applyAll are the only place that changes the host.
func (h *Hand) apply(ctx context.Context, l *ladder) actions.Outcome { return l.effect.Apply(ctx) }

func (h *Hand) applyAll(ctx context.Context, batcher actions.Batcher, effects []actions.Effect) []actions.Outcome {
	return batcher.ApplyAll(ctx, effects)
}

// settle gives the programs time to react, then verifies: first the ladders that have had
// that time while others began, then the rest.
func (h *Hand) settle(ctx context.Context, ladders []*ladder) {
	begun := slices.DeleteFunc(slices.Clone(ladders), func(l *ladder) bool { return l.done || l.waits })
	if len(begun) == 0 {
		return
	}
	before := h.world.Now().Add(-h.SettleTime)
	n := slices.IndexFunc(begun, func(l *ladder) bool { return l.applied.After(before) })
	if n > 0 {
		h.step(ctx, begun[:n])
		begun = begun[n:]
	}
	world.Sleep(ctx, h.world, h.world.Until(begun[len(begun)-1].applied.Add(h.SettleTime)))
	h.step(ctx, begun)
}

// step verifies applied ladders, and goes on to the next rung when the time of the current
// one is over.
func (h *Hand) step(ctx context.Context, ladders []*ladder) {
	// Verifying changes nothing, so it goes on when asked to stop: the report must be true.
	outs := h.verify.all(context.WithoutCancel(ctx), ladders)
	for i, l := range ladders {
		if l.done || l.waits {
			continue
		}
		out := outs[i]
		l.pending = out.Pending
		if out.Pending && ctx.Err() != nil {
			out = actions.Stop(context.WithoutCancel(ctx), l.effect)
		}
		unfinished := out.Result == actions.StillRunning || out.Result == actions.FDStillHeld
		// When asked to stop, wait no longer and record what was done so far.
		if out.Pending || unfinished && ctx.Err() == nil && h.world.Now().Before(l.Deadline) {
			l.note(out, l.effect.String())
			continue
		}
		if ctx.Err() == nil && h.judge.Council.HeldBack(l.at(), out.Result) {
			l.note(out, l.effect.String())
			continue
		}
		h.conclude(ctx, l, out)
	}
}

// conclude takes the final outcome of a rung: the ladder ends or climbs.
func (h *Hand) conclude(ctx context.Context, l *ladder, out actions.Outcome) {
	if out.Result == actions.Ended && out.Detail == "" {
		out.Detail = h.died(ctx, l)
	}
	what := l.action()
	if l.effect != nil {
		what = l.effect.String()
	}
	l.note(out, what)
	h.news.Outcome(ctx, l.outcome(what, out))
	l.held = l.held || out.Result == actions.FDStillHeld
	h.heedHost(out)
	for h.hostError == nil && ctx.Err() == nil && out.Result != actions.Changed && l.nextRung() {
		start, err := h.climbs(ctx, l, out.Result)
		if errors.Is(err, errLadderEnds) {
			break
		}
		if errors.Is(err, collectors.ErrGone) {
			if changed, ok := errors.AsType[*actions.ChangedError](err); ok {
				l.remark(changed)
			}
			break
		}
		if err != nil && out.Result.Succeeded() {
			// The work is done; it is no failure that nothing follows.
			l.remark(err)
			h.log.LogAttrs(ctx, slog.LevelWarn, "ladder ends", slog.String("rule", l.rule.Name), slog.String("error", err.Error()))
			break
		}
		if err != nil {
			out := actions.OutcomeOf(err)
			l.note(out, l.action())
			h.news.Outcome(ctx, l.outcome(l.action(), out))
			break
		}
		if start {
			if err := h.cooling.start([]*ladder{l}); err != nil {
				h.hostError = err
			}
			h.startRung(ctx, l)
			return
		}
	}
	l.done = true
}

// heedHost stops all further attempts if an outcome is about the host and not the target.
func (h *Hand) heedHost(out actions.Outcome) {
	switch {
	case !out.EndsAll():
	case out.Err != nil:
		h.hostError = out.Err
	case out.Result == actions.NotPermitted:
		h.hostError = collectors.ErrNotPermitted
	default:
		h.hostError = collectors.ErrNotSupported
	}
}

// TakeHostError returns why the host refused to act, nil if it did not, and lets the hand
// try again.
func (h *Hand) TakeHostError() error {
	err := h.hostError
	h.hostError = nil
	return err
}
