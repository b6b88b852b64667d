package lang

import "github.com/expr-lang/expr/ast"

// listOperand compiles the right side of in, where a range can stand too.
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
		c.errorf(IDOutOfRange, from, "a range goes from one number to another, such as 21115..21119")
		return Range{}, false
	}
	if l.numVal > r.numVal {
		c.errorf(IDOutOfRange, from, "range %v..%v is empty: it goes from low to high", l.numVal, r.numVal)
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
			c.errorf(IDUnknownName, f, "unknown name %q: a text is written in quotes, also in a list: [%q]", id.Value, id.Value)
			return operand{}, false
		}
		o, ok := c.compile(e)
		if !ok {
			return operand{}, false
		}
		switch {
		case o.constant && o.kind.numeric():
			if o.numVal != float64(int64(o.numVal)) {
				c.errorf(IDWrongType, o.from, "a list holds whole numbers")
				return operand{}, false
			}
			ranges = append(ranges, Range{o.numVal, o.numVal})
		case o.constant && o.kind == kString:
			texts = append(texts, o)
		default:
			c.errorf(IDWrongType, o.from, "a list holds constants, but this is %s", describe(o))
			return operand{}, false
		}
	}
	if len(ranges) > 0 && len(texts) > 0 {
		c.errorf(IDWrongType, texts[0].from, "a list holds either numbers or strings")
		return operand{}, false
	}
	out := operand{kind: kList, constant: true, from: from, to: to, set: newSet(ranges, nil)}
	if len(texts) > 0 {
		out.set = c.textSet(texts)
		return out, out.set != nil
	}
	return out, true
}

func (ops operators) textSet(texts []operand) *Set {
	first, _ := ParseElement(texts[0].strVal)
	var b SetBuilder
	for _, t := range texts {
		if err := b.Add(t.strVal, first.Kind != KindAddr); err != nil {
			ops.errorf(IDWrongEntry, t.from, "%v", err)
			return nil
		}
	}
	return b.Set()
}
