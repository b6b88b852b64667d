package lang

import (
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"

	"sockwarden/collectors"
)

// in compiles "x in list". Nothing is in an empty list, whether x is known or
// not.
func (c *compiler) in(n *ast.BinaryNode, from, to int) (operand, bool) {
	if u, ok := n.Left.(*ast.UnaryNode); ok && (u.Operator == "not" || u.Operator == "!") {
		c.errorf(IDSyntax, from, "%s binds to what is next to it: write x not in ..., or put the comparison in parentheses", u.Operator)
		return operand{}, false
	}
	l, okL := c.compile(n.Left)
	r, okR := c.listOperand(n.Right)
	if !okL || !okR {
		return operand{}, false
	}
	if r.kind != kList {
		written := c.written(n.Right)
		if r.kind == kString {
			written = r.strVal
		}
		hint := "write a list: in [" + strconv.Quote(r.strVal) + "]"
		switch between := asRange(written); {
		case r.constant && between != "":
			hint = "a range is written " + between
		case r.constant && r.kind.numeric():
			hint = "write a list: in [" + written + "]"
		case r.kind != kString || !r.constant:
			hint = "write a list, a range or the name of a set"
		}
		c.errorf(IDWrongType, r.from, "in takes a list, but this is %s: %s", describe(r), hint)
		return operand{}, false
	}
	switch {
	case l.kind == kAge:
		c.errorf(IDAgeInterval, l.from, "%s is an interval: compare it with >, >=, < or <=", l.interval())
		return operand{}, false
	case l.kind == kSeconds && l.field != nil:
		c.errorf(IDWrongType, l.from, "a list holds whole numbers, %s is a time: compare it with >, >=, < or <=", l.field.Name)
		return operand{}, false
	case r.set.Kind() == KindEmpty:
		never := boolConstant(false, from, to)
		never.reads, never.may.yes.why = l.reads.And(protocolField), c.inEmpty(n.Right)
		return never, true
	}
	return c.memberOf(l, r, operand{kind: kBool, from: from, to: to, reads: l.reads, may: unbounded})
}

// memberOf asks a set that is not empty; all of out is set but how.
func (ops operators) memberOf(l, r, out operand) (operand, bool) {
	switch has := r.set.Kind(); {
	case l.kind.numeric() && has == KindNumber:
		return ops.numberIn(l, r, out)
	case l.kind == kAddress && has == KindAddr:
		return ops.addressIn(l, r, out), true
	case l.kind == kString && has == KindName:
		return ops.nameIn(l, r, out)
	case l.kind != kString && has == KindName && r.set.First != nil:
		ops.badLine(r.from, r.set, l.kind)
	default:
		ops.errorf(IDNeverEqual, r.from, "%s is never in a list of %s", describe(l), has)
	}
	return operand{}, false
}

func (ops operators) numberIn(l, r, out operand) (operand, bool) {
	get, set := l.num, r.set
	if l.kind == kPort && !(ops.isPort(set.Ranges[0].Low, r.from) && ops.isPort(set.Ranges[len(set.Ranges)-1].High, r.from)) {
		return operand{}, false
	}
	out.tri = func(rec *collectors.Record) Tri {
		x, ok := get(rec)
		if !ok {
			return Unknown
		}
		return triOf(set.hasNumber(x))
	}
	if isPortField(l.field) {
		out.may = portBounds(l.field.Field, set.Ranges)
	}
	return out, true
}

func (ops operators) addressIn(l, r, out operand) operand {
	get, set := l.addr, r.set
	if set.onlyIPv6() {
		ops.note(IDIPv6Only, r.from, "::/0 is about IPv6 only: add 0.0.0.0/0 if IPv4 is meant, too")
	}
	out.tri = func(rec *collectors.Record) Tri {
		x, ok := get(rec)
		if !ok {
			return Unknown
		}
		return triOf(set.hasAddr(x))
	}
	if l.field != nil && l.field.Field == collectors.FieldRemoteAddr {
		out.may = peerBounds(set.prefixes(maxPeers))
	}
	return out
}

func (ops operators) nameIn(l, r, out operand) (operand, bool) {
	if l.field == nil || len(l.field.Values) == 0 {
		out.tri = hasName(l.str, r.set, false)
		return out, true
	}
	var values []string
	for _, v := range r.set.Names {
		own, ok := ops.enumValue(l.field, v, r.from)
		if !ok {
			return operand{}, false
		}
		values = append(values, own)
	}
	return oneOf(l, values, false, out), true
}

// badLine reports that a list asked for numbers or addresses holds none: a mistyped one
// reads as a name.
func (ops operators) badLine(from int, set *Set, asked kind) {
	what := "a number"
	if asked == kAddress {
		what = "an address"
	}
	ops.errorf(IDWrongEntry, from, "%q is not %s%s", set.Names[0], what, entryHint(set.Names[0], asked))
	ops.errs[len(ops.errs)-1].List = set.First
}

// entryHint says what to do about an entry of a list that is not a number or address.
func entryHint(entry string, asked kind) string {
	switch {
	case strings.ContainsAny(entry, ", \t"):
		return ": a list has one entry per line"
	case asked == kAddress && strings.Contains(entry, "."):
		return ": names are not looked up, write addresses"
	}
	return ""
}

// hasName asks whether a string is in a set.
func hasName(get func(*collectors.Record) (string, bool), set *Set, negate bool) func(*collectors.Record) Tri {
	return negateIf(negate, func(rec *collectors.Record) Tri {
		x, ok := get(rec)
		if !ok {
			return Unknown
		}
		return triOf(set.hasName(x))
	})
}
