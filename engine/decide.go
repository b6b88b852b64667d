package engine

import (
	"fmt"
	"math"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
)

// decide turns candidates into findings: rules are tried in their order, and
// the first enforcing one that holds owns the socket, whatever spares it then.
func (e *Engine) decide(c *cycle) {
	quota := map[*rules.Rule]int{}
	processes := map[*rules.Rule]map[int]bool{}
	for _, cand := range c.candidates {
		var owner *rules.Rule
		unproven := false
		for _, i := range cand.hits {
			rule := c.program.Rules[i]
			f := e.consider(c, cand, rule, &owner)
			if f == nil {
				unproven = unproven || unprovenAge(cand, rule)
				continue
			}
			if f.Decision == DecideAct {
				e.limit(f, c, quota, processes)
			}
			c.report.Findings = append(c.report.Findings, f)
		}
		if unproven && owner == nil {
			c.report.AgeUnproven++
		}
		if cand.OwnerHidden() {
			c.report.OwnersHidden++
		}
	}
	e.breaker(c)
	e.pauseAll(c)
}

// consider returns one rule's decision about one socket, nil if it does not
// match. A rule that acts becomes the owner.
func (e *Engine) consider(c *cycle, cand *Candidate, rule *rules.Rule, owner **rules.Rule) *Finding {
	if cand.eval(rule.When) != rules.True {
		return nil
	}
	f := &Finding{Rule: rule, Candidate: cand}
	set := func(d Decision, format string, args ...any) *Finding {
		f.Decision, f.Reason = d, fmt.Sprintf(format, args...)
		return f
	}
	if rule.Unless != nil {
		if spared, v := cand.spares(rule.Unless); spared {
			return set(DecideUnless, "unless of %s%s", rule.Name, notKnown(v))
		}
	}
	if rule.For > 0 {
		since := e.memory.hold(holdKey{rule.Name, rule.Fingerprint, collectors.KeyOf(&cand.Socket)}, c.now)
		if held := c.now - since; held < rule.For.Seconds() {
			return set(DecidePending, "%s for %s, so far %s", rule.Name, rule.For, time.Duration(held*float64(time.Second)).Round(time.Second))
		}
	}
	if rule.Mode == rules.ModeObserve {
		return set(DecideObserve, "mode observe")
	}
	if *owner != nil {
		return set(DecideShadowed, "rule %s comes first", (*owner).Name)
	}
	*owner = rule
	for _, p := range c.program.Protect {
		if spared, v := cand.spares(p.When); spared {
			return set(DecideProtect, "protect %s%s", p.Name, notKnown(v))
		}
	}
	if rung, _ := e.effective(rule); rung != nil {
		if why := e.guard(cand, rung); why != "" {
			return set(DecideGuarded, "%s", why)
		}
	}
	if cond := rule.Then[0].If; cond != nil {
		if v := cand.eval(cond); v != rules.True {
			return set(DecideUnless, "if of %s%s", rule.Name, notKnown(v))
		}
	}
	return set(DecideAct, "")
}

func notKnown(v rules.Tri) string {
	if v == rules.Unknown {
		return " (cannot be told)"
	}
	return ""
}

// unprovenAge reports whether the rule would match if the socket were old.
func unprovenAge(cand *Candidate, rule *rules.Rule) bool {
	if !rule.ReadsAge() || cand.eval(rule.When) != rules.Unknown {
		return false
	}
	if cand.Socket.State == collectors.FinWait2 && cand.Socket.Timer == collectors.TimerTimeWait {
		return false // the kernel ends it within a minute
	}
	old := cand.clone()
	old.Facts.Age = collectors.Age{Min: math.MaxFloat64, Source: collectors.AgeNone}
	return old.eval(rule.When) == rules.True
}

// limit spares what is cooling down, and what is beyond the rule's limit for
// one cycle. For actions on processes the process counts, not its sockets.
func (e *Engine) limit(f *Finding, c *cycle, quota map[*rules.Rule]int, processes map[*rules.Rule]map[int]bool) {
	rung, plugin := e.effective(f.Rule)
	if rung == nil {
		return
	}
	limits := f.Rule.Limits
	for _, key := range coolKeys(f, &plugin) {
		if left := e.memory.coolingDown(key, limits.Cooldown, c.now); left > 0 {
			f.Decision, f.Reason = DecideCooldown, fmt.Sprintf("cool-down %s, %s left", limits.Cooldown, left.Round(time.Second))
			return
		}
	}
	more := []int{0}
	if plugin.OnProcess {
		more = nil
		for i := range f.Facts.Owners {
			if pid := f.Facts.Owners[i].PID; !processes[f.Rule][pid] {
				more = append(more, pid)
			}
		}
	}
	if limits.PerCycle > 0 && len(more) > 0 && quota[f.Rule]+len(more) > limits.PerCycle {
		f.Decision, f.Reason = DecideLimited, fmt.Sprintf("per_cycle %d reached", limits.PerCycle)
		return
	}
	quota[f.Rule] += len(more)
	if processes[f.Rule] == nil {
		processes[f.Rule] = map[int]bool{}
	}
	for _, pid := range more {
		processes[f.Rule][pid] = true
	}
}

// coolKeys name what cools down after an action: the socket, or each process or
// unit.
func coolKeys(f *Finding, plugin *actions.Plugin) []string {
	if !plugin.OnProcess {
		return []string{fmt.Sprintf("socket %x", f.Socket.Cookie)}
	}
	var keys []string
	for i := range f.Facts.Owners {
		keys = append(keys, targetKey(&f.Facts.Owners[i], plugin))
	}
	return keys
}

// targetKey names what one effect on a process is for: the process, or its unit.
func targetKey(o *collectors.Owner, plugin *actions.Plugin) string {
	if plugin.OnUnit && o.Unit != "" {
		return "unit " + o.Unit
	}
	return processKey(o)
}

func processKey(o *collectors.Owner) string {
	return fmt.Sprintf("process %d since %d", o.PID, o.StartTime)
}

// breaker spares everything if the rules together would act on too much.
func (e *Engine) breaker(c *cycle) {
	if e.opts.NoBreaker {
		return
	}
	n := 0
	for _, f := range c.report.Findings {
		if f.Decision == DecideAct && !e.harmless(f.Rule) {
			n++
		}
	}
	b, total := c.program.Breaker, c.report.Summary.SocketsTotal
	share := float64(n) > b.Share*float64(total) && n > b.ShareMin
	if n <= b.Count && !share {
		return
	}
	reason := fmt.Sprintf("breaker: would act on %d of %d sockets (limit %d or %.0f%%)", n, total, b.Count, b.Share*100)
	c.report.Errors = append(c.report.Errors, fmt.Errorf("%s; acted on none", reason)) //nolint:err113 // for people
	for _, f := range c.report.Findings {
		if f.Decision == DecideAct && !e.harmless(f.Rule) {
			f.Decision, f.Reason = DecideBreaker, reason
		}
	}
}

func (e *Engine) harmless(r *rules.Rule) bool {
	rung, _ := e.effective(r)
	return rung == nil
}

// effective returns the first rung that changes something on the host, by which
// the rule is guarded and limited; nil if none does.
func (e *Engine) effective(r *rules.Rule) (*rules.Rung, actions.Plugin) {
	for i := range r.Then {
		p, err := e.opts.Actions.Get(r.Then[i].Action)
		if err != nil || !p.Harmless {
			return &r.Then[i], p
		}
	}
	return nil, actions.Plugin{}
}
