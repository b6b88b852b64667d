package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
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

// inCanary reports whether a finding belongs to the part that its rule acts on.
// It is the same part in every cycle: of the sockets, or of the processes and
// units if the rule acts on those, as each of many sockets would lead to one.
func (e *Engine) inCanary(f *Finding) bool {
	r := f.Rule
	if r.Canary <= 0 || r.Canary >= 1 {
		return true
	}
	what := fmt.Sprintf("%x", f.Socket.Cookie)
	if rung, plugin := e.effective(r); rung != nil && plugin.OnProcess && len(f.Facts.Owners) > 0 {
		what = targetKey(&f.Facts.Owners[0], &plugin)
	}
	const parts = 10_000
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s", r.Name, what)
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
			set(DecideCooldown, "cool-down %s, %s left", short(length), short(left))
			return
		}
	}
	if e.underWay(f, &plugin) {
		set(DecideCooldown, "an earlier action on it is still under way")
		return
	}
	if plugin.OnProcess {
		for i := range f.Facts.Owners {
			h := e.collateral(c, f.Candidate, &f.Facts.Owners[i], &plugin)
			f.Collateral = max(f.Collateral, h.n)
			if why := h.exceeds(limits.MaxCollateral); why != "" {
				set(DecideLimited, "%s", why)
				return
			}
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

// harm is what dies with a process or unit besides what was decided on.
type harm struct {
	name string // of the process or unit
	n    int    // established connections
	err  error  // why they could not be counted, nil if they were
}

// exceeds returns why the harm is more than a rule allows, "" if it is not. A
// negative limit is none; what cannot be told is too much for any other.
func (h *harm) exceeds(limit int) string {
	switch {
	case limit < 0:
	case h.err != nil:
		return fmt.Sprintf("max_collateral %d: how many established connections would die with %s cannot be told: %v", limit, h.name, h.err)
	case h.n > limit:
		return fmt.Sprintf("max_collateral %d: %d established connection(s) would die with %s", limit, h.n, h.name)
	}
	return ""
}

// collateral counts the established connections of a process, or of all
// processes of its unit if the action is for that, in the namespace of the
// socket. One look serves a whole cycle.
func (e *Engine) collateral(c *cycle, cand *Candidate, o *collectors.Owner, plugin *actions.Plugin) harm {
	key := targetKey(o, plugin)
	if h, ok := c.collateral[key]; ok {
		return h
	}
	h := harm{name: fmt.Sprintf("%s[%d]", o.Name, o.PID)}
	var established map[uint32]bool
	if established, h.err = e.established(c, cand.ns); h.err == nil {
		if plugin.OnUnit && o.Unit != "" {
			h.name = o.Unit
			h.n, h.err = e.ofUnit(established, o.Unit)
		} else {
			h.n, h.err = e.ofProcess(established, o)
		}
	}
	if h.err != nil {
		e.log.Warn("collateral unknown", "process", o.Name, "pid", o.PID, "error", h.err)
	}
	if c.collateral == nil {
		c.collateral = map[string]harm{}
	}
	c.collateral[key] = h
	return h
}

// ofProcess counts the sockets that a process has; of one that is no more there
// are none.
func (e *Engine) ofProcess(sockets map[uint32]bool, o *collectors.Owner) (n int, err error) {
	inodes, err := e.proc.SocketInodes(o.PID, o.StartTime)
	if errors.Is(err, collectors.ErrGone) {
		return 0, nil
	}
	slices.Sort(inodes)
	for _, i := range slices.Compact(inodes) { // a socket can have several descriptors
		if sockets[i] {
			n++
		}
	}
	return n, err
}

// ofUnit counts the sockets that processes of a unit have.
func (e *Engine) ofUnit(sockets map[uint32]bool, unit string) (n int, err error) {
	holders, err := e.proc.Holders(context.Background(), sockets)
	if err != nil {
		return 0, fmt.Errorf("owners of sockets: %w", err)
	}
	if holders.Unreadable > 0 {
		return 0, fmt.Errorf("%d process(es) cannot be read: %w", holders.Unreadable, collectors.ErrNotPermitted)
	}
	for _, owners := range holders.ByInode {
		if slices.ContainsFunc(owners, func(o collectors.Owner) bool { return o.Unit == unit }) {
			n++
		}
	}
	return n, nil
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
	looked := map[string]bool{}
	for k, found := range byListener {
		e.shareOf(c, k, found, looked)
	}
	for name := range e.memory.tripped {
		if strings.HasPrefix(name, tripShare) && !looked[name] {
			e.trip(c, name, false, "nothing to act on", nil)
		}
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

// tripShare begins the names of what trips for one listener.
const tripShare = "share "

// shareOf spares what a rule would do to one listener if that is too much, or if
// it cannot be told. Connections to elsewhere have no listener.
func (e *Engine) shareOf(c *cycle, k listenerKey, found []*Finding, looked map[string]bool) {
	name := fmt.Sprintf("%s%s %s %d", tripShare, k.rule.Name, k.ns.Name, k.port)
	looked[name] = true
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
	what := fmt.Sprintf("rule %s would act on %d of %d connections of port %d (share %.3g%%)", k.rule.Name, len(found), p.connections, k.port, share*100)
	e.trip(c, name, p.listens && float64(len(found)) > share*float64(p.connections), what, found)
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
	case !c.incomplete:
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
