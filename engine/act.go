package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
)

// settle is how long programs are given to react before an outcome is verified:
// a descriptor is closed within milliseconds by a program that notices.
const settle = 250 * time.Millisecond

// ladder is a rule's actions on one target, on its way.
type ladder struct {
	program *rules.Program
	rule    *rules.Rule
	rung    int
	// findings are those that share the target: one for a socket, all of one
	// process for an action on it.
	findings []*Finding
	slots    []int             // where each finding has the result of this rung, -1 for nowhere yet
	process  *collectors.Owner // nil for actions on sockets
	effect   actions.Effect
	deadline time.Time // of the rung's wait
	held     bool      // the socket is destroyed, and its process keeps the descriptor
	harm     int       // established connections that die with the process
	counted  bool      // among what the rule has acted on
	signals  bool      // an earlier rung was for the process: its cool-down is this ladder's own
	done     bool
}

func newLadder(p *rules.Program, f *Finding, process *collectors.Owner) *ladder {
	return &ladder{program: p, rule: f.Rule, findings: []*Finding{f}, slots: []int{-1}, process: process}
}

// act starts the ladders of everything that was decided on, and takes each of
// them as far as it goes without waiting for longer than it takes to settle.
func (e *Engine) act(ctx context.Context, c *cycle) {
	e.signalled, e.begun, e.before = map[string]bool{}, map[string]bool{}, map[string]cooldown{}
	ladders := e.ladderPerTarget(c)
	if e.opts.Live {
		e.startCooldowns(ladders, c.report)
	}
	e.start(ctx, ladders)
	if e.opts.Live && e.saved == 0 { // cool-downs were taken back: also for the next run
		if err := e.save(); err != nil {
			c.warn(err)
		}
	}
	e.settle(ctx, ladders)
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
		if err != nil || !plugin.OnProcess {
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
			l.harm = e.collateral(c, f.Candidate, o, &plugin).n
			byProcess[key] = l
			ladders = append(ladders, l)
		}
	}
	return ladders
}

// startCooldowns notes and keeps, before anything is done, that it will be: a
// crash in between must not lead to doing it twice.
func (e *Engine) startCooldowns(ladders []*ladder, r *Report) {
	now, any := monotonic(), false
	for _, l := range ladders {
		plugin, err := e.opts.Actions.Get(l.rule.Then[l.rung].Action)
		if err != nil || plugin.Harmless {
			continue
		}
		for _, f := range l.findings {
			for k, length := range coolKeys(f, &plugin) {
				if _, noted := e.before[k]; !noted && e.before != nil {
					e.before[k] = e.memory.cooldowns[k]
				}
				e.memory.cool(k, length, now)
				any = true
			}
		}
		if !l.counted {
			l.counted = true
			e.memory.acted(l.rule.Name, now)
		}
	}
	if !any {
		return
	}
	if err := e.save(); err != nil {
		e.hostError = fmt.Errorf("cool-downs cannot be kept, so nothing is done: %w", err)
		r.Errors = append(r.Errors, e.hostError)
	}
}

// start prepares and applies the current rung of each ladder.
func (e *Engine) start(ctx context.Context, ladders []*ladder) {
	for _, l := range ladders {
		if ctx.Err() != nil {
			// Asked to stop: what has not begun is left alone.
			e.untouched(l)
			l.finish(actions.Outcome{Result: actions.Failed, Err: context.Cause(ctx)}, l.action())
			continue
		}
		e.startRung(ctx, l)
	}
}

// untouched takes back the cool-downs of a ladder that did nothing.
func (e *Engine) untouched(l *ladder) {
	plugin, err := e.opts.Actions.Get(l.action())
	if err != nil || plugin.Harmless || l.rung > 0 || !e.opts.Live {
		return
	}
	for _, f := range l.findings {
		for k := range coolKeys(f, &plugin) {
			if !e.begun[k] { // by another ladder, for the same peer or process
				e.memory.restore(k, e.before[k])
			}
		}
	}
	e.saved = 0 // to be written down at the next occasion
}

// begin notes that the cool-downs of a ladder are for something that is done.
func (e *Engine) begin(l *ladder) {
	plugin, err := e.opts.Actions.Get(l.action())
	if err != nil || plugin.Harmless {
		return
	}
	now := monotonic()
	for _, f := range l.findings {
		for k, length := range coolKeys(f, &plugin) {
			if _, noted := e.memory.cooldowns[k]; !noted { // another ladder took it back
				e.memory.cool(k, length, now)
			}
			e.begun[k] = true
		}
	}
}

func (l *ladder) action() string { return l.rule.Then[l.rung].Action }

