package engine

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/rules"
)

// noteRules notes since when each rule is as it is, for soak.
func (j *judge) noteRules(c *cycle) {
	for _, r := range c.Program.Rules {
		if was, ok := j.memory.Rules[r.Name]; !ok || was.Fingerprint != r.Fingerprint {
			since, ok := j.young[r.Fingerprint]
			if !ok {
				since = c.Now
			}
			j.memory.Rules[r.Name] = memory.RuleSince{Fingerprint: r.Fingerprint, Since: since}
		}
	}
	for name := range j.memory.Rules {
		if c.Program.Rule(name) == nil {
			delete(j.memory.Rules, name)
		}
	}
	young := map[string]float64{}
	for _, g := range j.council.younger() {
		for _, r := range g.judged.Rules {
			since, ok := j.young[r.Fingerprint]
			if !ok {
				since = c.Now
			}
			young[r.Fingerprint] = since
		}
	}
	j.young = young
}

// soaking returns how long a rule must still only observe.
func (j *judge) soaking(r *rules.Rule, now float64) time.Duration {
	since, ok := j.young[r.Fingerprint]
	if !ok {
		since = now
	}
	if was, ok := j.memory.Rules[r.Name]; ok && was.Fingerprint == r.Fingerprint {
		since = was.Since
	}
	return max(0, r.Soak-time.Duration((now-since)*float64(time.Second)))
}

// inCanary reports whether a finding belongs to the part that its rule acts on.
// It is the same part in every cycle: of the sockets, or of the processes and
// units if the rule acts on those, as each of many sockets would lead to one.
func (j *judge) inCanary(f *Finding) bool {
	r := f.Rule
	if r.Canary <= 0 || r.Canary >= 1 {
		return true
	}
	what := fmt.Sprintf("%x", f.Socket.Cookie)
	if rung, plugin := effective(r); rung != nil && plugin.OnProcess() && len(f.Facts.Owners) > 0 {
		what = look.TargetKey(&f.Facts.Owners[0], plugin)
	}
	const parts = 10_000
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s", r.Name, what)
	return h.Sum64()%parts < uint64(r.Canary*parts)
}

// quota counts what rules act on within one cycle, and what they did in the early
// cycles before it in the same interval. Rules are named by fingerprint: they may
// be loaded again in between.
type quota struct {
	targets map[string]int
	// named are the processes and units that count already.
	named map[string]map[string]bool
	spent
}

// spent is what was acted on since the last cycle that was not early.
type spent struct {
	rules     map[string]int
	listeners map[string]int // for share
	all       int            // living targets, for the breaker
}

// quota begins a cycle with what its interval has spent.
func (j *judge) quota() *quota {
	if j.spent == nil || !j.early {
		j.spent = &spent{map[string]int{}, map[string]int{}, 0}
	}
	return &quota{maps.Clone(j.spent.rules), map[string]map[string]bool{}, *j.spent}
}

// spend adds what a cycle acts on to what its interval has spent.
func (j *judge) spend(c *cycle, q *quota) {
	if !j.repeats || !c.live { // in a dry run the same sockets come again
		return
	}
	acts := map[string]bool{}
	acted := j.breaker.acting(c, false)
	if !j.noBreaker {
		j.spent.all += j.breaker.toll(c, acted).living
	}
	for _, f := range acted {
		j.spent.listeners[f.listener()]++
		acts[f.Rule.Fingerprint] = true
	}
	for rule := range acts { // those that the breaker spared do not count
		j.spent.rules[rule] = q.targets[rule]
	}
}

// listener names what share is about.
func (f *Finding) listener() string {
	return fmt.Sprintf("%s%s %s %d", tripShare, f.Rule.Name, f.NS.Name, f.Socket.LocalPort)
}

