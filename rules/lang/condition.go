package lang

import (
	"fmt"
	"maps"
	"slices"

	"sockwarden/collectors"
)

// Condition is a compiled condition. It is immutable and safe for concurrent use.
type Condition struct {
	Text string
	// Reads are the fields that decide it.
	Reads collectors.FieldSet
	// Uses lists what the text refers to, with the values: a change of a variable counts
	// as a change of the rule.
	Uses map[string]string
	// Sets says how it asks each set that it asks.
	Sets map[string]SetUse
	// Ages lists the constants that age must exceed for it to hold.
	Ages []AgeBound
	// Notes are about what is valid but maybe not meant.
	Notes []Error
	// Constant is set for a condition that does not depend on the socket.
	Constant bool

	eval     func(*collectors.Record) Tri
	may      bounds
	root     *node
	expanded func() string
}

// AgeBound is an age that a socket must exceed for a condition to hold.
type AgeBound struct {
	Seconds float64
	From    int // where age stands in the text, in runes
}

// Compile compiles a condition; the errors have offsets into text.
func Compile(text string, sc *Scope) (*Condition, []Error) {
	c := newCompiler(sc, text)
	node, ok := c.parse(text)
	if !ok {
		return nil, c.errs
	}
	o, ok := c.compile(node)
	if ok && o.kind != kBool {
		c.errorf(IDWrongType, o.from, "this is %s, not a condition: compare it with something%s", o.kind, exampleOf(&o))
	}
	if len(c.errs) > 0 || !ok {
		return nil, c.errs
	}
	names := &meanings{sc.Vars, sc.Sets, sc.Macros}
	return &Condition{
		expanded: func() string { return names.expand(text) },
		Text:     text, Reads: o.reads, Uses: c.uses, Sets: c.sets, Ages: o.ages, Notes: c.notes,
		Constant: o.constant, eval: o.tri, may: o.may, root: o.node,
	}, nil
}

// exampleOf is a comparison of an operand, "" if none is easily made up.
func exampleOf(o *operand) string {
	switch {
	case o.field == nil:
	case isPortField(o.field):
		return fmt.Sprintf(", as in %s == 80", o.field.Name)
	case o.kind == kAge || o.kind.numeric():
		return fmt.Sprintf(", as in %s > 60", o.field.Name)
	}
	return ""
}

// ReadsResult reports whether it asks for the outcome of the rung before.
func (c *Condition) ReadsResult() bool { return c.root.reads.has("result") }

// OfProcess reports whether it asks for what only a group of one process has.
func (c *Condition) OfProcess() bool { return c.root.reads.has("fds") || c.root.reads.has("fd_limit") }

// AgesOver returns the ages, in seconds, that a socket must exceed for the
// condition to hold.
func (c *Condition) AgesOver() []float64 {
	ages := make([]float64, len(c.Ages))
	for i, a := range c.Ages {
		ages[i] = a.Seconds
	}
	return ages
}

// Eval returns the value of the condition for r; it cannot fail and does not
// keep r.
func (c *Condition) Eval(r *collectors.Record) Tri { return c.eval(r) }

// MayHold returns where the condition may be true, too wide rather than too narrow, by
// what every record shows. A clause without states is nowhere.
func (c *Condition) MayHold() collectors.Clause { return c.may.yes.clause() }

// AndOfOneOwner returns the condition joined with another, which must hold for one of the
// owners; the first must hold for each of them.
func (c *Condition) AndOfOneOwner(one *Condition) *Condition {
	both := *c
	both.Reads.Add(one.Reads)
	both.Constant = false
	ofOne := func(r *collectors.Record) Tri { return forOneOwner(r, one.eval) }
	both.eval = andTri(c.eval, ofOne)
	owner := *one.root // as a whole: what its parts say depends on the owner
	owner.parts, owner.tri = nil, ofOne
	text := "(" + c.Text + ") and (" + one.Text + ")"
	both.expanded = func() string { return "(" + c.Expanded() + ") and (" + one.Expanded() + ")" }
	both.root = &node{op: OpAnd, in: &written{text: text}, to: len([]rune(text)), reads: c.root.reads, parts: []*node{c.root, &owner}}
	both.root.reads.add(one.root.reads)
	return &both
}

// Or returns the condition joined with another, which may come from another file: one name
// can mean two things in them.
func (c *Condition) Or(o *Condition) *Condition {
	both := *c
	both.Reads.Add(o.Reads)
	both.Ages, both.Notes, both.Constant = slices.Concat(c.Ages, o.Ages), nil, c.Constant && o.Constant
	both.Sets, both.Uses = maps.Clone(c.Sets), maps.Clone(c.Uses)
	if both.Sets == nil {
		both.Sets = map[string]SetUse{}
	}
	maps.Copy(both.Sets, o.Sets)
	if both.Uses == nil {
		both.Uses = map[string]string{}
	}
	for name, value := range o.Uses {
		if mine, ok := both.Uses[name]; ok && mine != value {
			name += " or"
		}
		both.Uses[name] = value
	}
	both.Text = "(" + c.Text + ") or (" + o.Text + ")"
	both.expanded = func() string { return "(" + c.Expanded() + ") or (" + o.Expanded() + ")" }
	both.eval, both.may = orTri(c.eval, o.eval), c.may.or(o.may)
	both.root = &node{op: OpOr, in: &written{text: both.Text}, to: len([]rune(both.Text)), reads: c.root.reads, parts: []*node{c.root, o.root}}
	both.root.reads.add(o.root.reads)
	return &both
}

// forOneOwner is true if a condition holds for one of the owners of a record, and false
// only if it is false for all of them and there are no others.
func forOneOwner(r *collectors.Record, eval func(*collectors.Record) Tri) Tri {
	if r.Facts == nil || len(r.Facts.Owners) == 0 {
		return eval(r)
	}
	best := False
	if r.Facts.OthersHidden {
		best = Unknown
	}
	for i := range r.Facts.Owners {
		of := collectors.NewRecord(r.Socket, r.Namespace, r.Facts, &r.Facts.Owners[i], r.Host)
		switch eval(&of) {
		case True:
			return True
		case Unknown:
			best = Unknown
		case False:
		}
	}
	return best
}

// idleFields are the times since something moved.
var idleFields = collectors.Fields(collectors.FieldIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend, collectors.FieldAckIdle)

// IdleFields is the set of the times since something moved.
func IdleFields() collectors.FieldSet { return idleFields }

// ReadsIdle reports whether the condition asks how long nothing has moved, or how long the
// peer has taken nothing.
func (c *Condition) ReadsIdle() bool { return c.Reads.Meets(idleFields.Or(collectors.StallFields())) }

// EvalOnceIdle is Eval for a later time, when nothing may have moved for any length of
// time: it counts that length as unknown.
func (c *Condition) EvalOnceIdle(r *collectors.Record) Tri {
	known, facts := r.Known, r.Facts
	r.Known.Remove(idleFields.Or(collectors.StallFields()))
	if facts != nil && c.Reads.Meets(collectors.StallFields()) {
		later := *facts
		later.Stalled = collectors.NoAge()
		r.Facts = &later
	}
	value := c.eval(r)
	r.Known, r.Facts = known, facts
	return value
}
