package lang

import (
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
			c.errorf(IDWrongType, from, "%s negates a condition, but this is %s: put the comparison in parentheses, %s (...), or write != or not in",
				n.Operator, o.kind, n.Operator)
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
			c.errorf(IDAgeInterval, o.from, noAgeArithmetic, o.interval())
			return operand{}, false
		case !o.constant || !o.kind.numeric():
			c.errorf(IDWrongType, from, "a sign goes before a number, but this is %s: write 0 %s ...", describe(o), n.Operator)
			return operand{}, false
		}
		if n.Operator == "-" {
			return numConstant(-o.numVal, o.kind, from, to), true
		}
		return o, true
	}
	c.errorf(IDNotAvailable, from, "operator %q is not available", n.Operator)
	return operand{}, false
}

func (c *compiler) binary(n *ast.BinaryNode, from, to int) (operand, bool) {
	if n.Operator == ".." {
		c.errorf(IDSyntax, from, "a range comes after in: port in 21115..21119")
		return operand{}, false
	}
	if n.Operator == "in" {
		return c.in(n, from, to)
	}
	within := c.sense
	if op := n.Operator; op != "and" && op != "&&" && op != "or" && op != "||" {
		within = eitherWay // a compared condition counts for both
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
