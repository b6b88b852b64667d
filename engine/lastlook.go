package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

const (
	// The answer to the question who holds the sockets, and how many a group has, may be
	// this old when something is done: four times as long as it takes to ask, so that
	// asking takes a fifth of the time, within these bounds.
	recentAtLeast, recentAtMost = 25 * time.Millisecond, 250 * time.Millisecond
	// renewedAtOnce is for how many ladders everybody is asked at a time: more
	// could not be acted on before the answer is too old.
	renewedAtOnce = 16384
)

// latest is the finding's socket with those who hold it as they were last seen.
func (f *Finding) latest() *Candidate {
	if f.renewed != nil {
		return f.renewed
	}
	return f.Candidate
}

// recentFor is how old these answers may be on this machine.
func (e *Engine) recentFor() time.Duration { return min(max(recentAtLeast, 4*e.asking), recentAtMost) }

// recent reports whether it is known well enough who holds the sockets of a ladder.
func (e *Engine) recent(l *ladder) bool {
	return !slices.ContainsFunc(l.findings, func(f *Finding) bool {
		return !f.NoSocket() && e.now().Sub(f.latest().ownersAt) > e.recentFor()
	})
}

// ready asks everybody again who holds the sockets of ladders if the last answer
// is too old; one walk is for all ladders that may begin soon.
func (e *Engine) ready(ctx context.Context, ladders ...*ladder) error {
	if !slices.ContainsFunc(ladders, func(l *ladder) bool { return !e.recent(l) }) {
		return nil
	}
	var findings []*Finding
	known := map[*Finding]bool{}
	for i, l := range slices.Concat(ladders, e.queue) {
		if i >= len(ladders) && (l.done || l.effect != nil && l.rung+1 >= len(l.rule.Then) || i > renewedAtOnce) {
			continue // nothing will be done for it any more, or not soon
		}
		for _, f := range l.findings {
			if !f.NoSocket() && !known[f] {
				known[f] = true
				findings = append(findings, f)
			}
		}
	}
	return e.renewOwners(ctx, ladders[0].program, findings)
}

// renewOwners looks who holds the sockets of findings now, and who listens where
// they wait to be accepted.
func (e *Engine) renewOwners(ctx context.Context, p *rules.Program, findings []*Finding) error {
	c := &cycle{program: p, plan: e.plan(p), report: &Report{}}
	namespaces := map[*namespace]*namespace{}
	for _, f := range findings {
		cand := f.clone()
		cand.forgetOwners()
		ns, ok := namespaces[cand.ns]
		if !ok {
			again := *cand.ns
			again.asked, again.listening, again.listeners = false, false, nil
			ns = &again
			namespaces[cand.ns] = ns
		}
		cand.ns = ns
		c.candidates = append(c.candidates, cand)
	}
	e.findListeners(ctx, c)
	if err := e.findOwners(ctx, c); err != nil {
		return err
	}
	for i, f := range findings {
		f.renewed = c.candidates[i]
	}
	return nil
}

// glimpse returns the socket of a finding with those who were found to hold it
// as these are at this very moment.
func glimpse(g world.Glance, f *Finding) *Candidate {
	now := f.latest().clone()
	if len(now.Facts.Owners) > 0 {
		owners, unseen := g.Holders(now.Facts.Owners, now.Socket.Inode)
		now.holders(owners, unseen > 0)
	}
	return now
}

// lookUpAll looks the sockets of findings up as they are now; of each it returns
// the record or an error.
func (e *Engine) lookUpAll(ctx context.Context, findings []*Finding) ([]collectors.Socket, []error) {
	now, errs := make([]collectors.Socket, len(findings)), make([]error, len(findings))
	byNS := map[*namespace][]int{}
	for i, f := range findings {
		if !f.NoSocket() {
			byNS[f.ns] = append(byNS[f.ns], i)
		}
	}
	for ns, places := range byNS {
		socks := make([]*collectors.Socket, len(places))
		for k, i := range places {
			socks[k] = &findings[i].Socket
		}
		found, each, err := e.world.Sockets.LookUp(ctx, &ns.Namespace, socks)
		if errors.Is(err, fs.ErrNotExist) { // and all its sockets with it
			err = fmt.Errorf("%w: %w", collectors.ErrGone, err)
		}
		for k, i := range places {
			if err != nil {
				errs[i] = err
				continue
			}
			now[i], errs[i] = found[k], each[k]
		}
	}
	return now, errs
}

