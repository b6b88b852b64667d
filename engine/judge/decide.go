package judge

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// Case is a finding before the judge, with what only the judgement needs.
type Case struct {
	*report.Finding
	group     *Group // nil for a rule that decides on single sockets
	owns      bool   // its rule has the socket
	unseen    bool   // spared since somebody who cannot be seen may hold it
	throttled bool   // left to a later cycle by per_cycle or per_minute
	counted   bool   // among what its rule acts on in this cycle
	// agreed are the younger generations of rules that would do the same, each with the
	// group that its rule decided on.
	agreed map[*Generation]*Group
}

func newCase(cand *look.Candidate, rule *rules.Rule, g *Group) *Case {
	both := &struct { // at one place: there can be very many
		Case
		report.Finding
	}{Finding: report.Finding{Rule: rule, Candidate: cand}}
	f := &both.Case
	f.Finding, f.group = &both.Finding, g
	if g != nil {
		f.Group = g.Group
	}
	return f
}

// set decides the case and says why.
func (f *Case) set(d report.Decision, format string, args ...any) {
	f.Decision, f.Reason = d, fmt.Sprintf(format, args...)
}

// Decide turns candidates into findings. It tries the rules in their order; the first
// enforcing one that matches owns the socket, even if something then spares it.
func (j *Judge) Decide(ctx context.Context, c *Cycle) {
	j.noteRules(c)
	groups := make([]map[*look.Candidate]*Group, len(c.Program.Rules))
	c.grouped = groups
	for i := range c.Program.Rules {
		groups[i] = j.groups(c, i)
	}
	q, opinions := j.quota(), j.Council.opinions(c)
	c.quota = q
	take := func(f *Case, said [][]*Case) {
		j.Council.agree(ctx, c, f, opinions, said, q)
		if f.Decision == report.DecideAct {
			j.limit(ctx, f, c, q)
		}
		c.Cases = append(c.Cases, f)
	}
	for n, cand := range c.Candidates {
		unproven := false
		said := j.Council.askAll(opinions, n)
		h := &hearing{Cycle: c}
		for _, i := range cand.Hits {
			rule := c.Program.Rules[i]
			if f := j.consider(h, cand, rule, groups[i][cand]); f != nil {
				take(f, said)
				continue
			}
			unproven = unproven || cand.Socket.Cookie != 0 && unprovenAge(cand, rule) // without one it cannot be remembered
		}
		if unproven && h.taker == nil {
			c.Report.AgeUnproven++
		}
		if cand.OwnerHidden() {
			c.Report.OwnersHidden++
			c.Report.HiddenWhy = cmp.Or(c.Report.HiddenWhy, cand.Hidden, look.NobodyHas)
		}
	}
	for i, rule := range c.Program.Rules {
		if g := groups[i][c.none]; c.none != nil && g != nil {
			take(j.consider(&hearing{Cycle: c}, c.none, rule, g), j.Council.askOfNobody(opinions))
		}
	}
	j.Council.showNews(c, opinions)
	mute(c)
	c.sumUnseen()
	j.pauseAll(c) // paused findings do not count below
	j.Breaker.judge(ctx, c, q)
	j.spend(ctx, c, q)
	c.Report.Findings = make([]*report.Finding, len(c.Cases))
	for i, f := range c.Cases {
		c.Report.Findings[i] = f.Finding
	}
}

// pauseAll spares everything while a live engine is paused.
func (j *Judge) pauseAll(c *Cycle) {
	for _, f := range c.Cases {
		if f.Decision == report.DecideAct {
			paused(j, &hearing{Cycle: c}, f)
		}
	}
}

// sumUnseen reports as an error how many sockets were spared because processes that we
// cannot see may hold them: whoever expects an action must hear why there was none.
func (c *Cycle) sumUnseen() {
	r := c.Report
	for _, f := range c.Cases {
		if !f.unseen || f.Decision != report.DecideGuarded {
			continue
		}
		r.SparedUnseen++
		r.UnseenWhy = cmp.Or(r.UnseenWhy, f.Reason)
	}
	if r.SparedUnseen > 0 {
		c.Warn(&report.SparedError{Sockets: r.SparedUnseen, Why: r.UnseenWhy})
	}
}

// consider returns one rule's decision about one socket, or about the empty group of a host;
// nil if the rule does not match it.
func (j *Judge) consider(h *hearing, cand *look.Candidate, rule *rules.Rule, g *Group) *Case {
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
	f.set(report.DecideAct, "%s", beyondText(rule))
	return f
}

// unprovenAge reports whether the rule would match if the socket were old, or had been
// stalled for long.
func unprovenAge(cand *look.Candidate, rule *rules.Rule) bool {
	if !rule.ReadsAge() && !rule.ReadsStall() || cand.Eval(rule.When) != rules.Unknown {
		return false
	}
	if cand.Socket.Timer == collectors.TimerTimeWait {
		return false // the kernel ends it within a minute
	}
	old := cand.Clone()
	old.Facts.Age = collectors.Age{Min: math.MaxFloat64, Source: collectors.AgeNone}
	if memory.Waits(&old.Socket) {
		old.SetStalled(collectors.Age{Min: math.MaxFloat64, Source: collectors.AgeNone})
	}
	return old.Eval(rule.When) == rules.True
}
