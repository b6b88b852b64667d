package lang

import (
	"math"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"sockwarden/collectors"
)

// The limits of one expression: its text, before the parser recurses into it,
// and its nodes, after macros are expanded.
const (
	maxExpression = 8 << 10
	maxNodes      = 5000
	maxMacroDepth = 32
)

// compiler turns one expression into closures and collects all its errors.
type compiler struct {
	*checker
	*vocabulary
	operators
	places
	sense  sense
	nodes  int
	macros []string // that are being expanded
	seen   readings // of the part that is being compiled
}

func newCompiler(sc *Scope, text string, macros ...string) *compiler {
	c := &checker{}
	return &compiler{
		checker: c, operators: operators{c}, places: places{source: &written{text: text}},
		vocabulary: &vocabulary{checker: c, sc: sc, uses: map[string]string{}, sets: map[string]SetUse{}},
		sense:      asWritten, macros: macros,
	}
}

// compile compiles a part of the expression. A condition keeps its node.
func (c *compiler) compile(n ast.Node) (operand, bool) {
	if !c.spend() {
		return operand{}, false
	}
	outer := c.seen
	c.seen = readings{}
	from, to := c.span(n)
	o, ok := c.operand(n, from, to)
	if ok && o.kind == kBool {
		o.node = c.node(n, &o, from, to)
	}
	c.seen.add(outer)
	return o, ok
}

func (c *compiler) operand(n ast.Node, from, to int) (operand, bool) {
	switch n := n.(type) {
	case *ast.BoolNode:
		return boolConstant(n.Value, from, to), true
	case *ast.IntegerNode:
		return numConstant(float64(n.Value), kNumber, from, to), true
	case *ast.FloatNode:
		if math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
			c.errorf(IDOutOfRange, from, "number out of range")
			return operand{}, false
		}
		return numConstant(n.Value, kNumber, from, to), true
	case *ast.StringNode:
		return strConstant(n.Value, from, to), true
	case *ast.IdentifierNode:
		return c.identifier(n.Value, from, to)
	case *ast.UnaryNode:
		return c.unary(n, from, to)
	case *ast.BinaryNode:
		return c.binary(n, from, to)
	case *ast.CallNode:
		return c.call(n, from, to)
	case *ast.ArrayNode:
		return c.list(n, from, to)
	}
	c.errorf(IDNotAvailable, from, "%s", refused(n))
	return operand{}, false
}

func (c *compiler) identifier(name string, from, to int) (operand, bool) {
	if c.sc.Broken[name] {
		return operand{}, false
	}
	if why := c.sc.Refused[name]; why != "" {
		c.errorf(IDNotAvailable, from, "%s", why)
		return operand{}, false
	}
	if c.sc.Group && slices.Contains(groupNames, name) && c.sc.defines(name) {
		c.errorf(IDGroupOnly, from, "%s is a value of the group, and also a name in this file: give that another one", name)
		return operand{}, false
	}
	if text, ok := c.sc.Macros[name]; ok {
		return c.expand(name, text, from, to)
	}
	if v, ok := c.sc.Vars[name]; ok {
		c.use(name, v.String)
		c.seen.settable = true
		return v.operand(from, to), true
	}
	if name == "result" && c.sc.Result {
		c.seen.add(other(name))
		return operand{kind: kString, from: from, to: to, may: unbounded, str: func(r *collectors.Record) (string, bool) {
			return r.Result, r.Result != ""
		}}, true
	}
	if c.sc.Group {
		if o, ok := groupOperand(name, from, to); ok {
			c.seen.add(other(name))
			return o, true
		}
	}
	if f, ok := collectors.FieldByName(name); ok {
		if c.sc.Group {
			c.notOfGroup(from, name)
			return operand{}, false
		}
		c.seen.add(readings{fields: collectors.Fields(f)})
		return fieldOperand(f, from, to), true
	}
	if s, ok := c.sc.Sets[name]; ok {
		s = c.useSet(name, s, c.sense)
		c.seen.settable = c.seen.settable || s.Kind() == KindEmpty
		return operand{kind: kList, constant: true, set: s, from: from, to: to}, true
	}
	if name == "$env" {
		c.errorf(IDNotAvailable, from, "$env is not available: write the field's name")
		return operand{}, false
	}
	c.errorf(IDUnknownName, from, "%s", c.unknown(name))
	return operand{}, false
}

// notOfGroup refuses what is about a socket in a question about a group.
func (c *compiler) notOfGroup(from int, name string) {
	c.errorf(IDGroupOnly, from, "having asks about the group: %s; write %s into when", Choices(groupNames), name)
}

// expand compiles the text of a macro in place of its name. Errors inside are reported
// once, at the macro itself; here it only fails.
func (c *compiler) expand(name, text string, from, to int) (operand, bool) {
	if slices.Contains(c.macros, name) {
		c.errorf(IDMacroCircle, from, "macros that name each other in a circle: %s", strings.Join(append(c.macros, name), " -> "))
		return operand{}, false
	}
	if len(c.macros) >= maxMacroDepth {
		c.errorf(IDTooLarge, from, "macros are nested more than %d deep: write some of them out", maxMacroDepth)
		return operand{}, false
	}
	outer, source := c.at, c.source
	if outer == nil {
		c.at = &[2]int{from, to}
	}
	c.source = &written{text: text, macro: name}
	c.macros = append(c.macros, name)
	c.use(name, func() string { return text })
	node, ok := c.parseMacro(text)
	var o operand
	if ok {
		o, ok = c.compile(node)
	}
	c.macros = c.macros[:len(c.macros)-1]
	c.at, c.source = outer, source
	o.from, o.to = from, to
	o.parts = conditions(&o)
	for i := range o.ages {
		o.ages[i].From = from
	}
	return o, ok
}
