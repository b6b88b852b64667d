package lang

import "sockwarden/collectors"

// limit is a comparison of a field with a constant, as in "age > 60".
type limit struct {
	field collectors.Field
	op    string
	value float64
}

// limitOf returns a comparison as a limit, nil if it is of another kind.
func limitOf(op string, l, r *operand) *limit {
	if l.field == nil || !r.constant {
		return nil
	}
	return &limit{l.field.Field, op, r.numVal}
}

// implies reports whether every value within one limit is within the other, too.
func (l *limit) implies(o *limit) bool {
	if l == nil || o == nil || l.field != o.field {
		return false
	}
	switch o.op {
	case ">":
		return l.op == ">" && l.value >= o.value || (l.op == ">=" || l.op == "==") && l.value > o.value
	case ">=":
		return (l.op == ">" || l.op == ">=" || l.op == "==") && l.value >= o.value
	case "<":
		return l.op == "<" && l.value <= o.value || (l.op == "<=" || l.op == "==") && l.value < o.value
	case "<=":
		return (l.op == "<" || l.op == "<=" || l.op == "==") && l.value <= o.value
	}
	if o.op == "!=" {
		return *l == *o || l.op == "==" && l.value != o.value || l.op == ">" && l.value >= o.value || l.op == "<" && l.value <= o.value
	}
	return *l == *o // "=="
}

// excludes reports whether no value is within both limits. An age is an interval: it can
// be above one and below the other if both are proven.
func (l *limit) excludes(o *limit) bool {
	return o != nil && l.implies(&limit{o.field, opposites[o.op], o.value})
}

var opposites = map[string]string{">": "<=", ">=": "<", "<": ">=", "<=": ">", "==": "!=", "!=": "=="}

// opposite returns the limit that holds wherever this one does not; nil for none. Of an
// interval, it may be impossible to prove either.
func (l *limit) opposite() *limit {
	if l == nil || collectors.AgeFields().Or(collectors.StallFields()).Has(l.field) {
		return nil
	}
	return &limit{l.field, opposites[l.op], l.value}
}
