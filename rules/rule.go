package rules

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// Mode says how far a rule goes.
type Mode string

// The modes of a rule. Enforcing rules act only in a live run.
const (
	ModeDisabled Mode = "disabled"
	ModeObserve  Mode = "observe"
	ModeEnforce  Mode = "enforce"
)

var modes = []string{string(ModeDisabled), string(ModeObserve), string(ModeEnforce)}

// Order says which sockets of a group a rule keeps.
type Order string

// The orders: the rule keeps those that have been in their state for the longest, or the
// shortest.
const (
	OrderOldest Order = "oldest"
	OrderNewest Order = "newest"
)

var orders = []string{string(OrderOldest), string(OrderNewest)}

// Limits bounds what one rule does. A zero is no limit.
type Limits struct {
	PerCycle  int           // targets in one cycle
	PerMinute int           // targets in any minute
	Share     float64       // of the connections of one listener; more than that trips
	Cooldown  time.Duration // between two actions on the same socket, process or unit
	Peer      time.Duration // between two actions on connections of the same peer
	// MaxCollateral is how many established connections may die with a process that
	// is signalled or restarted; negative for no limit.
	MaxCollateral int
}

// String writes the limits as a rules file does, without those that do not bind.
func (l Limits) String() string {
	var parts []string
	add := func(name string, set bool, value any) {
		if set {
			parts = append(parts, fmt.Sprintf("%s %v", name, value))
		}
	}
	add("per_cycle", l.PerCycle > 0, l.PerCycle)
	add("per_minute", l.PerMinute > 0, l.PerMinute)
	add("share", l.Share > 0, fmt.Sprintf("%.3g%%", l.Share*100))
	add("cooldown", l.Cooldown > 0, l.Cooldown)
	add("cooldown of a peer", l.Peer > 0, l.Peer)
	add("max_collateral", l.MaxCollateral >= 0, l.MaxCollateral)
	return strings.Join(parts, ", ")
}

// Rung is one step of a ladder.
type Rung struct {
	Action string
	Params map[string]any
	// Bound is what the catalog made of the action and its parameters. Rules only store
	// it.
	Bound any
	// Wait is how long the action may take to succeed before the next rung gets its turn.
	Wait time.Duration
	If   *Cond // nil for none
}

// String writes the rung as a rules file does, without its condition.
func (r *Rung) String() string {
	var b strings.Builder
	b.WriteString(r.Action)
	if v, ok := r.Params[r.Action]; ok {
		fmt.Fprintf(&b, " %v", v) // what directly follows the name
	}
	for _, k := range sortedKeys(r.Params) {
		if k != r.Action && r.Params[k] != false {
			fmt.Fprintf(&b, " %s=%v", k, r.Params[k])
		}
	}
	if r.Wait > 0 {
		fmt.Fprintf(&b, " wait=%s", r.Wait)
	}
	if r.If != nil {
		b.WriteString(" if " + r.If.Text)
	}
	return b.String()
}

// ReadsResult reports whether the condition of the rung asks for the outcome of the
// previous rung.
func (r *Rung) ReadsResult() bool { return r.If != nil && r.If.ReadsResult() }

// Rule is a compiled rule.
type Rule struct {
	Name        string
	Description string
	File        string
	Line        int
	When        *Cond
	Unless      *Cond // nil for none
	// Group and Having are set for a rule that decides on many sockets together:
	// what they have in common, and what must be true of them.
	Group  []GroupKey
	Having *Cond // nil for none, if the rule keeps some
	// Keep is how many sockets of a group stay: the rule acts on those beyond, by Order.
	// 0 means all.
	Keep  int
	Order Order
	For   time.Duration
	// During limits a rule to windows of time, Soak makes it only observe for a while
	// after it appeared or changed, Canary makes it act on only a part of what matches (0
	// for all).
	// Notify names the notifiers that hear what the rule found.
	Notify []string
	During []Window
	Soak   time.Duration
	Canary float64
	Mode   Mode
	Then   []Rung
	Limits Limits
	Labels map[string]string
	// Overridden says what another file has changed about it, nil for nothing.
	Overridden *Overridden
	// NeverActs says why no rung is ever applied to what the rule may match, whatever the
	// host has; "" if one may be.
	NeverActs string
	// Fingerprint changes when anything that the rule depends on does.
	Fingerprint string

	netns []string
	// may is where When may hold, and protocols are those that it is about.
	may       collectors.Clause
	protocols collectors.ProtocolSet
	// selects is set for a selection that does not read protocol.
	selects bool
	// settles is set if the condition asks how long no data has moved, in addition to the
	// age.
	settles bool
}

