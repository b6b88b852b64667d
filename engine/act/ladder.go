package act

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// ladder is a rule's actions on one target, under way.
type ladder struct {
	number  int // among those of its cycle
	program *rules.Program
	rule    *rules.Rule
	// findings are those that share the target: one for a socket, all of one
	// process for an action on it.
	findings []*subject
	slots    []int             // index of this rung's result in each finding, -1 for none yet
	process  *collectors.Owner // nil for actions on sockets
	harm     look.Harm         // what dies with the process
	stand
	account
	held bool // the socket is destroyed, and its process keeps the descriptor
	last bool // its rule is no more: what runs for it may end, and nothing follows
	done bool
}

// stand is where a ladder stands.
type stand struct {
	rung     int
	effect   actions.Effect
	batcher  actions.Batcher // what prepared the effect together with others, nil if nothing did
	looked   float64         // when the last look began, on CLOCK_MONOTONIC
	applied  time.Time       // when the effect was
	Deadline time.Time       // of the rung's wait
	pending  bool            // its effect was under way at the last look
	waits    bool            // for one of the programs that run to end
}

// account is what a ladder has used up of cool-downs and limits.
type account struct {
	counted  bool // among what the rule has acted on
	promised bool // its cool-downs are noted, and it has not begun
	began    bool // something was done that has to cool down
	signals  bool // an earlier rung was for the process: its cool-down is this ladder's own
}

func newLadder(number int, p *rules.Program, f *subject, process *collectors.Owner) *ladder {
	return &ladder{number: number, program: p, rule: f.Rule, findings: []*subject{f}, slots: []int{-1}, process: process}
}

// own reports whether a finding belongs to the ladder's rule, and not to another rule for
// the same process.
func (l *ladder) own(f *subject) bool { return f.Rule.Name == l.rule.Name }

// ruleOf returns the rule of a finding as the ladder's program has it, nil if it
// has changed since.
func (l *ladder) ruleOf(f *subject) *rules.Rule {
	if f.Rule == l.rule {
		return l.rule
	}
	if r := l.program.Rule(f.Rule.Name); r != nil && r.Fingerprint == f.Rule.Fingerprint {
		return r
	}
	return nil
}

// at is where the ladder stands.
func (l *ladder) at() judge.Place { return judge.Place{Rule: l.rule, Rung: l.rung} }

func (l *ladder) action() string { return l.rule.Then[l.rung].Action }

// bound is the action of a ladder's current rung.
func (l *ladder) bound() *actions.Bound { return catalog.Bound(&l.rule.Then[l.rung]) }

// nextRung moves on to the next rung; false if there is none.
func (l *ladder) nextRung() bool {
	if l.last || l.rung+1 >= len(l.rule.Then) {
		return false
	}
	l.rung++
	l.effect, l.batcher = nil, nil
	for i := range l.slots {
		l.slots[i] = -1
	}
	return true
}

// errLadderEnds says that no further rung is for the target.
var errLadderEnds = errors.New("the ladder ends")

// climbs reports whether to start the current rung after the result of the previous one.
// After a success only a rung that asks for the result starts.
func (h *Hand) climbs(ctx context.Context, l *ladder, before actions.Result) (bool, error) {
	rung := &l.rule.Then[l.rung]
	plugin := catalog.Bound(rung)
	// A UDP server whose socket could not be destroyed is healthy.
	healthy := l.findings[0].Socket.Protocol == collectors.UDP
	if (healthy || !before.Climbs()) && !rung.ReadsResult() {
		return false, nil
	}
	// After a success nothing may be left to look at: startRung finds out.
	if before.Climbs() || l.held {
		if err := h.Last.again(ctx, l, nil); err != nil {
			return false, err
		}
	}
	if err := h.climbsTwice(ctx, l, plugin.Plugin); err != nil {
		return false, err
	}
	i := slices.IndexFunc(l.findings, l.own)
	if i < 0 {
		return false, nil
	}
	f := l.findings[i].latest()
	if rung.If != nil && f.EvalAfter(rung.If, before) != rules.True {
		// A next rung without a condition was meant to follow this one.
		if next := l.rung + 1; next < len(l.rule.Then) && l.rule.Then[next].If == nil {
			return false, errLadderEnds
		}
		return false, nil
	}
	if plugin.OnProcess() && l.process == nil {
		switch owners := f.Processes(plugin); len(owners) {
		case 1:
			l.process = &owners[0]
		case 0:
			return false, fmt.Errorf("%s: no process has it", rung.Action) //nolint:err113 // for people
		default:
			return false, fmt.Errorf("%s: %d processes hold it (%s): only the first action of a rule can be for several",
				rung.Action, len(owners), collectors.OwnerNames(owners)) //nolint:err113 // for people
		}
	}
	if why := h.judge.Guard(f, rung); why != "" {
		return false, fmt.Errorf("%s: guarded: %s", rung.Action, why) //nolint:err113 // for people
	}
	if plugin.OnProcess() {
		h := h.harms.Of(ctx, &look.Picture{}, f, l.process, plugin)
		l.findings[i].Collateral, l.harm = len(h.Connections), h
		if why := h.Exceeds(l.rule.Limits.MaxCollateral); why != "" {
			return false, fmt.Errorf("%s: %s", rung.Action, why) //nolint:err113 // for people
		}
	}
	if plugin.OnProcess() && !l.signals {
		key := look.TargetKey(l.process, plugin.Plugin)
		if h.signalled[key] || h.cooling.memory.CoolingDown(key, l.rule.Limits.Cooldown, h.world.Mono()) > 0 {
			return false, errLadderEnds // another ladder acts on it, or has
		}
	}
	return true, nil
}