func (e *Engine) startRung(ctx context.Context, l *ladder) {
	rung := &l.rule.Then[l.rung]
	if e.hostError != nil {
		e.untouched(l)
		l.finish(hostOutcome(e.hostError), rung.Action)
		return
	}
	err := e.recheck(ctx, l)
	var effect actions.Effect
	if err == nil {
		effect, err = e.prepare(ctx, l, rung)
	}
	if err != nil {
		out := actions.OutcomeOf(err)
		l.finish(out, rung.Action)
		switch {
		case !e.opts.Live:
		case out.Result == actions.Changed:
			e.auditOutcome(l, rung.Action, out)
		default:
			e.logOutcome(ctx, l, rung.Action, out)
			e.heedHost(out)
		}
		return
	}
	l.effect = effect
	if !e.opts.Live {
		l.finish(actions.Outcome{Result: actions.Would, Detail: l.collateral("would die with it")}, effect.String())
		return
	}
	if e.pausedNow(l) {
		e.untouched(l)
		return
	}
	if l.process != nil {
		l.signals = true
		plugin, _ := e.opts.Actions.Get(rung.Action)
		e.signalled[targetKey(l.process, &plugin)] = true
	}
	e.begin(l)
	out := e.apply(ctx, l)
	l.deadline = time.Now().Add(max(rung.Wait, e.settleTime))
	if out.Result.Succeeded() {
		l.note(out, effect.String())
		return // verified later
	}
	e.conclude(ctx, l, out)
}

func hostOutcome(err error) actions.Outcome {
	out := actions.OutcomeOf(err)
	if !out.Result.EndsAll() {
		out.Result = actions.Failed
	}
	return out
}

func (e *Engine) prepare(ctx context.Context, l *ladder, rung *rules.Rung) (actions.Effect, error) {
	plugin, err := e.opts.Actions.Get(rung.Action)
	if err != nil {
		return nil, err
	}
	action, err := plugin.New(rung.Params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rung.Action, err)
	}
	t := actions.Target{Rule: l.rule.Name, Labels: l.rule.Labels, Process: l.process, Host: e.host}
	for _, f := range l.findings {
		if !f.NoSocket() {
			t.Sockets = append(t.Sockets, f.seal())
		}
	}
	return action.Prepare(ctx, t)
}

// apply is the one place where anything is done to the host. A dry run cannot
// get here, and does nothing if it does.
func (e *Engine) apply(ctx context.Context, l *ladder) actions.Outcome {
	if !e.opts.Live {
		return actions.Outcome{Result: actions.Would}
	}
	return l.effect.Apply(ctx)
}

// settle gives the programs time to react, once for all ladders, and verifies.
func (e *Engine) settle(ctx context.Context, ladders []*ladder) {
	waiting := false
	for _, l := range ladders {
		waiting = waiting || !l.done
	}
	if !waiting {
		return
	}
	sleep(ctx, e.settleTime)
	for _, l := range ladders {
		e.step(ctx, l)
	}
}

// step verifies a ladder that has been applied, and goes on to the next rung
// when the time of this one is over.
func (e *Engine) step(ctx context.Context, l *ladder) {
	if l.done {
		return
	}
	// Looking changes nothing: it is done also when asked to stop, so that the
	// report is true.
	out := l.effect.Verify(context.WithoutCancel(ctx))
	if out.Pending && ctx.Err() != nil {
		out = l.effect.Verify(ctx) // asked to stop: it ends what is under way
	}
	unfinished := out.Result == actions.StillRunning || out.Result == actions.FDStillHeld
	// Asked to stop, nobody waits any more: what was done so far is written down.
	if out.Pending || unfinished && ctx.Err() == nil && time.Now().Before(l.deadline) {
		l.note(out, l.effect.String())
		return
	}
	e.conclude(ctx, l, out)
}

// collateral says how many healthy connections go with the process of a ladder.
func (l *ladder) collateral(what string) string {
	if l.harm > 0 && l.process != nil {
		return fmt.Sprintf("%d established connection(s) %s", l.harm, what)
	}
	return ""
}

