package lang

import (
	"math"
	"slices"

	"github.com/expr-lang/expr/ast"

	"sockwarden/collectors"
)

func (c *compiler) unary(n *ast.UnaryNode, from, to int) (operand, bool) {
	within := c.sense
	if n.Operator == "not" || n.Operator == "!" {
		within = -within
	}
	o, ok := c.within(within, n.Node)
	if !ok {
		return o, false
	}
	switch n.Operator {
	case "not", "!":
		if o.kind != kBool {
			c.errorf(from, "%s negates a condition, and this is %s: put the comparison in parentheses, %s (...), or write != or not in", n.Operator, o.kind, n.Operator)
			return operand{}, false
		}
		parts := conditions(&o)
		if negatedOperator(n) {
			parts = nil
		}
		if o.constant {
			folded := boolConstant(!o.boolVal, from, to)
			folded.reads, folded.parts = o.reads, parts
			return folded, true
		}
		inner := o.tri
		return operand{
			kind: kBool, from: from, to: to, reads: o.reads, may: o.may.not(), parts: parts,
			tri: func(r *collectors.Record) Tri { return inner(r).not() },
		}, true
	case "-", "+":
		switch {
		case o.kind == kAge:
			c.errorf(o.from, noAgeArithmetic)
			return operand{}, false
		case !o.constant || !o.kind.numeric():
			c.errorf(from, "a sign stands before a number, and this is %s: write 0 %s ...", describe(o), n.Operator)
			return operand{}, false
		}
		if n.Operator == "-" {
			return numConstant(-o.numVal, o.kind, from, to), true
		}
		return o, true
	}
	c.errorf(from, "operator %q is not available", n.Operator)
	return operand{}, false
}

func (c *compiler) binary(n *ast.BinaryNode, from, to int) (operand, bool) {
	if n.Operator == ".." {
		c.errorf(from, "a range stands behind in: port in 21115..21119")
		return operand{}, false
	}
	if n.Operator == "in" {
		return c.in(n, from, to)
	}
	within := c.sense
	if op := n.Operator; op != "and" && op != "&&" && op != "or" && op != "||" {
		within = eitherWay // a condition that is compared counts for both
	}
	l, okL := c.within(within, n.Left)
	if id, ok := n.Right.(*ast.IdentifierNode); ok && okL && c.bareText(l, id) {
		return operand{}, false
	}
	r, okR := c.within(within, n.Right)
	if !okL || !okR {
		return operand{}, false
	}
	o, ok := c.joined(n, l, r, from, to)
	o.parts = conditions(&l, &r)
	return o, ok
}

// joined compiles two operands and what stands between them.
func (c *compiler) joined(n *ast.BinaryNode, l, r operand, from, to int) (operand, bool) {
	switch op := n.Operator; op {
	case "and", "&&", "or", "||":
		return c.logic(op, l, r, from, to)
	case "==", "!=", "<", "<=", ">", ">=":
		return c.compare(op, l, r, from, to)
	case "+", "-", "*":
		return c.arithmetic(op, l, r, from, to)
	case "matches", "contains", "startsWith", "endsWith":
		return c.text(op, l, r, from, to)
	case "/", "%", "**", "^":
		c.errorf(n.Location().From, "%s is not available, as it can fail at run time: multiply the other side instead", op)
	case "??":
		c.errorf(n.Location().From, noCoalesce)
	default:
		c.errorf(n.Location().From, "operator %s is not available", op)
	}
	return operand{}, false
}

var protocolField = collectors.Fields(collectors.FieldProtocol)

func (c *compiler) logic(op string, l, r operand, from, to int) (operand, bool) {
	for _, o := range []operand{l, r} {
		if o.kind != kBool {
			hint := "compare it with something"
			if o.constant && o.kind != kList && o.kind != kMap {
				hint = "write the comparison out on both sides of " + op
			}
			c.errorf(o.from, "%s joins conditions, and this is %s: %s", op, o.kind, hint)
			return operand{}, false
		}
	}
	and := op == "and" || op == "&&"
	if r.constant {
		l, r = r, l
	}
	if l.constant {
		// Only what was asked of the protocol stays asked: a rule that mentions
		// it is not about TCP alone, whatever a variable decides.
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

const noAgeArithmetic = "age is an interval and cannot be calculated with: compare it alone, age > 60"

func (c *compiler) arithmetic(op string, l, r operand, from, to int) (operand, bool) {
	for _, o := range []*operand{&l, &r} {
		if o.upper != nil {
			c.errorf(o.from, "a sum over a group can be uncertain and cannot be calculated with: compare it alone")
			return operand{}, false
		}
		if o.kind == kAge {
			c.errorf(o.from, noAgeArithmetic)
			return operand{}, false
		}
		if d, err := ParseDuration(o.strVal); err == nil && o.constant && o.kind == kString {
			*o = numConstant(d.Seconds(), kSeconds, o.from, o.to)
		}
		if !o.kind.numeric() {
			c.errorf(o.from, "%s calculates with numbers, and this is %s", op, o.kind)
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
			c.errorf(from, "number out of range")
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
