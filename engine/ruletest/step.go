package ruletest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/engine/report"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
)

// play is a test under way.
type play struct {
	*stage
	coverage *Coverage
	due      time.Time      // the next regular look
	next     time.Time      // when something ripens, zero for nothing
	report   *report.Report // of the last look
	// decided is the last decision about each socket since something was expected, by rule.
	decided map[identity]map[string]*report.Finding
	seen    int // effects that were expected already
	result  *TestResult
}

// run runs one test.
func (f *file) run(ctx context.Context, i int, coverage *Coverage) (*TestResult, error) {
	p, err := f.begin(i, coverage)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	err = p.steps(ctx, f.selects[i], func(step *rules.TestStep, expect []*selected, at stepPlace) bool {
		p.compare(ctx, step, expect, at)
		return len(p.result.Failures) == 0 // the steps that follow count on this one
	})
	return p.result, err
}

// begin sets the stage of a test.
func (f *file) begin(i int, coverage *Coverage) (*play, error) {
	t := f.Tests[i]
	var s *stage
	var err error
	if f.recorded[i] != nil {
		s, err = newReplay(t, f.programs[i], f.recorded[i])
	} else {
		s, err = newStage(t, f.programs[i], f.worlds[i])
	}
	if err != nil {
		return nil, err
	}
	p := &play{stage: s, coverage: coverage, result: &TestResult{Name: t.Name, Line: t.At.Line}, decided: map[identity]map[string]*report.Finding{}}
	if coverage != nil {
		coverage.enter(p.program)
	}
	return p, nil
}

// steps plays the test. After each step that expects something it asks whether to go on.
func (p *play) steps(ctx context.Context, expect [][]*selected, told func(*rules.TestStep, []*selected, stepPlace) bool) error {
	if err := p.look(ctx); err != nil {
		return err
	}
	end, all := p.began, p.test.Steps
	for n, step := range all {
		end = end.Add(step.Advance)
		changed, err := p.pass(ctx, step, end)
		if err != nil {
			return err
		}
		if !step.Expects {
			continue
		}
		place := stepPlace{number: n + 1, after: end.Sub(p.began), changed: changed}
		if len(all) == 1 && step.Advance == 0 {
			place.number = 0
		}
		if p.test.From != nil {
			if err := p.recall(ctx, expect[n]); err != nil {
				return err
			}
		}
		if p.coverage != nil {
			p.coverage.note(p)
			if err := p.coverage.groups(ctx, p); err != nil {
				return err
			}
		}
		if !told(step, expect[n], place) {
			break
		}
		p.decided, p.seen = map[identity]map[string]*report.Finding{}, len(p.world.Done)
	}
	return nil
}

// pass lets the time of a step pass, and looks whenever a watcher would; then it changes
// what the step says, and looks once more. It says whether anything has changed.
func (p *play) pass(ctx context.Context, step *rules.TestStep, end time.Time) (changed bool, err error) {
	if step.Outcomes != nil {
		p.outcomes = append(p.outcomes, step.Outcomes)
	}
	for p.machine.Now().Before(end) {
		looks := p.advance(end)
		p.Step(ctx)
		if looks && p.machine.Now().Before(end) {
			if err := p.look(ctx); err != nil {
				return false, err
			}
		}
	}
	if changed, err = p.changes(step); err != nil {
		return false, err
	}
	if changed || step.Advance > 0 {
		err = p.look(ctx)
	}
	return changed, err
}

// advance moves the clock to whatever comes first: the end, the next look, or the time of a
// rung. It says whether it is a look.
func (p *play) advance(end time.Time) (looks bool) {
	at, looks := p.due, true
	now := p.machine.Now()
	if next := p.next; next.After(now) && next.Before(at) {
		at = next
	}
	if until, ok := p.Pending(); ok && until.Before(at) {
		at, looks = until, false
	}
	if !at.Before(end) {
		at, looks = end, true
	}
	p.machine.Advance(max(at.Sub(now), time.Millisecond))
	return looks
}

// look runs a cycle and notes what it decides.
func (p *play) look(ctx context.Context) error {
	p.due = p.machine.Now().Add(p.test.Interval)
	r, err := p.Cycle(ctx, p.program)
	if err != nil {
		return fmt.Errorf("test %q: %w", p.test.Name, err)
	}
	p.report, p.next = r, r.Next
	delete(p.decided, p.nobody.identity())
	if p.test.From != nil {
		clear(p.decided) // all sockets are still there
	}
	for _, a := range p.actors {
		if p.there(a) {
			delete(p.decided, a.identity())
		}
	}
	for _, f := range r.Findings {
		of := p.decided[identityOf(&f.Socket)]
		if of == nil {
			of = map[string]*report.Finding{}
			p.decided[identityOf(&f.Socket)] = of
		}
		of[f.Rule.Name] = f
	}
	if p.coverage != nil {
		p.coverage.note(p)
	}
	return nil
}

// changes does what a step says.
func (p *play) changes(step *rules.TestStep) (changed bool, err error) {
	for _, t := range step.Set {
		for _, a := range p.named(t.Name) {
			if err := p.change(a, t); err != nil {
				return false, fmt.Errorf("test %q: socket %s: %w", p.test.Name, t.Name, err)
			}
			changed = true
		}
	}
	for _, t := range step.Add {
		if err := p.enter(t); err != nil {
			return false, err
		}
		changed = true
	}
	for _, name := range step.Remove {
		for _, a := range p.named(name.Name) {
			p.world.Remove(a.sock)
			changed = true
		}
	}
	return changed, nil
}

// named are the sockets of that name.
func (c *cast) named(name string) (all []*actor) {
	for _, a := range c.actors {
		if a.said.Name == name {
			all = append(all, a)
		}
	}
	return all
}

// comes is the outcome of an effect, as the socket, the step or the test says.
func (s *stage) comes(e scripted.Effect) (scripted.Outcome, bool) {
	said := slices.Clone(s.outcomes)
	for _, cookie := range e.Cookies {
		if a := s.byCookie[cookie]; a != nil && a.outcomes != nil {
			said = append(said, a.outcomes)
		}
	}
	for _, outcomes := range slices.Backward(said) {
		for _, name := range []string{e.Called, e.Action} {
			all := outcomes[name]
			if len(all) == 0 {
				continue
			}
			if len(all) > 1 {
				outcomes[name] = all[1:]
			}
			return scripted.Outcome{Result: actions.Result(all[0])}, true
		}
	}
	return scripted.Outcome{}, false
}

// effects are those on a socket since something was expected: what was done or, in a dry
// test, what would be.
func (p *play) effects(a *actor) []string {
	var all []string
	if !p.test.Live {
		for _, f := range p.decided[a.identity()] {
			for _, one := range f.Actions {
				if one.Result == actions.Would {
					all = append(all, effectOf(&one))
				}
			}
		}
		return all
	}
	for _, e := range p.world.Done[p.seen:] {
		if slices.Contains(e.Cookies, a.sock.Cookie) || a == p.nobody && len(e.Cookies) == 0 {
			all = append(all, e.Called)
		}
	}
	return all
}

func effectOf(r *report.ActionResult) string {
	if r.Effect != "" {
		return r.Effect
	}
	return r.Action
}

// isEffect reports whether an effect is the one that a test names: an action, or one with
// its main parameter.
func isEffect(effect, named string) bool {
	return effect == named || strings.HasPrefix(effect, named+" ")
}