// verdict compares what was decided about a finding with what it is now, the
// socket looked up since began (CLOCK_MONOTONIC): nil if the same would be
// decided. Of a socket that is destroyed only its descriptor is left.
func (e *Engine) verdict(l *ladder, f *Finding, now *Candidate, began float64) error {
	rule := l.ruleOf(f)
	if rule == nil {
		return actions.Changedf("rule %s has changed", f.Rule.Name)
	}
	if l.held && len(now.Facts.Owners) == 0 {
		return fmt.Errorf("nobody has the descriptor any more: %w", collectors.ErrGone)
	}
	if !l.held {
		key := collectors.KeyOf(&now.Socket)
		switch was := collectors.KeyOf(&f.Socket); {
		case key.State != was.State:
			return actions.Changedf("it is %s now", now.Socket.State)
		case key != was:
			return actions.Changedf("it is another connection now")
		}
		at := e.mono()
		now.setAge(e.memory.recall(key, markOf(&now.Socket, began, at), e.shownAge(&now.Socket, at), began, at))
		if since := e.memory.since(key); f.since > 0 && since > f.since {
			return actions.Changedf("it is another connection now") // on the same descriptor, which the counters show
		}
	}
	if o := newHolder(f.Facts.Owners, now.Facts.Owners); o != nil {
		return actions.Changedf("%s[%d] holds it now", o.Name, o.PID)
	}
	if v := now.eval(rule.When); v != rules.True {
		return actions.Changedf("%s does not match any more%s", rule.Name, notKnown(v))
	}
	if why := now.exempt(l.program, rule, e.now()); why != "" {
		return actions.Changedf("%s spares it now", why)
	}
	return e.newerSpares(l, f, now)
}

// allowed is a ChangedError if a guard, or the rung itself, spares what is about to
// be acted on.
func (e *Engine) allowed(l *ladder, now *Candidate) error {
	rung := &l.rule.Then[l.rung]
	if cond := rung.If; cond != nil && l.rung == 0 && now.eval(cond) != rules.True {
		return actions.Changedf("if of %s does not hold any more", l.rule.Name)
	}
	if why := e.guard(now, rung); why != "" {
		return actions.Changedf("guarded by now: %s", why)
	}
	return nil
}

// newHolder returns a process that holds a socket and did not when it was decided
// about, nil if there is none.
func newHolder(was, now []collectors.Owner) *collectors.Owner {
	for i := range now {
		o := &now[i]
		if !slices.ContainsFunc(was, func(w collectors.Owner) bool { return w.PID == o.PID && w.StartTime == o.StartTime }) {
			return o
		}
	}
	return nil
}

// recount is a look at all sockets, for the groups of a program as they are now.
type recount struct {
	*cycle
	at time.Time
}

// stillGroup is a ChangedError if what a rule demands of a group does not hold any more.
// What was destroyed for the rule itself counts on: it was decided about all of them.
func (e *Engine) stillGroup(ctx context.Context, l *ladder, f *Finding) error {
	g := f.Group
	if g == nil {
		return nil
	}
	if e.now().Sub(g.at) > e.recentFor() {
		g.over = nil
		now, err := e.regroup(ctx, l.program, l.ruleOf(f), g)
		switch {
		case err != nil:
			return fmt.Errorf("count the group again: %w", err)
		case now == nil:
			g.over = actions.Changedf("having of %s does not hold any more", f.Rule.Name)
		}
		g.at = e.counted.at
	}
	return g.over
}

// regroup returns a group as it is now, nil if there is none of which having holds.
func (e *Engine) regroup(ctx context.Context, p *rules.Program, rule *rules.Rule, was *Group) (*Group, error) {
	index := slices.Index(p.Rules, rule)
	if index < 0 {
		return nil, nil //nolint:nilnil // its rule has changed
	}
	if e.counted.cycle == nil || e.counted.program != p || e.now().Sub(e.counted.at) > e.recentFor() {
		c, err := e.look(ctx, p)
		if err != nil {
			return nil, err
		}
		if c.incomplete {
			return nil, errors.Join(c.report.Errors...)
		}
		e.counted = recount{c, e.now()}
	}
	c := *e.counted.cycle
	c.candidates = slices.Clone(c.candidates)
	for _, taken := range was.taken {
		if !slices.ContainsFunc(c.candidates, func(o *Candidate) bool {
			return o.Socket.Cookie == taken.Socket.Cookie && o.Socket.NetNS == taken.Socket.NetNS
		}) {
			again := taken.clone()
			again.hits = []int{index}
			c.candidates = append(c.candidates, again)
		}
	}
	for _, g := range e.groups(&c, index) {
		if g.id == was.id {
			return g, nil
		}
	}
	return nil, nil //nolint:nilnil // there is none
}
