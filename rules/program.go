package rules

import (
	"fmt"
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
	// Bound is what the catalog made of the action and its parameters. Rules only keep it.
	Bound any
	// Wait is how long the action may take to succeed before the next rung is
	// looked at.
	Wait time.Duration
	If   *Cond // nil for none
}

// String writes the rung as a rules file does, without its condition.
func (r *Rung) String() string {
	var b strings.Builder
	b.WriteString(r.Action)
	if v, ok := r.Params[r.Action]; ok {
		fmt.Fprintf(&b, " %v", v) // what stands directly behind the name
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
	Having *Cond
	For    time.Duration
	// During limits a rule to windows of time, Soak makes it observe for a while
	// after it appeared or changed, Canary makes it act on a part of what matches
	// only (0 for all).
	// Notify names the notifiers that are told what the rule found.
	Notify []string
	During []Window
	Soak   time.Duration
	Canary float64
	Mode   Mode
	Then   []Rung
	Limits Limits
	Labels map[string]string
	// NeverActs says why no rung is ever applied to what the rule may match, whatever the
	// host has; "" if one may be.
	NeverActs string
	// Fingerprint changes when anything that the rule depends on does.
	Fingerprint string

	netns []string
	// may is where When may hold, and protocols which it is about, by 1<<protocol.
	may       collectors.Clause
	protocols uint32
	// settles is set if the condition asks how long no data has moved, besides the age.
	settles bool
}

// InNetNS reports whether the rule is about the namespace of that name.
func (r *Rule) InNetNS(name string) bool {
	for _, n := range r.netns {
		if n == "all" || n == name {
			return true
		}
	}
	return false
}

// Protect is a condition that spares a socket from every rule of every file,
// during its windows of time.
type Protect struct {
	Name   string
	File   string
	When   *Cond
	During []Window
}

// InForce reports whether the protection holds at that time.
func (p *Protect) InForce(t time.Time) bool { return inWindow(p.During, t) }

// InWindow reports whether the rule may act at that time.
func (r *Rule) InWindow(t time.Time) bool { return inWindow(r.During, t) }

// FileInfo is a file that a program was made of.
type FileInfo struct {
	Path  string
	Rules int
}

// Program is one generation of rules. It is immutable.
type Program struct {
	Rules     []*Rule
	Protect   []*Protect
	Breaker   Breaker
	Files     []FileInfo
	Sets      map[string]*Set // of all files
	Notifiers map[string]Notifier
	Vars      map[string]string // of all files, as they are written
	// NoDefaultDir says that the built-in rules stand in for a directory that
	// does not exist.
	NoDefaultDir bool
	Generation   string   // sha256:... of everything that went into it
	NetNS        []string // namespaces that some rule is about
	// Query asks for every socket that some rule can match.
	Query collectors.Query
	// Reads holds every field that some condition reads.
	Reads collectors.FieldSet
	// Warnings are lints: the program is valid, but maybe not what was meant.
	Warnings Problems
	// Watched lists the files and directories that can change the program.
	Watched []string

	warnings problemList
	index    index
	opts     Options
	inputs   *inputs // nil for what was not read from files
	text     string  // digest of everything but the files of sets
}

// Short is the generation as reports show it.
func (p *Program) Short() string { return p.Generation[len("sha256:") : len("sha256:")+7] }

// seal computes what follows from the rules.
func (p *Program) seal() {
	var states collectors.StateMask
	var protocols uint32 // bit 1<<protocol
	known := map[string]bool{}
	for _, n := range p.NetNS {
		known[n] = true
	}
	for _, r := range p.Rules {
		if r.Mode == ModeDisabled {
			continue
		}
		for _, n := range r.netns {
			if !known[n] {
				known[n] = true
				p.NetNS = append(p.NetNS, n)
			}
		}
		r.may, r.settles = r.When.MayHold(), r.ReadsAge() && r.When.ReadsIdle()
		if r.may.States != 0 && !r.When.Reads.Has(collectors.FieldProtocol) {
			r.may.Protocols = []collectors.Protocol{collectors.TCP}
		}
		for _, proto := range r.may.Protocols {
			r.protocols |= 1 << proto
		}
		p.Reads.Add(r.reads())
		if r.may.States != 0 {
			states |= r.may.States
			protocols |= r.protocols
			p.Query.Clauses = append(p.Query.Clauses, r.may)
		}
	}
	p.index = newIndex(p.Rules)
	for _, pr := range p.Protect {
		p.Reads.Add(pr.When.Reads)
	}
	p.Query.States = states
	for _, proto := range []collectors.Protocol{collectors.TCP, collectors.UDP} {
		if protocols&(1<<proto) != 0 {
			p.Query.Protocols = append(p.Query.Protocols, proto)
		}
	}
	p.Query.Fields = p.Reads
}

func (r *Rule) reads() collectors.FieldSet {
	reads := r.When.Reads.Or(r.groupFields())
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

// ReadsAge reports whether the age of a socket decides about the rule.
func (r *Rule) ReadsAge() bool { return r.reads().Meets(collectors.AgeFields()) }

// timeFields are what a condition can read of how long something has lasted.
var timeFields = collectors.AgeFields().Or(lang.IdleFields())

// ReadsTime reports whether ages or idle times of sockets decide about the rule,
// or about one of its rungs.
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

// AgeStates returns the states of the sockets about which age decides.
func (p *Program) AgeStates() collectors.StateMask {
	var states collectors.StateMask
	for _, r := range p.Rules {
		if r.Mode != ModeDisabled && r.ReadsAge() {
			states |= r.may.States
		}
	}
	return states
}

// EnforcedStates returns the states of the sockets that some enforcing rule takes.
func (p *Program) EnforcedStates() collectors.StateMask {
	var states collectors.StateMask
	for _, r := range p.Rules {
		if r.Mode == ModeEnforce {
			states |= r.may.States
		}
	}
	return states
}

// Ripens returns the shortest age, in seconds, that some rule waits for; false
// if none does.
func (p *Program) Ripens() (seconds float64, ok bool) {
	for _, r := range p.Rules {
		if r.Mode == ModeDisabled {
			continue
		}
		for _, limit := range r.When.AgesOver() {
			if !ok || limit < seconds {
				seconds, ok = limit, true
			}
		}
	}
	return seconds, ok
}

// Grouped reports whether the rule decides on many sockets together.
func (r *Rule) Grouped() bool { return len(r.Group) > 0 }

// ReadsResult reports whether the condition of the rung asks for the outcome of
// the rung before.
func (r *Rung) ReadsResult() bool { return r.If != nil && r.If.ReadsResult() }

// Evaluator finds the rules that hold for a record. Each goroutine has its own.
type Evaluator struct {
	program *Program
	buf     []int // room for what the index finds
	hits    []int
}

// NewEvaluator returns an evaluator of the program.
func (p *Program) NewEvaluator() *Evaluator {
	return &Evaluator{program: p, buf: make([]int, 0, len(p.Rules)), hits: make([]int, 0, len(p.Rules))}
}

// Match returns the indexes of the rules whose condition holds for r, or may
// hold once more is known about it, or, of rules that read ages, once no data has
// moved for long enough. The slice is valid until the next call.
// Nothing is allocated for a record that no rule can match.
func (e *Evaluator) Match(r *collectors.Record) []int {
	e.hits = e.hits[:0]
	bit := uint32(1) << r.Socket.Protocol
	for _, i := range e.program.index.find(r.Socket, e.buf) {
		rule := e.program.Rules[i]
		if rule.protocols&bit == 0 || (r.Namespace != nil && !rule.InNetNS(r.Namespace.Name)) {
			continue
		}
		if rule.When.Eval(r) != False || rule.mayHoldOnceIdle(r) {
			e.hits = append(e.hits, i)
		}
	}
	return e.hits
}

// Rule returns the rule of that name, nil if there is none.
func (p *Program) Rule(name string) *Rule {
	for _, r := range p.Rules {
		if r.Name == name {
			return r
		}
	}
	return nil
}
