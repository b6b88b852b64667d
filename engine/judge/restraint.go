package judge

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// noteRules notes how long each rule has been unchanged, for soak.
func (j *Judge) noteRules(c *Cycle) {
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
	for _, g := range j.Council.younger() {
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
func (j *Judge) soaking(r *rules.Rule, now float64) time.Duration {
	since, ok := j.young[r.Fingerprint]
	if !ok {
		since = now
	}
	if was, ok := j.memory.Rules[r.Name]; ok && was.Fingerprint == r.Fingerprint {
		since = was.Since
	}
	return max(0, r.Soak-time.Duration((now-since)*float64(time.Second)))
}

// inCanary reports whether a finding belongs to the part that its rule acts on. The part is
// the same in every cycle. It divides sockets, or processes and units if the rule acts on
// those, because any of their sockets would lead to them.
func (j *Judge) inCanary(f *report.Finding) bool {
	r := f.Rule
	if r.Canary <= 0 || r.Canary >= 1 {
		return true
	}
	what := fmt.Sprintf("%x", f.Socket.Cookie)
	if rung, plugin := effective(r); rung != nil && plugin.OnProcess() && len(f.Targets(plugin)) > 0 {
		what = f.Targets(plugin)[0]
	}
	const parts = 10_000
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s", r.Name, what)
	return h.Sum64()%parts < uint64(r.Canary*parts)
}

// quota counts what rules act on within one cycle, together with the early cycles before it
// in the same interval. It keys rules by fingerprint, as a reload may come in between.
type quota struct {
	targets map[string]int
	// named are the processes and units that already count.
	named map[string]map[string]bool
	spent
}

// spent counts what rules have acted on since the last cycle that was not early.
type spent struct {
	rules     map[string]int
	listeners map[string]int // for share
	all       int            // living targets, for the breaker
}

// quota begins a cycle with what its interval has spent.
func (j *Judge) quota() *quota {
	if j.spent == nil || !j.Early {
		j.spent = &spent{map[string]int{}, map[string]int{}, 0}
	}
	before := *j.spent
	before.rules = maps.Clone(before.rules)
	return &quota{maps.Clone(before.rules), map[string]map[string]bool{}, before}
}

// spend adds what a cycle acts on to what its interval has spent.
func (j *Judge) spend(ctx context.Context, c *Cycle, q *quota) {
	if !j.Repeats || !c.Live { // in a dry run the same sockets come again
		return
	}
	acts := map[string]bool{}
	acted := j.Breaker.acting(c, false)
	if !j.noBreaker {
		j.spent.all += j.Breaker.toll(ctx, c, acted).living
	}
	for _, f := range acted {
		j.spent.listeners[shareName(f.Finding)]++
		acts[f.Rule.Fingerprint] = true
	}
	for rule := range acts { // without those that the breaker spared
		j.spent.rules[rule] = q.targets[rule]
	}
}

// GiveBack takes one off what a rule has spent: it did nothing after all.
func (j *Judge) GiveBack(r *rules.Rule) {
	if j.spent != nil && j.spent.rules[r.Fingerprint] > 0 {
		j.spent.rules[r.Fingerprint]--
	}
}

// shareName names what a share limits.
func shareName(f *report.Finding) string {
	return fmt.Sprintf("%s%s %s %d", tripShare, f.Rule.Name, f.NS.Name, f.Socket.LocalPort)
}

// limits apply, in this order, to what all generations of rules would act on. For actions on
// processes they count processes or units, not sockets.
var limits = []gate{
	{"cooldown", stands},
	{"cooldown", coolsDown},
	{"cooldown", underWay},
	{"limit", tooHarmful},
	{"limit", beyond},
}

// limit spares targets that are cooling down, that would take too many healthy connections
// with them, or that exceed the limits of the rule.
func (j *Judge) limit(ctx context.Context, f *Case, c *Cycle, q *quota) {
	h := &hearing{Cycle: c, quota: q, harm: j.harmOf(ctx, c, f)}
	for _, gate := range limits {
		if gate.spares(j, h, f) {
			return
		}
	}
	_, plugin := effective(f.Rule)
	q.take(f.Finding, plugin)
	f.counted = true
}

// harmOf finds out what would die with a process that has the socket of a case.
func (j *Judge) harmOf(ctx context.Context, c *Cycle, f *Case) func(*collectors.Owner, *actions.Bound) look.Harm {
	return func(o *collectors.Owner, plugin *actions.Bound) look.Harm {
		return j.Harms.Of(ctx, c.Picture, f.Candidate, o, plugin)
	}
}

// SaidKey is the key under which memory keeps that a rule which changes nothing on the host
// has reported a finding.
func SaidKey(f *report.Finding) string { return "said " + report.KeyOf(f).String() }

// stands spares findings that a rule which changes nothing has reported, while they stand.
func stands(j *Judge, h *hearing, f *Case) bool {
	if !h.Live || len(f.Rule.Then) == 0 || !Harmless(f.Rule) {
		return false
	}
	if key := SaidKey(f.Finding); h.asking && !j.memory.AnyTold(key) || !h.asking && !j.memory.Stands(key, h.Now) {
		return false
	}
	f.set(report.DecideCooldown, "%s was done for it, and it still stands", f.Rule.Then[0].Action)
	return true
}

func coolsDown(j *Judge, h *hearing, f *Case) bool {
	if len(j.memory.Cooldowns) == 0 {
		return false
	}
	_, plugin := effective(f.Rule)
	keys := CoolKeys(f.Finding, plugin)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		length := keys[key]
		if left := j.memory.CoolingDown(key, length, h.Now); left > 0 {
			f.set(report.DecideCooldown, "cool-down %s, %s left", report.Short(length), report.Short(left))
			return true
		}
	}
	return false
}

// underWay spares the targets of ladders from earlier cycles.
func underWay(_ *Judge, h *hearing, f *Case) bool {
	rung, plugin := effective(f.Rule)
	if rung == nil || len(h.Waiting) == 0 || !slices.ContainsFunc(TargetsAndPeer(f.Finding, plugin), func(key string) bool { return h.Waiting[key] }) {
		return false
	}
	f.set(report.DecideCooldown, "an earlier action on it is still under way")
	return true
}

func tooHarmful(_ *Judge, h *hearing, f *Case) bool {
	_, plugin := effective(f.Rule)
	if !plugin.OnProcess() {
		return false
	}
	owners := f.Processes(plugin)
	for i := range owners {
		harm := h.harm(&owners[i], plugin)
		f.Collateral = max(f.Collateral, len(harm.Connections))
		if why := harm.Exceeds(f.Rule.Limits.MaxCollateral); why != "" {
			f.set(report.DecideLimited, "%s", why)
			return true
		}
	}
	return false
}

// beyond leaves to later cycles what exceeds per_cycle or per_minute.
func beyond(j *Judge, h *hearing, f *Case) bool {
	_, plugin := effective(f.Rule)
	n, did, limits := h.quota.more(f.Finding, plugin), h.quota.targets[f.Rule.Fingerprint], f.Rule.Limits
	switch {
	case n == 0:
		return false
	case limits.PerCycle > 0 && did+n > limits.PerCycle:
		f.set(report.DecideLimited, "per_cycle %d reached", limits.PerCycle)
	case limits.PerMinute > 0 && j.memory.Recent(f.Rule.Name, h.Now)+did-h.quota.rules[f.Rule.Fingerprint]+n > limits.PerMinute: // that was spent is recent
		f.set(report.DecideLimited, "per_minute %d reached", limits.PerMinute)
	default:
		return false
	}
	f.throttled = true
	return true
}

// more is how many targets a finding adds to those of its rule.
func (q *quota) more(f *report.Finding, plugin *actions.Bound) int {
	if !plugin.OnProcess() {
		return 1
	}
	return len(newTargets(f, plugin, q))
}

// take counts the targets of a finding among those of its rule.
func (q *quota) take(f *report.Finding, plugin *actions.Bound) {
	rule := f.Rule.Fingerprint
	if !plugin.OnProcess() {
		q.targets[rule]++
		return
	}
	if q.named[rule] == nil {
		q.named[rule] = map[string]bool{}
	}
	for _, key := range newTargets(f, plugin, q) {
		q.named[rule][key] = true
		q.targets[rule]++
	}
}

// newTargets returns the processes or units that a finding adds to those of its rule.
func newTargets(f *report.Finding, plugin *actions.Bound, q *quota) []string {
	return slices.DeleteFunc(f.Targets(plugin), func(key string) bool { return q.named[f.Rule.Fingerprint][key] })
}

func socketKey(s *collectors.Socket) string { return "socket " + strconv.FormatUint(s.Cookie, 16) }

// targetKeys returns the targets of an action: the socket, or each process or unit.
func targetKeys(f *report.Finding, plugin *actions.Bound) []string {
	switch {
	case f.NoSocket():
		return []string{"rule " + f.Rule.Name}
	case !plugin.OnProcess():
		return []string{socketKey(&f.Socket)}
	}
	return f.Targets(plugin)
}

// CoolKeys returns what must cool down after an action, and for how long: its targets and, if
// the rule says so, the peer.
func CoolKeys(f *report.Finding, plugin *actions.Bound) map[string]time.Duration {
	limits := f.Rule.Limits
	if limits.Cooldown <= 0 && limits.Peer <= 0 {
		return nil
	}
	keys := map[string]time.Duration{}
	if Harmless(f.Rule) { // its cool-down concerns no other rule
		return map[string]time.Duration{SaidKey(f): limits.Cooldown}
	}
	for _, key := range targetKeys(f, plugin) {
		keys[key] = limits.Cooldown
	}
	if limits.Peer > 0 && !f.NoSocket() {
		keys[peerKey(f)] = limits.Peer
	}
	return keys
}

// TargetsAndPeer returns the targets of a finding, and the peer if its rule limits that.
func TargetsAndPeer(f *report.Finding, plugin *actions.Bound) []string {
	keys := targetKeys(f, plugin)
	if f.Rule.Limits.Peer > 0 && !f.NoSocket() {
		keys = append(keys, peerKey(f))
	}
	return keys
}

func peerKey(f *report.Finding) string { return "peer " + f.Socket.Remote.Netip().String() }

// Prefixes of the names of trips: for one listener, and for all rules together.
const (
	tripShare = "share "
	tripAll   = "breaker "
)
