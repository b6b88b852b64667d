package engine

import (
	"fmt"
	"strings"

	"sockwarden/collectors"
	"sockwarden/rules"
)

// breaker spares everything if the rules together would act on too much that
// lives, and what one rule would do to one listener if that is too much. What a
// throttle leaves to later cycles counts: a rule that is wrong about a thousand
// sockets must not take them a hundred at a time. What has tripped stays so until
// two cycles in a row are calm.
func (e *Engine) breaker(c *cycle, q *quota) {
	if e.opts.NoBreaker || c.paused {
		return
	}
	acting := e.acting(c, true)
	byListener := map[listenerKey][]*Finding{}
	for _, f := range acting {
		if f.Rule.Limits.Share > 0 {
			k := listenerKey{f.Rule, f.ns, f.Socket.LocalPort}
			byListener[k] = append(byListener[k], f)
		}
	}
	looked := map[string]bool{}
	for k, found := range byListener {
		e.shareOf(c, k, found, q, looked)
	}
	for name := range e.memory.tripped {
		if strings.HasPrefix(name, tripShare) && !looked[name] {
			e.trip(c, &TrippedError{name: name}, false, nil)
		}
	}
	t, over := e.tooMuch(c, acting, q)
	// What tripped at other limits says nothing about these: they were set since.
	for name := range e.memory.tripped {
		if !strings.HasPrefix(name, tripShare) && name != t.name {
			e.reset(name)
		}
	}
	e.trip(c, t, over, acting)
}

// acting returns the findings that would be acted on, with what throttles leave to
// later cycles if that is wanted.
func (e *Engine) acting(c *cycle, throttled bool) []*Finding {
	var acting []*Finding
	for _, f := range c.report.Findings {
		if (f.Decision == DecideAct || throttled && f.throttled) && !e.harmless(f.Rule) && !f.NoSocket() {
			acting = append(acting, f)
		}
	}
	return acting
}

// tooMuch compares what would be acted on with the limits for all rules together.
func (e *Engine) tooMuch(c *cycle, acting []*Finding, q *quota) (t *TrippedError, over bool) {
	b, toll := e.strictest(c.program.Breaker), e.toll(c, acting)
	t = &TrippedError{Living: toll.living + q.all, Of: c.report.Summary.SocketsTotal, name: tripAll + b.String()}
	var limits []string
	if b.Count > 0 && t.Living > b.Count {
		limits = append(limits, fmt.Sprintf("count %d", b.Count))
	}
	if b.Share > 0 && float64(t.Living) > b.Share*float64(t.Of) && t.Living > b.ShareMin {
		limits = append(limits, fmt.Sprintf("share %.3g%%", b.Share*100))
	}
	over = len(limits) > 0
	if t.Limit = strings.Join(limits, " and "); !over {
		t.Limit = "limit " + b.String()
	}
	t.What = fmt.Sprintf("%d living target%s", t.Living, plural(t.Living))
	if most := toll.most(c.program.Rules); most != nil {
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

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// listenerKey is what share is about.
type listenerKey struct {
	rule *rules.Rule
	ns   *namespace
	port uint16
}

// shareOf spares what a rule would do to one listener if that is too much, or if
// it cannot be told. Connections to elsewhere have no listener.
func (e *Engine) shareOf(c *cycle, k listenerKey, found []*Finding, q *quota, looked map[string]bool) {
	name := found[0].listener()
	looked[name] = true
	n := len(found) + q.listeners[name]
	share := k.rule.Limits.Share
	ports, err := e.connections(c, k.ns)
	if err != nil {
		c.fail(err)
		for _, f := range found {
			f.Decision, f.Reason = DecideLimited, fmt.Sprintf("share %.3g%%: %v", share*100, err)
		}
		return
	}
	p := ports[k.port]
	all := p.connections + q.listeners[name]
	t := &TrippedError{
		What:  fmt.Sprintf("%d of %d connections of port %d by rule %s", n, all, k.port, k.rule.Name),
		Limit: fmt.Sprintf("share %.3g%% of port %d", share*100, k.port), Rule: k.rule.Name, Living: n, Of: all, name: name,
		GoOn: "If that is right: raise share in the limits of the rule, or sockwarden kill for what you choose",
	}
	e.trip(c, t, p.listens && float64(n) > share*float64(all), found)
}

// trip spares the findings while a threshold is exceeded, and until it was not for
// two cycles. A cycle that has not seen everything is not calm.
func (e *Engine) trip(c *cycle, t *TrippedError, over bool, found []*Finding) {
	left, tripped := e.memory.tripped[t.name]
	switch {
	case over:
		left = calmCycles
	case !tripped:
		return
	case !c.incomplete && !e.early:
		left--
	}
	if left == 0 {
		e.reset(t.name)
		return
	}
	e.saved = 0 // a crash must not reset it
	e.memory.tripped[t.name] = left
	if !over {
		t.Calm = left
	}
	if over || len(found) > 0 {
		c.report.Errors = append(c.report.Errors, t)
	}
	for _, f := range found {
		f.Decision, f.Reason = DecideBreaker, t.reason()
	}
}

// reset ends what has tripped.
func (e *Engine) reset(name string) {
	e.saved = 0
	delete(e.memory.tripped, name)
	e.log.Info("breaker reset", "breaker", name)
}

// portUse is how a local TCP port is used.
type portUse struct {
	connections int // whatever their state
	listens     bool
}

// connections returns how the ports of a namespace are used. One look serves a
// whole cycle.
func (e *Engine) connections(c *cycle, ns *namespace) (map[uint16]portUse, error) {
	if m, ok := c.ports[ns]; ok {
		return m, nil
	}
	m := map[uint16]portUse{}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates &^ collectors.Mask(collectors.Close)}
	for s, err := range e.sockets(ns, q) {
		if err != nil {
			return nil, fmt.Errorf("connections of listeners: %w", err)
		}
		p := m[s.LocalPort]
		if s.State == collectors.Listen {
			p.listens = true
		} else {
			p.connections++
		}
		m[s.LocalPort] = p
	}
	if c.ports == nil {
		c.ports = map[*namespace]map[uint16]portUse{}
	}
	c.ports[ns] = m
	return m, nil
}
