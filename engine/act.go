package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
)

// settle is how long programs are given to react before an outcome is verified:
// a descriptor is closed within milliseconds by a program that notices.
const settle = 250 * time.Millisecond

// act starts the ladders of everything that was decided on, and takes each of
// them as far as it goes without waiting for longer than it takes to settle.
func (e *Engine) act(ctx context.Context, c *cycle) {
	e.signalled = map[string]bool{}
	ladders := e.ladderPerTarget(c)
	if e.opts.Live {
		e.startCooldowns(ladders, c.report)
	}
	e.start(ctx, ladders)
	e.counted = recount{}
	if err := e.keepTakenBack(); err != nil {
		c.warn(err)
	}
	e.queue = ladders // those that climb
	e.settle(ctx, ladders)
	e.queue = nil
	for _, l := range ladders {
		if !l.done {
			e.ladders = append(e.ladders, l)
		}
	}
	c.report.HostError = e.hostError
}

func (e *Engine) ladderPerTarget(c *cycle) []*ladder {
	var ladders []*ladder
	byProcess := map[string]*ladder{}
	for _, f := range c.report.Findings {
		if f.Decision != DecideAct {
			continue
		}
		plugin, err := e.opts.Actions.Get(f.Rule.Then[0].Action)
		if err != nil || !plugin.OnProcess() {
			ladders = append(ladders, newLadder(c.program, f, nil))
			continue
		}
		for i := range f.Facts.Owners {
			o := &f.Facts.Owners[i]
			// One effect for each process, also if two rules want it: the first has it.
			key := targetKey(o, &plugin)
			if l, ok := byProcess[key]; ok {
				l.findings, l.slots = append(l.findings, f), append(l.slots, -1)
				continue
			}
			l := newLadder(c.program, f, o)
			l.harm = e.collateral(c, f.Candidate, o, &plugin)
			byProcess[key] = l
			ladders = append(ladders, l)
		}
	}
	return ladders
}

// start prepares and applies the current rung of each ladder.
func (e *Engine) start(ctx context.Context, ladders []*ladder) {
	defer func() { e.queue = nil }()
	for vain := 0; len(ladders) > 0; {
		n, batcher := e.together(ladders)
		part := ladders[:n]
		e.queue, ladders = ladders, ladders[n:]
		switch {
		case ctx.Err() != nil:
			// Asked to stop: what has not begun is left alone.
			e.leave(part, actions.Outcome{Result: actions.Failed, Err: context.Cause(ctx)})
		case batcher != nil:
			again := e.startAll(ctx, part, batcher)
			if vain++; len(again) < len(part) {
				vain = 0
			}
			if vain == maxVain {
				e.leave(again, actions.Outcome{Result: actions.Failed, Err: errTooSlow})
				again = nil
			}
			ladders = slices.Concat(again, ladders)
		default:
			e.startRung(ctx, part[0])
		}
	}
}

// maxVain is how often it is asked in vain who holds sockets: each answer was too
// old before anything could be done.
const maxVain = 5

var errTooSlow = errors.New("this machine is too busy to look and act in time; nothing was done")

// leave ends ladders without having done anything.
func (e *Engine) leave(ladders []*ladder, out actions.Outcome) {
	for _, l := range ladders {
		e.untouched(l)
		l.finish(out, l.action())
	}
}

func (e *Engine) startRung(ctx context.Context, l *ladder) {
	rung := &l.rule.Then[l.rung]
	if e.hostError != nil {
		e.leave([]*ladder{l}, hostOutcome(e.hostError))
		return
	}
	if l.waits = e.opts.Live && e.programsFull(rung); l.waits {
		return // Step begins it
	}
	err := e.prepareInTime(ctx, l, rung)
	if err != nil {
		e.notPrepared(ctx, l, err)
		return
	}
	if !e.opts.Live {
		l.finish(actions.Outcome{Result: actions.Would, Detail: l.wouldDie()}, l.effect.String())
		return
	}
	if p := e.pauseOf(l); p != nil {
		e.untouched(l)
		e.endPaused(p, l)
		return
	}
	if l.process != nil {
		l.signals = true
		plugin, _ := e.opts.Actions.Get(rung.Action)
		e.signalled[targetKey(l.process, &plugin)] = true
	}
	e.begin(l)
	e.applied(ctx, l, e.apply(ctx, l))
}

// notPrepared ends a ladder whose target is not there, or cannot be acted on.
func (e *Engine) notPrepared(ctx context.Context, l *ladder, err error) {
	out := actions.OutcomeOf(err)
	what := l.action()
	l.effect = nil
	if out.Result == actions.Changed {
		e.giveBack(l)
	}
	l.finish(out, what)
	switch {
	case !e.opts.Live:
	case out.Result == actions.Changed:
		e.auditOutcome(l, what, out)
	default:
		e.logOutcome(ctx, l, what, out)
		e.heedHost(out)
	}
}

// applied takes the first outcome of a rung. A success is verified later.
func (e *Engine) applied(ctx context.Context, l *ladder, out actions.Outcome) {
	e.noteProgram(l, out)
	l.applied = e.now()
	l.deadline = l.applied.Add(max(l.rule.Then[l.rung].Wait, e.settleTime))
	if out.Result.Succeeded() {
		if g := l.findings[0].Group; g != nil && l.process == nil {
			g.taken = append(g.taken, l.findings[0].Candidate)
		}
		l.note(out, l.effect.String())
		return
	}
	e.conclude(ctx, l, out)
}

