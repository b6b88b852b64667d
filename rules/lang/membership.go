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
		c.errorf(from, "%s binds to what stands next to it: write x not in ..., or put the comparison in parentheses", u.Operator)
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
		c.errorf(r.from, "in takes a list, and this is %s: %s", describe(r), hint)
		return operand{}, false
	}
	switch {
	case l.kind == kAge:
		c.errorf(l.from, "age is an interval: compare it with >, >=, < or <=")
		return operand{}, false
	case l.kind == kSeconds && l.field != nil:
		c.errorf(l.from, "a list holds whole numbers, %s is a time: compare it with >, >=, < or <=", l.field.Name)
		return operand{}, false
	case r.set.Kind() == KindEmpty:
		never := boolConstant(false, from, to)
		never.reads, never.may.yes.why = l.reads.And(protocolField), c.inEmpty(n.Right)
		return never, true
	}
	return c.memberOf(l, r, operand{kind: kBool, from: from, to: to, reads: l.reads, may: unbounded})
}

// memberOf asks a set that is not empty; of out all is set but how.
func (c *compiler) memberOf(l, r, out operand) (operand, bool) {
	set := r.set
	wrong := func() (operand, bool) {
		if set.First != nil && set.Kind() == KindName && l.kind != kString {
			c.badLine(r.from, set, l.kind)
			return operand{}, false
		}
		c.errorf(r.from, "%s is never in a list of %s", describe(l), set.Kind())
		return operand{}, false
	}
	switch {
	case l.kind.numeric():
		if set.Kind() != KindNumber {
			return wrong()
		}
		if l.kind == kPort && !(c.isPort(set.Ranges[0].Low, r.from) && c.isPort(set.Ranges[len(set.Ranges)-1].High, r.from)) {
			return operand{}, false
		}
		get := l.num
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
	case l.kind == kAddress:
		if set.Kind() != KindAddr {
			return wrong()
		}
		if set.onlyIPv6() {
			c.note(r.from, "::/0 is about IPv6 only: add 0.0.0.0/0 if IPv4 is meant, too")
		}
		get := l.addr
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
	case l.kind == kString:
		if set.Kind() != KindName {
			return wrong()
		}
		if l.field == nil || len(l.field.Values) == 0 {
			out.tri = hasName(l.str, set, false)
			break
		}
		var values []string
		for _, v := range set.Names {
			own, ok := c.enumValue(l.field, v, r.from)
			if !ok {
				return operand{}, false
			}
			values = append(values, own)
		}
		out = oneOf(l, values, false, out)
	default:
		return wrong()
	}
	return out, true
}

// badLine reports that a list holds no numbers or addresses, but is asked for them:
// what was meant as one reads as a name.
func (c *checker) badLine(from int, set *Set, asked kind) {
	what := "number"
	if asked == kAddress {
		what = "address"
	}
	c.errorf(from, "%q is no %s%s", set.Names[0], what, entryHint(set.Names[0], asked))
	c.errs[len(c.errs)-1].List = set.First
}

// entryHint says what to do about an entry of a list that is no number or address.
func entryHint(entry string, asked kind) string {
	switch {
	case strings.ContainsAny(entry, ", \t"):
		return ": a list has one entry a line"
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

// listOperand compiles the right side of in, where also a range can stand.
func (c *compiler) listOperand(n ast.Node) (operand, bool) {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != ".." {
		return c.compile(n)
	}
	from, to := c.span(n)
	r, ok := c.rangeOf(b, from)
	if !ok {
		return operand{}, false
	}
	return operand{kind: kList, constant: true, set: newSet([]Range{r}, nil), from: from, to: to}, true
}

func (c *compiler) rangeOf(b *ast.BinaryNode, from int) (Range, bool) {
	l, okL := c.compile(b.Left)
	r, okR := c.compile(b.Right)
	if !okL || !okR {
		return Range{}, false
	}
	if !l.constant || !r.constant || !l.kind.numeric() || !r.kind.numeric() {
		c.errorf(from, "a range goes from one number to another, such as 21115..21119")
		return Range{}, false
	}
	if l.numVal > r.numVal {
		c.errorf(from, "range %v..%v is empty: it goes from low to high", l.numVal, r.numVal)
		return Range{}, false
	}
	return Range{l.numVal, r.numVal}, true
}

// list compiles an array of constants. Strings are addresses if all of them
// look like it.
func (c *compiler) list(n *ast.ArrayNode, from, to int) (operand, bool) {
	var ranges []Range
	var texts []operand
	for _, e := range n.Nodes {
		f, _ := c.span(e)
		if b, ok := e.(*ast.BinaryNode); ok && b.Operator == ".." {
			r, ok := c.rangeOf(b, f)
			if !ok {
				return operand{}, false
			}
			ranges = append(ranges, r)
			continue
		}
		if id, isName := e.(*ast.IdentifierNode); isName && !c.standsFor(id.Value) && inSmallLetters(id.Value) == "" && !isStateName(id.Value) {
			c.errorf(f, "unknown name %q: a text is written in quotes, also in a list: [%q]", id.Value, id.Value)
			return operand{}, false
		}
		o, ok := c.compile(e)
		if !ok {
			return operand{}, false
		}
		switch {
		case o.constant && o.kind.numeric():
			if o.numVal != float64(int64(o.numVal)) {
				c.errorf(o.from, "a list holds whole numbers")
				return operand{}, false
			}
			ranges = append(ranges, Range{o.numVal, o.numVal})
		case o.constant && o.kind == kString:
			texts = append(texts, o)
		default:
			c.errorf(o.from, "a list holds constants, and this is %s", describe(o))
			return operand{}, false
		}
	}
	if len(ranges) > 0 && len(texts) > 0 {
		c.errorf(texts[0].from, "a list holds either numbers or strings")
		return operand{}, false
	}
	out := operand{kind: kList, constant: true, from: from, to: to, set: newSet(ranges, nil)}
	if len(texts) > 0 {
		out.set = c.textSet(texts)
		return out, out.set != nil
	}
	return out, true
}

func (c *checker) textSet(texts []operand) *Set {
	first, _ := ParseElement(texts[0].strVal)
	var b SetBuilder
	for _, t := range texts {
		if err := b.Add(t.strVal, first.Kind != KindAddr); err != nil {
			c.errorf(t.from, "%v", err)
			return nil
		}
	}
	return b.Set()
}
