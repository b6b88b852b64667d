package lang

import (
	"math/bits"
	"slices"

	"sockwarden/collectors"
)

// Part is a part of a condition that is itself a condition, and what it says of one
// record. Explain makes it anew each time: it belongs to the caller.
type Part struct {
	Op Op
	// Text is the part as written, From and To where it stands in the text, in runes.
	// Macro names the macro whose text that is, "" for the condition's own.
	Text     string
	From, To int
	Macro    string
	Name     string // of a macro that it stands for, whose text is its only part
	// Value is what it says of the record, even where the rest decides without it.
	Value Tri
	// Names are the fields that it reads, and the values of a group, in the order of
	// their declaration. The fields of an age come together.
	Names []string
	// Reads has their values (bool, float64, string or netip.Addr). Unknown says of those
	// that are not known, or not exactly, when they are.
	Reads   map[string]any
	Unknown map[string]string
	Parts   []Part
}

// Explain says of every part of the condition what it says of a record, and what it read.
// The value of the whole is the one that Eval returns.
func (c *Condition) Explain(r *collectors.Record) Part { return c.root.explain(r) }

// Tree returns the parts of the condition without a record: nothing has a value.
func (c *Condition) Tree() Part { return c.root.explain(nil) }

// Values appends what every part says of a record, in the order of Tree, each part before
// its own parts: it is Explain for many records.
func (c *Condition) Values(r *collectors.Record, into []Tri) []Tri { return c.root.values(r, into) }

func (n *node) values(r *collectors.Record, into []Tri) []Tri {
	const usual = 8 // parts of a part
	place, kids := len(into), make([]Tri, 0, usual)
	into = append(into, Unknown)
	for _, part := range n.parts {
		of := len(into)
		into = part.values(r, into)
		kids = append(kids, into[of])
	}
	into[place] = n.value(r, kids)
	return into
}

func (n *node) explain(r *collectors.Record) Part {
	p := Part{Op: n.op, Macro: n.in.macro, Name: n.name, Names: n.reads.names()}
	p.Text, p.From, p.To = n.in.within(n.from, n.to)
	for _, part := range n.parts {
		p.Parts = append(p.Parts, part.explain(r))
	}
	if r == nil {
		return p
	}
	kids := make([]Tri, len(p.Parts))
	for i := range kids {
		kids[i] = p.Parts[i].Value
	}
	p.Value = n.value(r, kids)
	p.Reads, p.Unknown = map[string]any{}, map[string]string{}
	for _, name := range p.Names {
		v, why := read(name, r)
		if v != nil {
			p.Reads[name] = v
		}
		if why != "" {
			p.Unknown[name] = why
		}
	}
	return p
}

// value computes the value from the values of the parts.
func (n *node) value(r *collectors.Record, parts []Tri) Tri {
	if n.tri != nil {
		return n.tri(r)
	}
	has := func(v Tri) bool { return slices.Contains(parts, v) }
	switch {
	case n.op == OpNot:
		return parts[0].not()
	case n.op == OpAnd && has(False):
		return False
	case n.op == OpOr && has(True):
		return True
	case n.op == OpMacro:
		return parts[0]
	case has(Unknown):
		return Unknown
	case n.op == OpCompare:
		return triOf((parts[0] == parts[1]) != n.unequal)
	}
	return triOf(n.op == OpAnd)
}

// otherNames are what a condition can read besides fields.
var otherNames = append(slices.Clone(groupNames), "result")

// other returns the readings of a name that is not a field.
func other(name string) readings { return readings{others: 1 << slices.Index(otherNames, name)} }

func (r readings) has(name string) bool { return r.others&other(name).others != 0 }

func (r readings) names() []string {
	fields := r.fields
	if fields.Meets(collectors.AgeFields()) {
		fields.Add(collectors.AgeFields())
	}
	var names []string
	for f := range fields.Each {
		names = append(names, f.String())
	}
	for others := r.others; others != 0; others &= others - 1 {
		names = append(names, otherNames[bits.TrailingZeros8(others)])
	}
	return names
}

// read returns what a record says of a name, nil if nothing, and why if it does not know it
// exactly.
func read(name string, r *collectors.Record) (value any, why string) {
	o, ofGroup := groupOperand(name, 0, 0)
	f, isField := collectors.FieldByName(name)
	switch {
	case ofGroup && r.Group != nil:
		return readGroup(&o, r)
	case name == "result" && r.Result == "":
		return nil, "no rung came before"
	case name == "result":
		return r.Result, ""
	case !isField:
		return nil, "there is no group"
	}
	if v, ok := collectors.Value(f, r); ok {
		return v, ""
	}
	return nil, f.Doc().Unknown
}

// readGroup does the same for a value of a group, which may be only a lower bound.
func readGroup(o *operand, r *collectors.Record) (value any, why string) {
	if o.age != nil {
		if r.Group.Age.Bounded && r.Group.Age.Min == r.Group.Age.Max {
			return r.Group.Age.Min, ""
		}
		return r.Group.Age.Min, "this much is proven, it may be more"
	}
	v, ok := o.num(r)
	switch {
	case !ok:
		return nil, "it is known only of one process that can be read, with a limit"
	case o.upper != nil && o.upper(r) != v:
		return v, "sockets of which something is unknown may belong to the group, too"
	}
	return v, ""
}