// limit spares what is cooling down, what would take too many healthy
// connections with it, and what is beyond the rule's limits. For actions on
// processes the process or unit counts, not its sockets.
func (j *judge) limit(f *Finding, c *cycle, q *quota) {
	rung, plugin := effective(f.Rule)
	if rung == nil {
		return
	}
	limits := f.Rule.Limits
	set := func(d Decision, format string, args ...any) { f.Decision, f.Reason = d, fmt.Sprintf(format, args...) }
	for key, length := range coolKeys(f, plugin) {
		if left := j.memory.CoolingDown(key, length, c.Now); left > 0 {
			set(DecideCooldown, "cool-down %s, %s left", short(length), short(left))
			return
		}
	}
	if slices.ContainsFunc(targetsAndPeer(f, plugin), func(key string) bool { return c.waiting[key] }) {
		set(DecideCooldown, "an earlier action on it is still under way")
		return
	}
	if plugin.OnProcess() {
		for i := range f.Facts.Owners {
			h := j.harms.Of(c.Picture, f.Candidate, &f.Facts.Owners[i], plugin)
			f.Collateral = max(f.Collateral, len(h.Connections))
			if why := h.Exceeds(limits.MaxCollateral); why != "" {
				set(DecideLimited, "%s", why)
				return
			}
		}
	}
	n, named := 1, []string(nil)
	if plugin.OnProcess() {
		named = newTargets(f, plugin, q)
		n = len(named)
	}
	if n == 0 {
		return
	}
	switch {
	case limits.PerCycle > 0 && q.targets[f.Rule.Fingerprint]+n > limits.PerCycle:
		set(DecideLimited, "per_cycle %d reached", limits.PerCycle)
		f.throttled = true
		return
	case limits.PerMinute > 0 && j.memory.Recent(f.Rule.Name, c.Now)+q.targets[f.Rule.Fingerprint]+n > limits.PerMinute:
		set(DecideLimited, "per_minute %d reached", limits.PerMinute)
		f.throttled = true
		return
	}
	q.targets[f.Rule.Fingerprint] += n
	for _, key := range named {
		if q.named[f.Rule.Fingerprint] == nil {
			q.named[f.Rule.Fingerprint] = map[string]bool{}
		}
		q.named[f.Rule.Fingerprint][key] = true
	}
}

// newTargets names the processes or units that a finding adds to those of its
// rule.
func newTargets(f *Finding, plugin *actions.Plugin, q *quota) []string {
	var more []string
	for i := range f.Facts.Owners {
		if key := look.TargetKey(&f.Facts.Owners[i], plugin); !q.named[f.Rule.Fingerprint][key] {
			more = append(more, key)
		}
	}
	return more
}

func socketKey(s *collectors.Socket) string { return fmt.Sprintf("socket %x", s.Cookie) }

// targetKeys name what an action is for: the socket, or each process or unit.
func targetKeys(f *Finding, plugin *actions.Plugin) []string {
	switch {
	case f.NoSocket():
		return []string{"rule " + f.Rule.Name}
	case !plugin.OnProcess():
		return []string{socketKey(&f.Socket)}
	}
	keys := make([]string, len(f.Facts.Owners))
	for i := range keys {
		keys[i] = look.TargetKey(&f.Facts.Owners[i], plugin)
	}
	return keys
}

// coolKeys name what cools down after an action, and for how long: its targets,
// and, if the rule says so, the peer.
func coolKeys(f *Finding, plugin *actions.Plugin) map[string]time.Duration {
	limits := f.Rule.Limits
	if limits.Cooldown <= 0 && limits.Peer <= 0 {
		return nil
	}
	keys := map[string]time.Duration{}
	for _, key := range targetKeys(f, plugin) {
		keys[key] = limits.Cooldown
	}
	if limits.Peer > 0 && !f.NoSocket() {
		keys[peerKey(f)] = limits.Peer
	}
	return keys
}

func peerKey(f *Finding) string { return "peer " + f.Socket.Remote.Netip().String() }

// These begin the names of what trips for one listener, and for all rules together.
const (
	tripShare = "share "
	tripAll   = "breaker "
)
