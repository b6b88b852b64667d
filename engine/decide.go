package engine

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/rules"
)

// decide turns candidates into findings: rules are tried in their order, and
// the first enforcing one that holds owns the socket, whatever spares it then.
func (j *judge) decide(c *cycle) {
	j.noteRules(c)
	groups := make([]map[*look.Candidate]*Group, len(c.Program.Rules))
	for i := range c.Program.Rules {
		groups[i] = j.groups(c, i)
	}
	q, opinions := j.quota(), j.council.opinions(c)
	for n, cand := range c.Candidates {
		var owner *rules.Rule
		unproven := false
		said := j.council.askAll(opinions, n)
		for _, i := range cand.Hits {
			rule := c.Program.Rules[i]
			f := j.consider(c, cand, rule, groups[i][cand], &owner)
			if f == nil {
				unproven = unproven || cand.Socket.Cookie != 0 && unprovenAge(cand, rule) // without one it cannot be remembered
				continue
			}
			j.council.agree(c, f, opinions, said, q)
			if f.Decision == DecideAct {
				j.limit(f, c, q)
			}
			c.report.Findings = append(c.report.Findings, f)
		}
		if unproven && owner == nil {
			c.report.AgeUnproven++
		}
		if cand.OwnerHidden() {
			c.report.OwnersHidden++
			c.report.HiddenWhy = cmp.Or(c.report.HiddenWhy, cand.Hidden, look.NobodyHas)
		}
	}
	for i, rule := range c.Program.Rules {
		if g := groups[i][c.none]; c.none != nil && g != nil {
			f := j.considerNobody(c, rule, g)
			j.council.agree(c, f, opinions, j.council.askOfNobody(opinions), q)
			if f.Decision == DecideAct {
				j.limit(f, c, q)
			}
			c.report.Findings = append(c.report.Findings, f)
		}
	}
	j.council.showNews(c, opinions)
	c.sumUnseen()
	j.pauseAll(c) // what it spares does not count
	j.breaker.judge(c, q)
	j.spend(c, q)
}

// pauseAll spares everything while a live engine is paused.
func (j *judge) pauseAll(c *cycle) {
	if c.paused == nil {
		return
	}
	for _, f := range c.report.Findings {
		if f.Decision == DecideAct && !harmless(f.Rule) {
			f.Decision, f.Reason = DecidePaused, "paused "+c.paused.String()
		}
	}
}

// sumUnseen says it as an error that sockets are spared since somebody unseen may
// hold them: who expects something to be done must hear why it is not.
func (c *cycle) sumUnseen() {
	r := c.report
	for _, f := range r.Findings {
		if !f.unseen || f.Decision != DecideGuarded {
			continue
		}
		r.SparedUnseen++
		if r.UnseenWhy == "" {
			r.UnseenWhy = f.Reason
		}
	}
	if r.SparedUnseen > 0 {
		c.warn(&SparedError{r.SparedUnseen, r.UnseenWhy})
	}
}

// finding is a decision under construction.
func (f *Finding) set(d Decision, format string, args ...any) *Finding {
	f.Decision, f.Reason = d, fmt.Sprintf(format, args...)
	return f
}

// consider returns one rule's decision about one socket, nil if it does not
// match. A rule that acts becomes the owner.
func (j *judge) consider(c *cycle, cand *look.Candidate, rule *rules.Rule, g *Group, owner **rules.Rule) *Finding {
	if cand.Eval(rule.When) != rules.True {
		return nil
	}
	f := &Finding{Rule: rule, Candidate: cand, Group: g}
	if rule.Unless != nil {
		if spared, v := cand.Spares(rule.Unless); spared {
			return f.set(DecideUnless, "unless of %s%s", rule.Name, look.NotKnown(v))
		}
	}
	if rule.Grouped() && g == nil {
		return nil // its group is not one that the rule is about
	}
	if left := j.pending(c, f); left > 0 {
		c.sooner(left)
		f.Held = rule.For - left
		return f.set(DecidePending, "%s for %s, so far %s", rule.Name, short(rule.For), short(f.Held))
	}
	if rule.Mode == rules.ModeObserve {
		return f.set(DecideObserve, "mode observe")
	}
	if *owner != nil {
		return f.set(DecideShadowed, "rule %s comes first", (*owner).Name)
	}
	*owner = rule
	for _, p := range c.Program.Protect {
		if !p.InForce(c.Began) {
			continue
		}
		if spared, v := cand.Spares(p.When); spared {
			return f.set(DecideProtect, "protect %s%s", p.Name, look.NotKnown(v))
		}
	}
	if rung, _ := effective(rule); rung != nil {
		if why := j.guards.guard(cand, rung); why != "" {
			f.unseen = why == cand.HiddenOwners()
			return f.set(DecideGuarded, "%s", why)
		}
	}
	if cond := rule.Then[0].If; cond != nil {
		if v := cand.Eval(cond); v != rules.True {
			return f.set(DecideUnless, "if of %s%s", rule.Name, look.NotKnown(v))
		}
	}
	return j.hesitate(c, f)
}

