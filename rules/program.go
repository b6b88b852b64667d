package rules

import (
	"slices"
	"time"

	"sockwarden/collectors"
)

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

// FileInfo is a file that went into a program.
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
	// NoDefaultDir says that the built-in rules stand in for a missing directory.
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

	names    []fileNames // of each file
	warnings problemList
	ignored  []*ignored
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
	var protocols collectors.ProtocolSet
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
		if r.selects {
			r.may.Protocols = slices.DeleteFunc(r.may.Protocols, func(p collectors.Protocol) bool { return p == collectors.MPTCP })
		}
		r.protocols = collectors.ProtocolsIn(r.may.Protocols...)
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
	p.Query.Protocols = protocols.All()
	p.Query.Fields = p.Reads
}

// AgeStates returns the states of the sockets that are decided by age.
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

// Ripens returns the shortest age, in seconds, that some rule waits for; false if none
// does.
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

// Match returns the indexes of the rules whose condition holds for r, or may hold once
// more is known about it, or, for rules that read ages, once no data has moved for long
// enough. The slice is valid until the next call. It allocates nothing for a record that
// no rule can match.
func (e *Evaluator) Match(r *collectors.Record) []int {
	e.hits = e.hits[:0]
	for _, i := range e.program.index.find(r.Socket, e.buf) {
		rule := e.program.Rules[i]
		if !rule.protocols.Has(r.Socket.Protocol) || (r.Namespace != nil && !rule.InNetNS(r.Namespace)) {
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
