package judge

import (
	"context"
	"fmt"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// judge spares everything if the rules together would act on too many living targets, and
// spares the connections of one listener if one rule would act on too many of those. It
// also counts what a throttle leaves to later cycles: a rule that is wrong about a thousand
// sockets must not take them in hundreds. A tripped breaker stays tripped until two cycles
// in a row are calm.
func (b *Breaker) judge(ctx context.Context, c *Cycle, q *quota) {
	if b.off || c.Paused != nil {
		return
	}
	acting := b.acting(c, true)
	byListener := map[listenerKey][]*Case{}
	for _, f := range acting {
		if f.Rule.Limits.Share > 0 {
			k := listenerKey{f.Rule, f.NS, f.Socket.LocalPort}
			byListener[k] = append(byListener[k], f)
		}
	}
	looked := map[string]bool{}
	for k, found := range byListener {
		b.shareOf(ctx, c, k, found, q, looked)
	}
	for name := range b.memory.Tripped {
		if strings.HasPrefix(name, tripShare) && !looked[name] {
			b.Trip(c, &report.TrippedError{Name: name}, false, nil)
		}
	}
	t, over := b.tooMuch(ctx, c, acting, q)
	// A breaker that tripped at other limits says nothing about these newer ones.
	for name := range b.memory.Tripped {
		if !strings.HasPrefix(name, tripShare) && name != t.Name {
			b.reset(name)
		}
	}
	b.Trip(c, t, over, acting)
}

// acting returns the findings to act on; with throttled, also those that throttles leave to
// later cycles.
func (b *Breaker) acting(c *Cycle, throttled bool) []*Case {
	var acting []*Case
	for _, f := range c.Cases {
		if (f.Decision == report.DecideAct || throttled && f.throttled) && !Harmless(f.Rule) && !f.NoSocket() {
			acting = append(acting, f)
		}
	}
	return acting
}

// tooMuch compares the findings to act on with the limits for all rules together.
func (b *Breaker) tooMuch(ctx context.Context, c *Cycle, acting []*Case, q *quota) (t *report.TrippedError, over bool) {
	limit, toll := b.council.strictest(c.Program.Breaker), b.toll(ctx, c, acting)
	t = &report.TrippedError{Living: toll.living + q.all, Of: c.Total, Name: tripAll + limit.String()}
	var limits []string
	if limit.Count > 0 && t.Living > limit.Count {
		limits = append(limits, fmt.Sprintf("count %d", limit.Count))
	}
	if limit.Share > 0 && float64(t.Living) > limit.Share*float64(t.Of) && t.Living > limit.ShareMin {
		limits = append(limits, fmt.Sprintf("share %.3g%%", limit.Share*100))
	}
	over = len(limits) > 0
	if t.Limit = strings.Join(limits, " and "); !over {
		t.Limit = "limit " + limit.String()
	}
	t.What = collectors.Counted(t.Living, "living target")
	if most := toll.most(c.Program.Rules); most != nil {
		t.Rule = most.Name
		t.What += fmt.Sprintf(" (%d for rule %s)", toll.byRule[most], most.Name)
	}
	if toll.dead > 0 {
		t.What += fmt.Sprintf(" besides %d dead", toll.dead)
	}
	t.What += fmt.Sprintf(" of %d sockets", t.Of)
	const round = 100
	t.GoOn = fmt.Sprintf("If that is right: --breaker %d, or sockwarden kill for what you choose", (t.Living/round+1)*round)
	return t, over
}

// listenerKey is what share is about.
type listenerKey struct {
	rule *rules.Rule
	ns   *look.Namespace
	port uint16
}

// shareOf spares the connections of one listener if a rule would act on too many of them, or
// if we cannot count them. Outgoing connections have no listener.
func (b *Breaker) shareOf(ctx context.Context, c *Cycle, k listenerKey, found []*Case, q *quota, looked map[string]bool) {
	name := shareName(found[0].Finding)
	looked[name] = true
	n := len(found) + q.listeners[name]
	share := k.rule.Limits.Share
	ports, err := b.harms.Connections(ctx, c.Picture, k.ns)
	if err != nil {
		c.fail(err)
		if c.untold == nil {
			c.untold = map[string]string{}
		}
		c.untold[name] = fmt.Sprintf("share %.3g%%: %v", share*100, err)
		for _, f := range found {
			f.Decision, f.Reason = report.DecideLimited, c.untold[name]
		}
		return
	}
	p := ports[k.port]
	all := p.Connections + q.listeners[name]
	t := &report.TrippedError{
		What:  fmt.Sprintf("%d of %d connections of port %d by rule %s", n, all, k.port, k.rule.Name),
		Limit: fmt.Sprintf("share %.3g%% of port %d", share*100, k.port), Rule: k.rule.Name, Living: n, Of: all, Name: name,
		GoOn: "If that is right: raise share in the limits of the rule, or sockwarden kill for what you choose",
	}
	b.Trip(c, t, p.Listens && float64(n) > share*float64(all), found)
}

// Trip spares the findings while they exceed a threshold, and until two cycles in a row have
// not. A cycle that has not seen everything is not calm.
func (b *Breaker) Trip(c *Cycle, t *report.TrippedError, over bool, found []*Case) {
	left, tripped := b.memory.Tripped[t.Name]
	switch {
	case over:
		left = memory.CalmCycles
	case !tripped:
		return
	case !c.Incomplete && !b.council.Early:
		left--
	}
	if left == 0 {
		b.reset(t.Name)
		return
	}
	b.memory.Urgent = true // a crash must not reset it
	b.memory.Tripped[t.Name] = left
	if !over {
		t.Calm = left
	}
	if over || len(found) > 0 {
		c.Report.Errors = append(c.Report.Errors, t)
	}
	for _, f := range found {
		f.Decision, f.Reason = report.DecideBreaker, t.Reason()
	}
}

// reset ends a trip.
func (b *Breaker) reset(name string) {
	b.memory.Urgent = true
	delete(b.memory.Tripped, name)
	b.log.Info("breaker reset: it was calm for two cycles", "limit", strings.TrimPrefix(name, tripAll))
}