// considerNobody is consider for the empty group of a host.
func (j *judge) considerNobody(c *cycle, rule *rules.Rule, g *Group) *Finding {
	f := &Finding{Rule: rule, Candidate: c.none, Group: g}
	if left := j.pending(c, f); left > 0 {
		c.sooner(left)
		f.Held = rule.For - left
		return f.set(DecidePending, "%s for %s, so far %s", rule.Name, short(rule.For), short(f.Held))
	}
	if rule.Mode == rules.ModeObserve {
		return f.set(DecideObserve, "mode observe")
	}
	if rung, plugin := effective(rule); rung != nil && !plugin.WithoutSocket {
		return f.set(DecideGuarded, "there is no socket that %s could be for", rung.Action)
	}
	if cond := rule.Then[0].If; cond != nil {
		if v := f.Eval(cond); v != rules.True {
			return f.set(DecideUnless, "if of %s%s", rule.Name, look.NotKnown(v))
		}
	}
	return j.hesitate(c, f)
}

// pending returns how long the rule must still match without a break.
func (j *judge) pending(c *cycle, f *Finding) time.Duration {
	if f.Rule.For <= 0 {
		return 0
	}
	var since float64
	if f.Group != nil {
		since = f.Group.since
	} else {
		since = j.memory.Hold(memory.HoldKey{Rule: f.Rule.Name, Fingerprint: f.Rule.Fingerprint, Socket: collectors.KeyOf(&f.Socket)}, f.Rule.For, c.Now)
	}
	return max(0, f.Rule.For-time.Duration((c.Now-since)*float64(time.Second)))
}

// hesitate spares what the rule itself does not want to act on now.
func (j *judge) hesitate(c *cycle, f *Finding) *Finding {
	switch rule := f.Rule; {
	case !rule.InWindow(c.Began):
		return f.set(DecideWindow, "outside of the windows of %s: %s", rule.Name, windowTexts(rule.During))
	case j.soaking(rule, c.Now) > 0:
		return f.set(DecideSoak, "soak of %s, %s left", rule.Name, short(j.soaking(rule, c.Now)))
	case !f.NoSocket() && !j.inCanary(f):
		return f.set(DecideCanary, "not in the canary part (%.3g%%) of %s", rule.Canary*100, rule.Name)
	case j.seenOnce(c, f):
		return f
	}
	return f.set(DecideAct, "")
}

// windowTexts names windows of time with their zones.
func windowTexts(windows []rules.Window) string {
	texts := make([]string, len(windows))
	for i, w := range windows {
		texts[i] = w.String()
	}
	return strings.Join(texts, ", ")
}

// unprovenAge reports whether the rule would match if the socket were old.
func unprovenAge(cand *look.Candidate, rule *rules.Rule) bool {
	if !rule.ReadsAge() || cand.Eval(rule.When) != rules.Unknown {
		return false
	}
	if cand.Socket.Timer == collectors.TimerTimeWait {
		return false // the kernel ends it within a minute
	}
	old := cand.Clone()
	old.Facts.Age = collectors.Age{Min: math.MaxFloat64, Source: collectors.AgeNone}
	return old.Eval(rule.When) == rules.True
}
