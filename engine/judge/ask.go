package judge

import (
	"context"
	"slices"

	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// Answer is what one gate says of a case.
type Answer struct {
	// Gate is its name: unless, having, keep, for, mode, shadowed, protect, guard, silence, if, window,
	// soak, canary, second_look, reload, cooldown, limit, breaker, pause. Several can
	// have the same.
	Gate   string
	Spares bool
	// Decision and Reason are those of the finding if no gate before it had spared it:
	// DecideAct if it lets it pass, "" if the rule is then not about the socket at all.
	Decision report.Decision
	Reason   string
}

// Undecided is a case about which a cycle has decided nothing: what a rule would say of
// a socket that it does not take.
func (j *Judge) Undecided(c *Cycle, cand *look.Candidate, rule *rules.Rule) *Case {
	var g *Group
	if i := slices.Index(c.Program.Rules, rule); i >= 0 && i < len(c.grouped) {
		g = c.grouped[i][cand]
	}
	return newCase(cand, rule, g)
}

// Ask asks every gate about a case after Decide, not only those up to the first that
// spares, and in the order in which they decide: for a case of the cycle the first that
// spares has its decision and reason. Limits are asked as they stand after the cycle.
// It changes nothing: neither the case, nor the cycle, nor what is remembered.
func (j *Judge) Ask(ctx context.Context, c *Cycle, f *Case) []Answer {
	h := &hearing{Cycle: c, quota: c.quota, taker: j.takerBefore(c, f), asking: true, harm: j.harmOf(ctx, c, f)}
	var all []Answer
	ask := func(g gate) {
		finding, of := *f.Finding, *f
		of.Finding = &finding
		of.set(report.DecideAct, "")
		spares := g.spares(j, h, &of)
		all = append(all, Answer{Gate: g.name, Spares: spares, Decision: of.Decision, Reason: of.Reason})
	}
	for _, g := range gates {
		ask(g)
	}
	if f.Unsettled {
		all = append(all, Answer{Gate: "reload", Spares: true, Decision: f.Decision, Reason: f.Reason})
	}
	for _, g := range limits[:len(limits)-1] {
		ask(g)
	}
	// The breaker counts what a throttle leaves to later cycles, and spares it, too.
	ask(gate{"breaker", broken})
	ask(gate{limits[len(limits)-1].name, func(j *Judge, h *hearing, of *Case) bool { return throttles(j, h, f, of) }})
	ask(gate{"pause", paused})
	return all
}

// takerBefore returns the rule before that of a case that has its socket, nil for none.
func (j *Judge) takerBefore(c *Cycle, f *Case) *rules.Rule {
	if f.NoSocket() {
		return nil
	}
	h := &hearing{Cycle: c, asking: true}
	for _, i := range f.Hits {
		rule := c.Program.Rules[i]
		if rule == f.Rule || i > slices.Index(c.Program.Rules, f.Rule) {
			break
		}
		if j.consider(h, f.Candidate, rule, c.grouped[i][f.Candidate]); h.taker != nil {
			return h.taker
		}
	}
	return nil
}

// throttles is beyond for who asks: what a case of the cycle has taken is its own.
func throttles(j *Judge, h *hearing, was, f *Case) bool {
	switch {
	case was.counted, h.quota == nil:
		return false
	case was.throttled && was.Decision == report.DecideLimited:
		f.set(was.Decision, "%s", was.Reason)
		return true
	}
	return beyond(j, h, f)
}

// broken spares what the breaker does after the cycle: everything while it has tripped,
// or what the rule would do to one listener.
func broken(j *Judge, h *hearing, f *Case) bool {
	if j.Breaker.off || h.Paused != nil || Harmless(f.Rule) || f.NoSocket() {
		return false
	}
	// What all rules together would do is decided last, and wins.
	all, share := tripAll+j.Breaker.council.strictest(h.Program.Breaker).String(), shareName(f.Finding)
	_, tripped := j.memory.Tripped[all]
	_, ofListener := j.memory.Tripped[share]
	untold := h.untold[share]
	switch {
	case tripped:
		f.set(report.DecideBreaker, "%s", h.whyTripped(all))
	case f.Rule.Limits.Share <= 0:
		return false
	case untold != "":
		f.set(report.DecideLimited, "%s", untold)
	case ofListener:
		f.set(report.DecideBreaker, "%s", h.whyTripped(share))
	default:
		return false
	}
	return true
}

// whyTripped is the reason that the findings have which a breaker of that name spared.
func (c *Cycle) whyTripped(name string) string {
	for _, err := range c.Report.Errors {
		if t, ok := err.(*report.TrippedError); ok && t.Name == name { //nolint:errorlint // Trip puts it there as it is
			return t.Reason()
		}
	}
	return "the breaker has tripped, and there have not been two calm cycles in a row yet"
}
