package lang

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"

	"sockwarden/collectors"
)

// text compiles matches, contains, startsWith and endsWith.
func (ops operators) text(op string, l, r operand, from, to int) (operand, bool) {
	for _, o := range []operand{l, r} {
		if o.kind != kString {
			ops.errorf(IDWrongType, o.from, "%s works on strings, but this is %s", op, describe(o))
			return operand{}, false
		}
	}
	out := operand{kind: kBool, from: from, to: to, reads: l.reads.Or(r.reads), may: unbounded}
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
			ops.errorf(IDBadPattern, r.from, "the pattern of matches must be a constant in quotes")
			return operand{}, false
		}
		re, err := regexp.Compile(r.strVal)
		if err != nil {
			ops.errorf(IDBadPattern, r.from, "%q is not a regular expression: %s", r.strVal, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
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
		c.errorf(IDNotAvailable, from, `methods are not available: write the operator between, as in process startsWith "ng"`)
		return operand{}, false
	}
	switch id.Value {
	case "known":
		return c.known(n, from, to)
	case "lookup":
		return c.lookup(n, from, to)
	}
	if hint := inSmallLetters(id.Value); hint != "" {
		c.errorf(IDNotAvailable, from, "%s", hint)
		return operand{}, false
	}
	hint := Suggest(id.Value, []string{"known", "lookup"})
	c.errorf(IDNotAvailable, from, "function %s() is not available%s: there are known(field) and lookup(map, key, default)", id.Value, hint)
	return operand{}, false
}

func (c *compiler) known(n *ast.CallNode, from, to int) (operand, bool) {
	if c.sc.Group {
		c.notOfGroup(from, "known()")
		return operand{}, false
	}
	if len(n.Arguments) == 1 {
		if id, ok := n.Arguments[0].(*ast.IdentifierNode); ok {
			if f, ok := collectors.FieldByName(id.Value); ok {
				bit := collectors.Fields(f)
				c.seen.add(readings{fields: bit})
				return operand{
					kind: kBool, from: from, to: to, reads: bit, may: unbounded,
					tri: func(r *collectors.Record) Tri { return knownTri(r, bit) },
				}, true
			}
			c.errorf(IDUnknownName, from, "unknown field %q%s", id.Value, Suggest(id.Value, fieldNames()))
			return operand{}, false
		}
	}
	c.errorf(IDUnknownName, from, "known() takes the name of one field: known(process)")
	return operand{}, false
}

// knownTri answers known(). Until the costly fields have been fetched it cannot say
// anything about them.
func knownTri(r *collectors.Record, bit collectors.FieldSet) Tri {
	switch {
	case r.Known.Meets(bit):
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
		c.errorf(IDWrongType, from, "lookup() takes a map, a key and a default: lookup(timeouts, process, 60)")
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
		c.errorf(IDWrongType, m.from, "lookup() searches a map from vars, but this is %s", describe(m))
		return operand{}, false
	case key.kind != kString && key.kind != kNumber && key.kind != kPort:
		c.errorf(IDWrongType, key.from, "a key is a string or a number, but this is %s", describe(key))
		return operand{}, false
	case !def.constant || (def.kind != kString && !def.kind.numeric()):
		c.errorf(IDWrongType, def.from, "the default of lookup() is a constant number or string")
		return operand{}, false
	}
	getKey := keyText(key)
	out := operand{from: from, to: to, reads: key.reads, may: unbounded}
	if def.kind == kString {
		_, texts := m.of.First(false)
		if d, err := ParseDuration(def.strVal); err == nil && !texts {
			def = numConstant(d.Seconds(), kSeconds, def.from, def.to)
		}
	}
	if name, ok := m.of.First(!def.kind.numeric()); ok {
		c.errorf(IDWrongType, m.from, "the value of %q in the map and the default of lookup() are of different types", name)
		return operand{}, false
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
