package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
)

// calmCycles is how many cycles in a row must stay below a threshold before what
// has tripped acts again.
const calmCycles = 2

// noteRules notes since when each rule is as it is, for soak.
func (e *Engine) noteRules(c *cycle) {
	for _, r := range c.program.Rules {
		if was, ok := e.memory.rules[r.Name]; !ok || was.Fingerprint != r.Fingerprint {
			e.memory.rules[r.Name] = ruleSince{Fingerprint: r.Fingerprint, Since: c.now}
		}
	}
	for name := range e.memory.rules {
		if c.program.Rule(name) == nil {
			delete(e.memory.rules, name)
		}
	}
}

// soaking returns how long a rule must still only observe.
func (e *Engine) soaking(r *rules.Rule, now float64) time.Duration {
	since := now
	if was, ok := e.memory.rules[r.Name]; ok {
		since = was.Since
	}
	return max(0, r.Soak-time.Duration((now-since)*float64(time.Second)))
}

// inCanary reports whether a socket belongs to the part that a rule acts on. It
// is the same part in every cycle.
func inCanary(r *rules.Rule, s *collectors.Socket) bool {
	if r.Canary <= 0 || r.Canary >= 1 {
		return true
	}
	const parts = 10_000
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %x", r.Name, s.Cookie)
	return h.Sum64()%parts < uint64(r.Canary*parts)
}

// quota counts what rules act on within one cycle.
type quota struct {
	targets map[*rules.Rule]int
	// named are the processes and units that count already.
	named map[*rules.Rule]map[string]bool
}

func newQuota() *quota {
	return &quota{map[*rules.Rule]int{}, map[*rules.Rule]map[string]bool{}}
}

// limit spares what is cooling down, what would take too many healthy
// connections with it, and what is beyond the rule's limits. For actions on
// processes the process or unit counts, not its sockets.
func (e *Engine) limit(f *Finding, c *cycle, q *quota) {
	rung, plugin := e.effective(f.Rule)
	if rung == nil {
		return
	}
	limits := f.Rule.Limits
	set := func(d Decision, format string, args ...any) { f.Decision, f.Reason = d, fmt.Sprintf(format, args...) }
	for key, length := range coolKeys(f, &plugin) {
		if left := e.memory.coolingDown(key, length, c.now); left > 0 {
			set(DecideCooldown, "cool-down %s, %s left", length, left.Round(time.Second))
			return
		}
	}
	if n, name := e.worstCollateral(c, f, &plugin); n > 0 {
		f.Collateral = n
		if limits.MaxCollateral >= 0 && n > limits.MaxCollateral {
			set(DecideLimited, "max_collateral %d: %d established connection(s) would die with %s", limits.MaxCollateral, n, name)
			return
		}
	}
	more := newTargets(f, &plugin, q)
	if len(more) == 0 {
		return
	}
	switch recent := e.memory.recent(f.Rule.Name, c.now); {
	case limits.PerCycle > 0 && q.targets[f.Rule]+len(more) > limits.PerCycle:
		set(DecideLimited, "per_cycle %d reached", limits.PerCycle)
		return
	case limits.PerMinute > 0 && recent+q.targets[f.Rule]+len(more) > limits.PerMinute:
		set(DecideLimited, "per_minute %d reached", limits.PerMinute)
		return
	}
	q.targets[f.Rule] += len(more)
	if q.named[f.Rule] == nil {
		q.named[f.Rule] = map[string]bool{}
	}
	for _, key := range more {
		q.named[f.Rule][key] = true
	}
}

// newTargets names the targets that a finding adds to those of its rule.
func newTargets(f *Finding, plugin *actions.Plugin, q *quota) []string {
	if !plugin.OnProcess {
		return []string{socketKey(&f.Socket)}
	}
	var more []string
	for i := range f.Facts.Owners {
		if key := targetKey(&f.Facts.Owners[i], plugin); !q.named[f.Rule][key] {
			more = append(more, key)
		}
	}
	return more
}

func socketKey(s *collectors.Socket) string { return fmt.Sprintf("socket %x", s.Cookie) }

