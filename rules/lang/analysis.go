package lang

import (
	"slices"

	"sockwarden/collectors"
)

// DeadPart is a part of a condition whose value does not depend on the socket.
type DeadPart struct {
	Text string
	From int  // where it begins in the condition, in runes
	True bool // it is never false; else it is never true
	Why  string
}

// Dead returns the parts that decide nothing, because they say the same about every socket:
// the outermost ones only. It leaves out parts that read a variable, since another value
// would make them say something else.
func (c *Condition) Dead() (parts []DeadPart) { return c.root.dead(nil) }

func (n *node) dead(found []DeadPart) []DeadPart {
	never, why := n.never()
	if always := n.always(); (never || always) && !n.reads.settable && !n.reads.fields.Empty() {
		text, from, _ := n.in.within(n.from, n.to)
		return append(found, DeadPart{Text: text, From: from, True: always, Why: why})
	}
	if n.op == OpMacro {
		return found // its text is elsewhere, and the same in every use
	}
	for _, part := range n.parts {
		found = part.dead(found)
	}
	return found
}

// never reports whether the part is true of no socket.
func (n *node) never() (never bool, why string) {
	if n.may.yes.empty() {
		return true, n.may.yes.why
	}
	if n.op != OpAnd {
		return false, ""
	}
	all := n.conjuncts(nil)
	for i, a := range all {
		for _, b := range all[:i] {
			if a.limit.excludes(b.limit) {
				return true, b.text() + " and " + a.text() + " exclude each other"
			}
		}
	}
	return false, ""
}

// always reports whether the part is false of no socket.
func (n *node) always() bool {
	if n.may.no.empty() {
		return true
	}
	if n.op != OpOr {
		return false
	}
	for i, a := range n.parts {
		for _, b := range n.parts[:i] {
			if a.limit.opposite().implies(b.limit) {
				return true
			}
		}
	}
	return false
}

func (n *node) text() string {
	text, _, _ := n.in.within(n.from, n.to)
	return text
}

// conjuncts appends the parts that must all be true for this one to be.
func (n *node) conjuncts(all []*node) []*node {
	switch n.op {
	case OpAnd, OpMacro:
		for _, part := range n.parts {
			all = part.conjuncts(all)
		}
		return all
	default:
		return append(all, n)
	}
}

// known are the fields that every record knows.
var known = collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState, collectors.FieldPort, collectors.FieldRemotePort)

// Implies reports whether the other condition is certainly true of every socket of which
// this one is true. It finds only the simple cases.
func (c *Condition) Implies(o *Condition) bool {
	for name, value := range o.Uses {
		if v, ok := c.Uses[name]; ok && v != value {
			return false // the same words mean other things
		}
	}
	mine := c.root.conjuncts(nil)
	for _, part := range o.root.conjuncts(nil) {
		static := part.reads.others == 0 && part.reads.fields.And(known) == part.reads.fields && c.may.yes.meet(part.may.no).empty()
		same := func(n *node) bool { return n.limit.implies(part.limit) || n.text() == part.text() }
		if !static && !slices.ContainsFunc(mine, same) {
			return false
		}
	}
	return true
}

// AtLeast returns the greatest lower bound that the condition certainly demands of one of
// the fields, 0 for none.
func (c *Condition) AtLeast(fields collectors.FieldSet) (most float64) {
	for _, n := range c.root.conjuncts(nil) {
		if n.limit != nil && fields.Has(n.limit.field) && (n.limit.op == ">" || n.limit.op == ">=") {
			most = max(most, n.limit.value)
		}
	}
	return most
}

// Names reports whether the condition names values of a field, by == or in, and can be true
// only of these.
func (c *Condition) Names(f collectors.Field) bool {
	return slices.ContainsFunc(c.root.conjuncts(nil), func(n *node) bool {
		return (n.op == OpCompare || n.op == OpIn) && !n.unequal && len(n.parts) == 0 && n.reads.fields == collectors.Fields(f)
	})
}