// conclude takes the final outcome of a rung: the ladder ends or climbs.
func (e *Engine) conclude(ctx context.Context, l *ladder, out actions.Outcome) {
	if out.Result == actions.Ended && out.Detail == "" {
		out.Detail = l.collateral("died with it")
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

// nextRung moves on to the next rung; false if there is none.
func (l *ladder) nextRung() bool {
	if l.rung+1 >= len(l.rule.Then) {
		return false
	}
	l.rung++
	l.effect = nil
	for i := range l.slots {
		l.slots[i] = -1
	}
	return true
}

// errLadderEnds says that no further rung is for the target.
var errLadderEnds = errors.New("the ladder ends")

// climbs reports whether the current rung is to be started after the result of
// the one before. After a success only a rung that asks for the result is.
func (e *Engine) climbs(ctx context.Context, l *ladder, before actions.Result) (bool, error) {
	rung := &l.rule.Then[l.rung]
	plugin, err := e.opts.Actions.Get(rung.Action)
	if err != nil {
		return false, err
	}
	if !before.Climbs() && !rung.ReadsResult() {
		return false, nil
	}
	f, err := e.leftOf(ctx, l, before)
	if f == nil || err != nil {
		return false, err
	}
	if rung.If != nil && f.evalAfter(rung.If, before) != rules.True {
		// What stands behind it without a condition of its own was to come after it.
		if next := l.rung + 1; next < len(l.rule.Then) && l.rule.Then[next].If == nil {
			return false, errLadderEnds
		}
		return false, nil
	}
	if plugin.OnProcess && l.process == nil {
		switch len(f.Facts.Owners) {
		case 1:
			l.process = &f.Facts.Owners[0]
		case 0:
			return false, fmt.Errorf("%s: no process has it", rung.Action) //nolint:err113 // for people
		default:
			return false, fmt.Errorf("%s: %d processes hold it: only the first action of a rule can be for several", rung.Action, len(f.Facts.Owners)) //nolint:err113 // for people
		}
	}
	if why := e.guard(f.Candidate, rung); why != "" {
		return false, fmt.Errorf("%s: guarded: %s", rung.Action, why) //nolint:err113 // for people
	}
	if plugin.OnProcess {
		h := e.collateral(&cycle{}, f.Candidate, l.process, &plugin)
		f.Collateral, l.harm = h.n, h.n
		if why := h.exceeds(l.rule.Limits.MaxCollateral); why != "" {
			return false, fmt.Errorf("%s: %s", rung.Action, why) //nolint:err113 // for people
		}
	}
	if plugin.OnProcess && !l.signals {
		key := targetKey(l.process, &plugin)
		if e.signalled[key] || e.memory.coolingDown(key, l.rule.Limits.Cooldown, monotonic()) > 0 {
			return false, errLadderEnds // another ladder is at it, or was
		}
	}
	return true, nil
}

// leftOf returns the first finding of a ladder that the next rung may be for,
// nil for none: freshly looked up it still matches and nothing spares it. Of a
// socket that is destroyed only the descriptor is left: that its process still
// has it is for the action to prove.
func (e *Engine) leftOf(ctx context.Context, l *ladder, before actions.Result) (*Finding, error) {
	for _, f := range l.findings {
		if before.Climbs() && !l.held {
			fresh, err := e.fresh(ctx, l.program, l.rule, f.Candidate)
			if errors.Is(err, collectors.ErrGone) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if fresh.eval(l.rule.When) != rules.True {
				continue
			}
			f.Candidate = fresh
		}
		if !f.exempt(l.program, l.rule, time.Now()) {
			return f, nil
		}
	}
	return nil, nil
}

// finish ends a ladder with an outcome of its current rung.
func (l *ladder) finish(out actions.Outcome, what string) {
	l.note(out, what)
	l.done = true
}

// note sets the result of the current rung in all findings of the target.
func (l *ladder) note(out actions.Outcome, what string) {
	for i, f := range l.findings {
		if l.slots[i] < 0 {
			l.slots[i] = len(f.Actions)
			f.Actions = append(f.Actions, ActionResult{})
		}
		f.Actions[l.slots[i]] = resultOf(out, what)
	}
}

// remark adds to the last result why nothing follows.
func (l *ladder) remark(err error) {
	for _, f := range l.findings {
		if n := len(f.Actions); n > 0 {
			f.Actions[n-1].Detail = strings.TrimPrefix(f.Actions[n-1].Detail+"; "+err.Error(), "; ")
		}
	}
}

func resultOf(out actions.Outcome, what string) ActionResult {
	r := ActionResult{Action: what, Result: out.Result, Detail: out.Detail}
	if out.Err != nil {
		r.Error = out.Err.Error()
	}
	return r
}

// Pending reports whether ladders wait, and until when the next of them does.
func (e *Engine) Pending() (until time.Time, ok bool) {
	for _, l := range e.ladders {
		if !ok || l.deadline.Before(until) {
			until, ok = l.deadline, true
		}
	}
	return until, ok
}

// Step looks at the ladders that wait, and takes those further whose time has
// come.
func (e *Engine) Step(ctx context.Context) {
	var waiting []*ladder
	for _, l := range e.ladders {
		e.step(ctx, l)
		if !l.done {
			waiting = append(waiting, l)
		}
	}
	e.ladders = waiting
}

// Finish waits for the ladders that wait, and completes the report.
func (e *Engine) Finish(ctx context.Context, r *Report) {
	for len(e.ladders) > 0 && ctx.Err() == nil {
		sleep(ctx, 50*time.Millisecond)
		e.Step(ctx)
	}
	if ctx.Err() != nil {
		e.Step(ctx) // what is under way is ended
		e.abandonAll()
	}
	r.HostError = e.hostError
	r.count()
}

// cancelLadders ends the ladders of rules that are no more, or changed. The
// others go on under the new generation, which may protect more.
func (e *Engine) cancelLadders(p *rules.Program) {
	var kept []*ladder
	for _, l := range e.ladders {
		if now := p.Rule(l.rule.Name); now != nil && now.Fingerprint == l.rule.Fingerprint {
			l.program, l.rule = p, now
			kept = append(kept, l)
			continue
		}
		e.abandon(l)
		e.log.Info("ladder cancelled, its rule changed", "rule", l.rule.Name, "action", l.action())
	}
	e.ladders = kept
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