// Asks is what the kernel is asked for on behalf of the rule: nothing, which is a clause
// without states, for a disabled one.
func (r *Rule) Asks() collectors.Clause { return r.may }

// NetNS returns the namespaces that the rule is about, as its file or the command line
// names them.
func (r *Rule) NetNS() []string { return slices.Clone(r.netns) }

// InNetNS reports whether the rule is about the namespace, by its name or by what it was
// found by.
func (r *Rule) InNetNS(ns *collectors.Namespace) bool {
	for _, n := range r.netns {
		if n == "all" || n == ns.Name || slices.Contains(ns.Meant, n) {
			return true
		}
	}
	return false
}

// InWindow reports whether the rule may act at that time.
func (r *Rule) InWindow(t time.Time) bool { return inWindow(r.During, t) }

// Grouped reports whether the rule decides on many sockets together.
func (r *Rule) Grouped() bool { return len(r.Group) > 0 }

func (r *Rule) reads() collectors.FieldSet {
	reads := r.When.Reads.Or(r.groupFields())
	if r.Keep > 0 {
		reads.Add(collectors.AgeFields())
	}
	if r.Having != nil {
		// max_age, and the descriptors of the process.
		reads.Add(collectors.AgeFields().Or(collectors.Fields(collectors.FieldFDs, collectors.FieldFDLimit)))
	}
	if r.Unless != nil {
		reads.Add(r.Unless.Reads)
	}
	for i := range r.Then {
		if r.Then[i].If != nil {
			reads.Add(r.Then[i].If.Reads)
		}
	}
	return reads
}

// ReadsAge reports whether the age of a socket decides the rule.
func (r *Rule) ReadsAge() bool { return r.reads().Meets(collectors.AgeFields()) }

// ReadsOf returns which of some fields the rule reads.
func (r *Rule) ReadsOf(fields collectors.FieldSet) collectors.FieldSet { return r.reads().And(fields) }

// ReadsStall reports whether the rule depends on how long something has waited to be
// acknowledged.
func (r *Rule) ReadsStall() bool { return r.reads().Meets(collectors.StallFields()) }

// timeFields are the fields that tell how long something has lasted.
var timeFields = collectors.AgeFields().Or(lang.IdleFields()).Or(collectors.StallFields())

// ReadsTime reports whether ages or idle times of sockets decide the rule or one of its
// rungs.
func (r *Rule) ReadsTime() bool {
	reads := r.When.Reads
	for _, c := range []*Cond{r.Unless, r.Having} {
		if c != nil {
			reads.Add(c.Reads)
		}
	}
	for i := range r.Then {
		if c := r.Then[i].If; c != nil {
			reads.Add(c.Reads)
		}
	}
	return reads.Meets(timeFields)
}

// print digests everything that decides what the rule does, with the namespaces of
// its file.
func (r *Rule) print(netns []string) string {
	h := sha256.New()
	cond := func(c *Cond) {
		if c == nil {
			return
		}
		fmt.Fprintf(h, "%q", c.Text)
		for _, k := range sortedKeys(c.Uses) {
			fmt.Fprintf(h, " %s=%q", k, c.Uses[k])
		}
		fmt.Fprintln(h)
	}
	cond(r.When)
	fmt.Fprintln(h, "unless")
	cond(r.Unless)
	fmt.Fprintln(h, "having", r.Group)
	cond(r.Having)
	if r.Keep > 0 {
		fmt.Fprintln(h, "keep", r.Keep, r.Order)
	}
	fmt.Fprintln(h, r.Notify, r.During, r.Soak, r.Canary, r.For, r.Mode, r.Limits, sortedKeys(r.Labels), r.Labels, netns)
	for _, rung := range r.Then {
		fmt.Fprintln(h, rung.Action, rung.Params, rung.Wait)
		cond(rung.If)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}
