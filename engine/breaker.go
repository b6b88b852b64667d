package engine

import (
	"fmt"
	"strings"

	"sockwarden/collectors"
	"sockwarden/rules"
)

// breaker spares everything if the rules together would act on too much, and
// what one rule would do to one listener if that is too much. What a throttle
// leaves to later cycles counts: a rule that is wrong about a thousand sockets
// must not take them a hundred at a time. What has tripped stays so until two
// cycles in a row are calm.
func (e *Engine) breaker(c *cycle, q *quota) {
	if e.opts.NoBreaker {
		return
	}
	var acting []*Finding
	byListener := map[listenerKey][]*Finding{}
	for _, f := range c.report.Findings {
		if f.Decision != DecideAct && !f.throttled || e.harmless(f.Rule) || f.NoSocket() {
			continue
		}
		acting = append(acting, f)
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
			e.trip(c, name, false, "nothing to act on", nil)
		}
	}
	b, total, n := e.strictest(c.program.Breaker), c.report.Summary.SocketsTotal, len(acting)+q.all
	over := n > b.Count || float64(n) > b.Share*float64(total) && n > b.ShareMin
	what := fmt.Sprintf("would act on %d of %d sockets%s (limit %d or %.0f%%)", n, total, mostOf(c.program.Rules, acting), b.Count, b.Share*100)
	e.trip(c, "breaker", over, what, acting)
}

// mostOf names the rule that most of the findings are of.
func mostOf(all []*rules.Rule, found []*Finding) string {
	if len(found) == 0 {
		return ""
	}
	count := map[*rules.Rule]int{}
	for _, f := range found {
		count[f.Rule]++
	}
	most := all[0]
	for _, r := range all {
		if count[r] > count[most] {
			most = r
		}
	}
	return fmt.Sprintf(", %d for rule %s", count[most], most.Name)
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
	what := fmt.Sprintf("rule %s would act on %d of %d connections of port %d (share %.3g%%)", k.rule.Name, n, p.connections+q.listeners[name], k.port, share*100)
	e.trip(c, name, p.listens && float64(n) > share*float64(p.connections+q.listeners[name]), what, found)
}

// trip spares the findings while the threshold of that name is exceeded, and
// until it was not for two cycles. A cycle that has not seen everything is not calm.
func (e *Engine) trip(c *cycle, name string, over bool, what string, found []*Finding) {
	left, tripped := e.memory.tripped[name]
	switch {
	case over:
		left = calmCycles
	case !tripped:
		return
	case !c.incomplete && !e.early:
		left--
	}
	e.saved = 0 // a crash must not reset it
	if left == 0 {
		delete(e.memory.tripped, name)
		e.log.Info("breaker reset", "breaker", name)
		return
	}
	e.memory.tripped[name] = left
	reason := "breaker: " + what
	if !over {
		reason = fmt.Sprintf("breaker: tripped before, %d calm cycle(s) to go; %s", left, what)
	}
	if over || len(found) > 0 {
		c.report.Errors = append(c.report.Errors, fmt.Errorf("%s; acted on none", reason)) //nolint:err113 // for people
	}
	for _, f := range found {
		f.Decision, f.Reason = DecideBreaker, reason
	}
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