// prepareInTime looks a last time and prepares, again if that took so long that the
// look does not count any more.
func (e *Engine) prepareInTime(ctx context.Context, l *ladder, rung *rules.Rung) error {
	for range maxVain {
		l.looked = 0
		err := e.recheck(ctx, l)
		if err == nil {
			l.effect, err = e.prepare(ctx, l, rung)
		}
		counts := lookFor + time.Duration(len(l.findings)-1)*time.Millisecond // each takes its time
		if err != nil || l.looked == 0 || e.mono()-l.looked <= min(counts, max(lookFor, recentAtMost)).Seconds() {
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

func (e *Engine) prepare(ctx context.Context, l *ladder, rung *rules.Rung) (actions.Effect, error) {
	action, err := e.action(rung)
	if err != nil {
		return nil, err
	}
	return action.Prepare(ctx, e.target(l))
}

func (e *Engine) action(rung *rules.Rung) (actions.Action, error) {
	plugin, err := e.opts.Actions.Get(rung.Action)
	if err != nil {
		return nil, err
	}
	action, err := plugin.New(rung.Params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rung.Action, err)
	}
	return action, nil
}

func (e *Engine) target(l *ladder) actions.Target {
	t := actions.Target{Rule: l.rule.Name, Labels: l.rule.Labels, Process: l.process, Host: e.world.Host.Name}
	for _, f := range l.findings {
		if !f.NoSocket() && l.own(f) {
			t.Sockets = append(t.Sockets, f.seal())
		}
	}
	return t
}

// apply and applyAll are the one place where anything is done to the host. A dry
// run cannot get here, and does nothing if it does.
func (e *Engine) apply(ctx context.Context, l *ladder) actions.Outcome {
	if !e.opts.Live {
		return actions.Outcome{Result: actions.Would}
	}
	return l.effect.Apply(ctx)
}

func (e *Engine) applyAll(ctx context.Context, batcher actions.Batcher, effects []actions.Effect) []actions.Outcome {
	if !e.opts.Live {
		return slices.Repeat([]actions.Outcome{{Result: actions.Would}}, len(effects))
	}
	return batcher.ApplyAll(ctx, effects)
}

// settle gives the programs time to react, and verifies: first what has had that
// time while others were begun, then the rest.
func (e *Engine) settle(ctx context.Context, ladders []*ladder) {
	begun := slices.DeleteFunc(slices.Clone(ladders), func(l *ladder) bool { return l.done || l.waits })
	if len(begun) == 0 {
		return
	}
	before := e.now().Add(-e.settleTime)
	n := slices.IndexFunc(begun, func(l *ladder) bool { return l.applied.After(before) })
	if n > 0 {
		e.step(ctx, begun[:n])
		begun = begun[n:]
	}
	e.sleep(ctx, e.until(begun[len(begun)-1].applied.Add(e.settleTime)))
	e.step(ctx, begun)
}

// step verifies ladders that have been applied, and goes on to the next rung
// when the time of this one is over.
func (e *Engine) step(ctx context.Context, ladders []*ladder) {
	// Looking changes nothing: it is done also when asked to stop, so that the
	// report is true.
	outs := e.verify(context.WithoutCancel(ctx), ladders)
	for i, l := range ladders {
		if l.done || l.waits {
			continue
		}
		out := outs[i]
		l.pending = out.Pending
		if out.Pending && ctx.Err() != nil {
			out = l.effect.Verify(ctx) // asked to stop: it ends what is under way
		}
		unfinished := out.Result == actions.StillRunning || out.Result == actions.FDStillHeld
		// Asked to stop, nobody waits any more: what was done so far is written down.
		if out.Pending || unfinished && ctx.Err() == nil && e.now().Before(l.deadline) {
			l.note(out, l.effect.String())
			continue
		}
		if ctx.Err() == nil && e.heldBack(l, out.Result) {
			l.note(out, l.effect.String())
			continue
		}
		e.conclude(ctx, l, out)
	}
}

// conclude takes the final outcome of a rung: the ladder ends or climbs.
func (e *Engine) conclude(ctx context.Context, l *ladder, out actions.Outcome) {
	if out.Result == actions.Ended && out.Detail == "" {
		out.Detail = e.died(l)
	}
	what := l.action()
	if l.effect != nil {
		what = l.effect.String()
	}
	l.note(out, what)
	e.logOutcome(ctx, l, what, out)
	l.held = l.held || out.Result == actions.FDStillHeld
	e.heedHost(out)
	for e.hostError == nil && ctx.Err() == nil && out.Result != actions.Changed && l.nextRung() {
		start, err := e.climbs(ctx, l, out.Result)
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
			// What was to be done is done; that nothing follows is no failure.
			l.remark(err)
			e.log.LogAttrs(ctx, slog.LevelWarn, "ladder ends", slog.String("rule", l.rule.Name), slog.String("error", err.Error()))
			break
		}
		if err != nil {
			out := actions.OutcomeOf(err)
			l.note(out, l.action())
			e.logOutcome(ctx, l, l.action(), out)
			break
		}
		if start {
			e.startCooldowns([]*ladder{l}, &Report{})
			e.startRung(ctx, l)
			return
		}
	}
	l.done = true
}

// heedHost takes an outcome that says something about the host, not the target:
// nothing is tried any more.
func (e *Engine) heedHost(out actions.Outcome) {
	switch {
	case !out.Result.EndsAll():
	case out.Err != nil:
		e.hostError = out.Err
	case out.Result == actions.NotPermitted:
		e.hostError = collectors.ErrNotPermitted
	default:
		e.hostError = collectors.ErrNotSupported
	}
}