// outcome returns the outcome of the ladder's current rung, for the report.
func (l *ladder) outcome(what string, out actions.Outcome) *report.Outcome {
	o := &report.Outcome{Generation: l.program.Generation, Rule: l.rule.Name, Process: l.process, Action: l.action(), Effect: what, Outcome: out}
	for _, f := range l.findings {
		o.Findings = append(o.Findings, f.Finding)
	}
	return o
}

// target is what the ladder acts on.
func (l *ladder) target(host string) actions.Target {
	t := actions.Target{Rule: l.rule.Name, Labels: l.rule.Labels, Process: l.process, Host: host}
	for _, f := range l.findings {
		if !f.NoSocket() && l.own(f) {
			t.Sockets = append(t.Sockets, f.Seal())
		}
	}
	return t
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
			f.Actions = append(f.Actions, report.ActionResult{})
		}
		f.Actions[l.slots[i]] = l.result(out, what)
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

func (l *ladder) result(out actions.Outcome, what string) report.ActionResult {
	r := report.ActionResult{Action: l.action(), Result: out.Result, Detail: out.Detail, Ladder: l.number}
	if k, ok := l.effect.(actions.Keeping); ok && out.Result == actions.FDStillHeld {
		r.Keepers = k.Keepers()
	}
	if l.process != nil {
		r.Process, r.PID = l.process.Name, l.process.PID
	}
	if what != r.Action {
		r.Effect = what
	}
	if out.Err != nil {
		r.Error = out.Err.Error()
	}
	return r
}

// wouldDie says how many healthy connections would die with the process of a ladder, "" if
// none would.
func (l *ladder) wouldDie() string {
	if n := len(l.harm.Connections); n > 0 && l.process != nil {
		return collectors.Counted(n, "established connection") + " would die with it"
	}
	return ""
}

// Pending reports whether ladders wait, and when the next of them is due.
func (h *Hand) Pending() (until time.Time, ok bool) {
	for _, l := range h.Ladders {
		if !ok || l.Deadline.Before(until) {
			until, ok = l.Deadline, true
		}
	}
	return until, ok
}

// StepAll verifies the waiting ladders, and takes on those whose time has come.
func (h *Hand) StepAll(ctx context.Context) {
	var waiting []*ladder
	h.Last.queue = h.Ladders
	h.step(ctx, h.Ladders)
	for _, l := range h.Ladders {
		if l.waits && ctx.Err() == nil {
			h.startRung(ctx, l)
		}
	}
	h.Last.queue, h.Last.counted = nil, recount{}
	for _, l := range h.Ladders {
		if !l.done {
			waiting = append(waiting, l)
		}
	}
	h.Ladders = waiting
}

// Finish waits until no ladder waits any more, or until ctx ends.
func (h *Hand) Finish(ctx context.Context, r *report.Report) {
	for len(h.Ladders) > 0 && ctx.Err() == nil {
		world.Sleep(ctx, h.world, 50*time.Millisecond)
		h.StepAll(ctx)
	}
	if ctx.Err() != nil {
		h.StepAll(ctx) // ends what is under way
		h.AbandonAll(ctx)
	}
	if err := h.cooling.keepTakenBack(); err != nil {
		r.Errors = append(r.Errors, err)
	}
	r.HostError = h.hostError
}

// runs reports whether a program runs for a ladder: it may finish, but nothing follows it.
func (h *Hand) runs(ctx context.Context, l *ladder) bool {
	if l.done || l.effect == nil || !l.last && !l.effect.Verify(context.WithoutCancel(ctx)).Pending {
		return false
	}
	if !l.last {
		l.last = true
		h.log.Info("its rule changed: its program may finish, but nothing follows", "rule", l.rule.Name, "action", l.action())
	}
	return true
}

// CancelLadders ends the ladders of rules that are gone or have changed. The others go on
// under the new generation, which may protect more.
func (h *Hand) CancelLadders(ctx context.Context, p *rules.Program) {
	var kept []*ladder
	for _, l := range h.Ladders {
		if now := p.Rule(l.rule.Name); now != nil && now.Fingerprint == l.rule.Fingerprint {
			l.program, l.rule = p, now
			kept = append(kept, l)
			continue
		}
		if h.runs(ctx, l) {
			kept = append(kept, l)
			continue
		}
		h.abandon(ctx, l, errRuleChanged)
		h.log.Info("ladder cancelled, its rule changed", "rule", l.rule.Name, "action", l.action())
	}
	h.Ladders = kept
}
