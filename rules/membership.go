package rules

import (
	"regexp"
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
		hint := "write a list: in [" + strings.Trim(strconv.Quote(r.strVal), "\x00") + "]"
		if r.kind != kString || !r.constant {
			hint = "write a list, a range or the name of a set"
		}
		c.errorf(r.from, "in asks a list, this is %s: %s", describe(r), hint)
		return operand{}, false
	}
	switch {
	case l.kind == kAge:
		c.errorf(l.from, "age is an interval: compare it with >, >=, < or <=")
		return operand{}, false
	case l.kind == kSeconds && l.field != nil:
		c.errorf(l.from, "a list holds whole numbers, %s is a time: compare it with >, >=, < or <=", l.field.Name)
		return operand{}, false
	case r.set.kind() == kindEmpty:
		never := boolConstant(false, from, to)
		never.reads = l.reads & protocolField
		return never, true
	}
	return c.memberOf(l, r, operand{kind: kBool, from: from, to: to, reads: l.reads, may: unbounded})
}

// memberOf asks a set that is not empty; of out all is set but how.
func (c *compiler) memberOf(l, r, out operand) (operand, bool) {
	set := r.set
	wrong := func() (operand, bool) {
		c.errorf(r.from, "%s is never in a list of %s", describe(l), set.kind())
		return operand{}, false
	}
	switch {
	case l.kind.numeric():
		if set.kind() != kindNumber {
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
	case l.kind == kAddress:
		if set.kind() != kindAddr {
			return wrong()
		}
		get := l.addr
		out.tri = func(rec *collectors.Record) Tri {
			x, ok := get(rec)
			if !ok {
				return Unknown
			}
			return triOf(set.hasAddr(x))
		}
	case l.kind == kString:
		if set.kind() != kindName {
			return wrong()
		}
		values := set.Names
		if l.field != nil && len(l.field.Values) > 0 {
			values = nil
			for _, v := range set.Names {
				own, ok := c.enumValue(l.field, v, r.from)
				if !ok {
					return operand{}, false
				}
				values = append(values, own)
			}
		}
		out = c.oneOf(l, values, false, out)
	default:
		return wrong()
	}
	return out, true
}

// listOperand compiles the right side of in, where also a range can stand.
func (c *compiler) listOperand(n ast.Node) (operand, bool) {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != ".." {
		return c.compile(n)
	}
	from, to := span(n)
	r, ok := c.rangeOf(b, from)
	if !ok {
		return operand{}, false
	}
	return operand{kind: kList, constant: true, set: newSet([]Range{r}, nil, nil), from: from, to: to}, true
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
		f, _ := span(e)
		if b, ok := e.(*ast.BinaryNode); ok && b.Operator == ".." {
			r, ok := c.rangeOf(b, f)
			if !ok {
				return operand{}, false
			}
			ranges = append(ranges, r)
			continue
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
			c.errorf(o.from, "a list holds constants, this is %s", describe(o))
			return operand{}, false
		}
	}
	if len(ranges) > 0 && len(texts) > 0 {
		c.errorf(texts[0].from, "a list holds either numbers or strings")
		return operand{}, false
	}
	out := operand{kind: kList, constant: true, from: from, to: to, set: newSet(ranges, nil, nil)}
	if len(texts) > 0 {
		out.set = c.textSet(texts)
		return out, out.set != nil
	}
	return out, true
}

func (c *compiler) textSet(texts []operand) *Set {
	_, _, first, _ := parseElement(texts[0].strVal)
	var b setBuilder
	for _, t := range texts {
		if err := b.add(t.strVal, first != kindAddr); err != nil {
			c.errorf(t.from, "%v", err)
			return nil
		}
	}
	return b.set()
}

// text compiles matches, contains, startsWith and endsWith.
func (c *compiler) text(op string, l, r operand, from, to int) (operand, bool) {
	for _, o := range []operand{l, r} {
		if o.kind != kString {
			c.errorf(o.from, "%s works on strings, this is %s", op, describe(o))
			return operand{}, false
		}
	}
	out := operand{kind: kBool, from: from, to: to, reads: l.reads | r.reads, may: unbounded}
	var holds func(a, b string) bool
	switch op {
	case "contains":
		holds = strings.Contains
	case "startsWith":
		holds = strings.HasPrefix
	case "endsWith":
		holds = strings.HasSuffix
	case "matches":
		if !r.constant {
			c.errorf(r.from, "the pattern of matches must be a constant in quotes")
			return operand{}, false
		}
		re, err := regexp.Compile(r.strVal)
		if err != nil {
			c.errorf(r.from, "%v", err)
			return operand{}, false
		}
		holds = func(a, _ string) bool { return re.MatchString(a) }
	}
	a, b := l.str, r.str
	out.tri = func(rec *collectors.Record) Tri {
		x, ok1 := a(rec)
		y, ok2 := b(rec)
		if !ok1 || !ok2 {
			return Unknown
		}
		return triOf(holds(x, y))
	}
	if l.constant && r.constant {
		return boolConstant(out.tri(nil) == True, from, to), true
	}
	return out, true
}