// coolKeys name what cools down after an action, and for how long: the socket,
// or each process or unit, and, if the rule says so, the peer.
func coolKeys(f *Finding, plugin *actions.Plugin) map[string]time.Duration {
	keys := map[string]time.Duration{}
	limits := f.Rule.Limits
	switch {
	case f.NoSocket():
		keys["rule "+f.Rule.Name] = limits.Cooldown
	case !plugin.OnProcess:
		keys[socketKey(&f.Socket)] = limits.Cooldown
	default:
		for i := range f.Facts.Owners {
			keys[targetKey(&f.Facts.Owners[i], plugin)] = limits.Cooldown
		}
	}
	if limits.Peer > 0 && !f.NoSocket() {
		keys["peer "+f.Socket.Remote.Netip().String()] = limits.Peer
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

// worstCollateral counts the established connections that would die with the
// process of a finding, of several processes for the one with the most.
func (e *Engine) worstCollateral(c *cycle, f *Finding, plugin *actions.Plugin) (n int, name string) {
	if !plugin.OnProcess {
		return 0, ""
	}
	for i := range f.Facts.Owners {
		o := &f.Facts.Owners[i]
		if k := e.collateral(c, f.Candidate, o); k > n {
			n, name = k, fmt.Sprintf("%s[%d]", o.Name, o.PID)
		}
	}
	return n, name
}

// collateral counts the established connections of a process, in the namespace
// of the socket. One look serves a whole cycle.
func (e *Engine) collateral(c *cycle, cand *Candidate, o *collectors.Owner) int {
	key := processKey(o)
	if n, ok := c.collateral[key]; ok {
		return n
	}
	n := 0
	inodes, err := e.proc.SocketInodes(o.PID, o.StartTime)
	if err == nil {
		var established map[uint32]bool
		if established, err = e.established(c, cand.ns); err == nil {
			for _, i := range inodes {
				if established[i] {
					n++
				}
			}
		}
	}
	if err != nil && !errors.Is(err, collectors.ErrGone) {
		e.log.Warn("collateral unknown", "process", o.Name, "pid", o.PID, "error", err)
	}
	if c.collateral == nil {
		c.collateral = map[string]int{}
	}
	c.collateral[key] = n
	return n
}

// established returns the inodes of the established TCP connections of a
// namespace.
func (e *Engine) established(c *cycle, ns *namespace) (map[uint32]bool, error) {
	if m, ok := c.established[ns]; ok {
		return m, nil
	}
	m := map[uint32]bool{}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.Established)}
	for s, err := range e.sockets(ns, q) {
		if err != nil {
			return nil, err
		}
		if s.Inode != 0 {
			m[s.Inode] = true
		}
	}
	if c.established == nil {
		c.established = map[*namespace]map[uint32]bool{}
	}
	c.established[ns] = m
	return m, nil
}

// sockets streams an extra look at a namespace.
func (e *Engine) sockets(ns *namespace, q collectors.Query) func(func(*collectors.Socket, error) bool) {
	return func(yield func(*collectors.Socket, error) bool) {
		fd, closeNS, err := openNS(ns)
		if err != nil {
			yield(nil, err)
			return
		}
		defer closeNS()
		for s, err := range e.opts.Sources[0].New(fd).Collect(context.Background(), q) {
			if !yield(s, err) {
				return
			}
		}
	}
}

// breaker spares everything if the rules together would act on too much, and
// what one rule would do to one listener if that is too much. What has tripped
// stays so until two cycles in a row are calm.
func (e *Engine) breaker(c *cycle) {
	if e.opts.NoBreaker {
		return
	}
	var acting []*Finding
	byListener := map[listenerKey][]*Finding{}
	for _, f := range c.report.Findings {
		if f.Decision != DecideAct || e.harmless(f.Rule) || f.NoSocket() {
			continue
		}
		acting = append(acting, f)
		if f.Rule.Limits.Share > 0 {
			k := listenerKey{f.Rule, f.ns, f.Socket.LocalPort}
			byListener[k] = append(byListener[k], f)
		}
	}
	for k, found := range byListener {
		total, err := e.connections(c, k.ns, k.port)
		if err != nil {
			c.fail(err)
			continue
		}
		share := k.rule.Limits.Share
		what := fmt.Sprintf("rule %s would act on %d of %d connections of port %d (share %.0f%%)", k.rule.Name, len(found), total, k.port, share*100)
		e.trip(c, fmt.Sprintf("share %s %d", k.rule.Name, k.port), float64(len(found)) > share*float64(total), what, found)
	}
	b, total, n := c.program.Breaker, c.report.Summary.SocketsTotal, len(acting)
	over := n > b.Count || float64(n) > b.Share*float64(total) && n > b.ShareMin
	what := fmt.Sprintf("would act on %d of %d sockets (limit %d or %.0f%%)", n, total, b.Count, b.Share*100)
	e.trip(c, "breaker", over, what, acting)
}

// listenerKey is what share is about.
type listenerKey struct {
	rule *rules.Rule
	ns   *namespace
	port uint16
}

// trip spares the findings while the threshold of that name is exceeded, and
// until it was not for two cycles.
func (e *Engine) trip(c *cycle, name string, over bool, what string, found []*Finding) {
	left, tripped := e.memory.tripped[name]
	switch {
	case over:
		left = calmCycles
	case !tripped:
		return
	default:
		left--
	}
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

// connections counts the TCP connections of a local port, whatever their state.
func (e *Engine) connections(c *cycle, ns *namespace, port uint16) (int, error) {
	if c.ports == nil {
		c.ports = map[*namespace]map[uint16]int{}
	}
	if c.ports[ns] == nil {
		counts := map[uint16]int{}
		q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates &^ collectors.Mask(collectors.Listen, collectors.Close)}
		for s, err := range e.sockets(ns, q) {
			if err != nil {
				return 0, fmt.Errorf("connections of port %d: %w", port, err)
			}
			counts[s.LocalPort]++
		}
		c.ports[ns] = counts
	}
	return c.ports[ns][port], nil
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
