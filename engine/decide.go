package engine

import (
	"cmp"
	"fmt"
	"math"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/rules"
)

// Case is a finding before the judge: with what only judging it needs.
type Case struct {
	*Finding
	group     *group // nil for a rule that decides on single sockets
	unseen    bool   // spared since somebody who cannot be seen may hold it
	throttled bool   // left to a later cycle by per_cycle or per_minute
	// agreed are the younger generations of rules that would do the same, each with the
	// group that its rule decided on.
	agreed map[*generation]*group
}

func newCase(cand *look.Candidate, rule *rules.Rule, g *group) *Case {
	f := &Case{Finding: &Finding{Rule: rule, Candidate: cand}, group: g}
	if g != nil {
		f.Group = g.Group
	}
	return f
}

// set spares the case, or lets it be acted on.
func (f *Case) set(d Decision, format string, args ...any) {
	f.Decision, f.Reason = d, fmt.Sprintf(format, args...)
}

// decide turns candidates into findings: rules are tried in their order, and
// the first enforcing one that holds owns the socket, whatever spares it then.
func (j *judge) decide(c *cycle) {
	j.noteRules(c)
	groups := make([]map[*look.Candidate]*group, len(c.Program.Rules))
	for i := range c.Program.Rules {
		groups[i] = j.groups(c, i)
	}
	q, opinions := j.quota(), j.council.opinions(c)
	take := func(f *Case, said [][]*Case) {
		j.council.agree(c, f, opinions, said, q)
		if f.Decision == DecideAct {
			j.limit(f, c, q)
		}
		c.cases = append(c.cases, f)
	}
	for n, cand := range c.Candidates {
		unproven := false
		said := j.council.askAll(opinions, n)
		h := &hearing{cycle: c}
		for _, i := range cand.Hits {
			rule := c.Program.Rules[i]
			if f := j.consider(h, cand, rule, groups[i][cand]); f != nil {
				take(f, said)
				continue
			}
			unproven = unproven || cand.Socket.Cookie != 0 && unprovenAge(cand, rule) // without one it cannot be remembered
		}
		if unproven && h.taker == nil {
			c.report.AgeUnproven++
		}
		if cand.OwnerHidden() {
			c.report.OwnersHidden++
			c.report.HiddenWhy = cmp.Or(c.report.HiddenWhy, cand.Hidden, look.NobodyHas)
		}
	}
	for i, rule := range c.Program.Rules {
		if g := groups[i][c.none]; c.none != nil && g != nil {
			take(j.consider(&hearing{cycle: c}, c.none, rule, g), j.council.askOfNobody(opinions))
		}
	}
	j.council.showNews(c, opinions)
	c.sumUnseen()
	j.pauseAll(c) // what it spares does not count
	j.breaker.judge(c, q)
	j.spend(c, q)
	c.report.Findings = make([]*Finding, len(c.cases))
	for i, f := range c.cases {
		c.report.Findings[i] = f.Finding
	}
}

// pauseAll spares everything while a live engine is paused.
func (j *judge) pauseAll(c *cycle) {
	for _, f := range c.cases {
		if f.Decision == DecideAct {
			paused(j, &hearing{cycle: c}, f)
		}
	}
}

// sumUnseen says it as an error that sockets are spared since somebody unseen may
// hold them: who expects something to be done must hear why it is not.
func (c *cycle) sumUnseen() {
	r := c.report
	for _, f := range c.cases {
		if !f.unseen || f.Decision != DecideGuarded {
			continue
		}
		r.SparedUnseen++
		r.UnseenWhy = cmp.Or(r.UnseenWhy, f.Reason)
	}
	if r.SparedUnseen > 0 {
		c.warn(&SparedError{r.SparedUnseen, r.UnseenWhy})
	}
}

// consider returns one rule's decision about one socket, or about the empty group
// of a host; nil if the rule is not about it.
func (j *judge) consider(h *hearing, cand *look.Candidate, rule *rules.Rule, g *group) *Case {
	f := newCase(cand, rule, g)
	if !f.NoSocket() && cand.Eval(rule.When) != rules.True {
		return nil
	}
	for _, gate := range gates {
		if gate.spares(j, h, f) {
			if f.Decision == "" {
				return nil
			}
			return f
		}
	}
	f.set(DecideAct, "")
	return f
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
