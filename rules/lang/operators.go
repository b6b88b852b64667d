package lang

import (
	"math"
	"slices"

	"github.com/expr-lang/expr/ast"

	"sockwarden/collectors"
)

// operators joins compiled operands.
type operators struct{ *checker }

// joined compiles two operands and the operator between them.
func (ops operators) joined(n *ast.BinaryNode, l, r operand, from, to int) (operand, bool) {
	switch op := n.Operator; op {
	case "and", "&&", "or", "||":
		return ops.logic(op, l, r, from, to)
	case "==", "!=", "<", "<=", ">", ">=":
		return ops.compare(op, l, r, from, to)
	case "+", "-", "*":
		return ops.arithmetic(op, l, r, from, to)
	case "matches", "contains", "startsWith", "endsWith":
		return ops.text(op, l, r, from, to)
	case "/", "%", "**", "^":
		ops.errorf(IDNotAvailable, n.Location().From, "%s is not available, as it can fail at run time: multiply the other side instead", op)
	case "??":
		ops.errorf(IDNotAvailable, n.Location().From, noCoalesce)
	default:
		ops.errorf(IDNotAvailable, n.Location().From, "operator %s is not available", op)
	}
	return operand{}, false
}

var protocolField = collectors.Fields(collectors.FieldProtocol)

func (ops operators) logic(op string, l, r operand, from, to int) (operand, bool) {
	for _, o := range []operand{l, r} {
		if o.kind != kBool {
			hint := "compare it with something"
			if o.constant && o.kind != kList && o.kind != kMap {
				hint = "write the comparison out on both sides of " + op
			}
			ops.errorf(IDWrongType, o.from, "%s joins conditions, but this is %s: %s", op, o.kind, hint)
			return operand{}, false
		}
	}
	and := op == "and" || op == "&&"
	if r.constant {
		l, r = r, l
	}
	if l.constant {
		// Only the question about the protocol stays: a rule that mentions it is not
		// about TCP alone, whatever a variable decides.
		asked := l.reads.Or(r.reads).And(protocolField)
		if l.boolVal != and {
			may := l.may
			r = boolConstant(l.boolVal, from, to) // decides alone
			r.may = may
		}
		r.from, r.to, r.field, r.reads = from, to, nil, r.reads.Or(asked)
		return r, true
	}
	out := operand{kind: kBool, from: from, to: to, reads: l.reads.Or(r.reads)}
	if and {
		out.tri, out.may = andTri(l.tri, r.tri), l.may.and(r.may)
		out.ages = slices.Concat(l.ages, r.ages)
	} else {
		out.tri, out.may = orTri(l.tri, r.tri), l.may.or(r.may)
	}
	return out, true
}

const noAgeArithmetic = "%s is an interval and cannot be calculated with: compare it alone, %[1]s > 60"

func (ops operators) arithmetic(op string, l, r operand, from, to int) (operand, bool) {
	for _, o := range []*operand{&l, &r} {
		if o.upper != nil {
			ops.errorf(IDAgeInterval, o.from, "a sum over a group can be uncertain and cannot be calculated with: compare it alone")
			return operand{}, false
		}
		if o.kind == kAge {
			ops.errorf(IDAgeInterval, o.from, noAgeArithmetic, o.interval())
			return operand{}, false
		}
		if d, err := ParseDuration(o.strVal); err == nil && o.constant && o.kind == kString {
			*o = numConstant(d.Seconds(), kSeconds, o.from, o.to)
		}
		if !o.kind.numeric() {
			ops.errorf(IDWrongType, o.from, "%s calculates with numbers, but this is %s", op, o.kind)
			return operand{}, false
		}
	}
	k := kNumber
	if l.kind == kSeconds || r.kind == kSeconds {
		k = kSeconds
	}
	calc := map[string]func(a, b float64) float64{
		"+": func(a, b float64) float64 { return a + b },
		"-": func(a, b float64) float64 { return a - b },
		"*": func(a, b float64) float64 { return a * b },
	}[op]
	if l.constant && r.constant {
		v := calc(l.numVal, r.numVal)
		if math.IsInf(v, 0) || math.IsNaN(v) {
			ops.errorf(IDOutOfRange, from, "number out of range")
			return operand{}, false
		}
		return numConstant(v, k, from, to), true
	}
	a, b := l.num, r.num
	return operand{kind: k, from: from, to: to, reads: l.reads.Or(r.reads), num: func(rec *collectors.Record) (float64, bool) {
		x, ok1 := a(rec)
		y, ok2 := b(rec)
		v := calc(x, y)
		return v, ok1 && ok2 && !math.IsInf(v, 0) && !math.IsNaN(v)
	}}, true
}