// call compiles known(field) and lookup(map, key, default).
func (c *compiler) call(n *ast.CallNode, from, to int) (operand, bool) {
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		c.errorf(from, "methods are not available")
		return operand{}, false
	}
	switch id.Value {
	case "known":
		return c.known(n, from, to)
	case "lookup":
		return c.lookup(n, from, to)
	}
	c.errorf(from, "function %s() is not available%s: there are known(field) and lookup(map, key, default)", id.Value, Suggest(id.Value, []string{"known", "lookup"}))
	return operand{}, false
}

func (c *compiler) known(n *ast.CallNode, from, to int) (operand, bool) {
	if len(n.Arguments) == 1 {
		if id, ok := n.Arguments[0].(*ast.IdentifierNode); ok {
			if f, ok := collectors.FieldByName(id.Value); ok {
				bit := collectors.Fields(f)
				return operand{
					kind: kBool, from: from, to: to, reads: bit, may: unbounded,
					tri: func(r *collectors.Record) Tri { return knownTri(r, bit) },
				}, true
			}
			c.errorf(from, "unknown field %q%s", id.Value, Suggest(id.Value, fieldNames()))
			return operand{}, false
		}
	}
	c.errorf(from, "known() takes the name of one field: known(process)")
	return operand{}, false
}

// knownTri answers known(). While the costly fields have not been fetched yet
// nothing can be said about them.
func knownTri(r *collectors.Record, bit collectors.FieldSet) Tri {
	switch {
	case r.Known&bit != 0:
		return True
	case r.Facts == nil || !r.Facts.Complete:
		return Unknown
	}
	return False
}

func fieldNames() []string {
	var names []string
	for _, d := range collectors.AllFields() {
		names = append(append(names, d.Name), d.Aliases...)
	}
	return names
}

func (c *compiler) lookup(n *ast.CallNode, from, to int) (operand, bool) {
	if len(n.Arguments) != 3 {
		c.errorf(from, "lookup() takes a map, a key and a default: lookup(timeouts, process, 60)")
		return operand{}, false
	}
	m, ok1 := c.compile(n.Arguments[0])
	key, ok2 := c.compile(n.Arguments[1])
	def, ok3 := c.compile(n.Arguments[2])
	if !ok1 || !ok2 || !ok3 {
		return operand{}, false
	}
	switch {
	case m.kind != kMap:
		c.errorf(m.from, "lookup() searches a map from vars, this is %s", describe(m))
		return operand{}, false
	case key.kind != kString && key.kind != kNumber && key.kind != kPort:
		c.errorf(key.from, "a key is a string or a number, this is %s", describe(key))
		return operand{}, false
	case !def.constant || (def.kind != kString && !def.kind.numeric()):
		c.errorf(def.from, "the default of lookup() is a constant number or string")
		return operand{}, false
	}
	getKey := keyText(key)
	out := operand{from: from, to: to, reads: key.reads, may: unbounded}
	if def.kind == kString {
		if d, err := ParseDuration(def.strVal); err == nil && allNumbers(m.table) {
			def = numConstant(d.Seconds(), kSeconds, def.from, def.to)
		}
	}
	for _, name := range sortedKeys(m.table) {
		if m.table[name].IsNumber != def.kind.numeric() {
			c.errorf(m.from, "the value of %q in the map and the default of lookup() are of different types", name)
			return operand{}, false
		}
	}
	table := m.table
	if def.kind == kString {
		out.kind, out.str = kString, func(r *collectors.Record) (string, bool) {
			k, known := getKey(r)
			if v, ok := table[k]; ok && known {
				return v.Text, true
			}
			return def.strVal, known
		}
		return out, true
	}
	out.kind, out.num = kSeconds, func(r *collectors.Record) (float64, bool) {
		k, known := getKey(r)
		if v, ok := table[k]; ok && known {
			return v.Number, true
		}
		return def.numVal, known
	}
	return out, true
}

func keyText(key operand) func(*collectors.Record) (string, bool) {
	if key.kind == kString {
		return key.str
	}
	get := key.num
	return func(r *collectors.Record) (string, bool) {
		n, ok := get(r)
		return strconv.FormatFloat(n, 'f', -1, 64), ok
	}
}

func allNumbers(table map[string]Scalar) bool {
	for _, v := range table {
		if !v.IsNumber {
			return false
		}
	}
	return true
}
