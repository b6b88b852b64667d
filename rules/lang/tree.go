package lang

import (
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"

	"sockwarden/collectors"
)

// Op says what a part of a condition does.
type Op string

// The operators. The text operators contains, startsWith and endsWith are matches too;
// not in and not matches are one part, as they are one operator to the person who writes
// them.
const (
	OpAnd      Op = "and"
	OpOr       Op = "or"
	OpNot      Op = "not"
	OpCompare  Op = "compare"
	OpIn       Op = "in"
	OpMatches  Op = "matches"
	OpCall     Op = "call"
	OpMacro    Op = "macro"
	OpField    Op = "field"
	OpConstant Op = "constant" // true, false, or a variable that is
)

// node is a part of a condition that is itself a condition. The closure gives the value
// of the whole; the node is for explaining it.
type node struct {
	op       Op
	name     string // of a macro
	in       *written
	from, to int // runes of that text, without the parentheses at its ends
	reads    readings
	parts    []*node
	unequal  bool // the operator is !=, not in or its like
	may      bounds
	limit    *limit                       // nil unless it only compares a field with a constant
	tri      func(*collectors.Record) Tri // of a node without parts
}

// readings are what a part reads.
type readings struct {
	fields collectors.FieldSet
	others uint8 // by place in otherNames
	// settable is set for what a variable, or a list that is empty now, decides: it may
	// say something else another day.
	settable bool
}

func (r *readings) add(o readings) {
	r.fields.Add(o.fields)
	r.others |= o.others
	r.settable = r.settable || o.settable
}

// node returns the part that a node of the syntax tree was compiled to.
func (c *compiler) node(n ast.Node, o *operand, from, to int) *node {
	out := &node{op: c.op(n), in: c.source, from: from, to: to, reads: c.seen, parts: o.parts, may: o.may, limit: o.limit}
	switch n := n.(type) {
	case *ast.BinaryNode:
		out.unequal = n.Operator == "!="
	case *ast.UnaryNode:
		out.unequal = negatedOperator(n)
	case *ast.IdentifierNode:
		if out.op == OpMacro {
			out.name = n.Value
		}
	}
	if len(out.parts) == 0 {
		out.tri = o.tri
	}
	return out
}

var binaryOps = map[string]Op{
	"and": OpAnd, "&&": OpAnd, "or": OpOr, "||": OpOr, "in": OpIn,
	"matches": OpMatches, "contains": OpMatches, "startsWith": OpMatches, "endsWith": OpMatches,
	"==": OpCompare, "!=": OpCompare, "<": OpCompare, "<=": OpCompare, ">": OpCompare, ">=": OpCompare,
}

func (c *compiler) op(n ast.Node) Op {
	switch n := n.(type) {
	case *ast.BinaryNode:
		return binaryOps[n.Operator]
	case *ast.UnaryNode:
		if negatedOperator(n) {
			return c.op(n.Node)
		}
		return OpNot
	case *ast.CallNode:
		return OpCall
	case *ast.IdentifierNode:
		if _, ok := c.sc.Macros[n.Value]; ok {
			return OpMacro
		}
		if _, ok := c.sc.Vars[n.Value]; !ok {
			return OpField
		}
	}
	return OpConstant
}

// negatedOperator reports whether a negation is written as a part of its operator, as
// in "x not in list": expr gives both the same place.
func negatedOperator(n *ast.UnaryNode) bool {
	b, ok := n.Node.(*ast.BinaryNode)
	return ok && b.Location() == n.Location()
}

// conditions returns the parts that the operands are, if they are conditions.
func conditions(operands ...*operand) (parts []*node) {
	for _, o := range operands {
		if o.node != nil {
			parts = append(parts, o.node)
		}
	}
	return parts
}

// written is a text in which parts stand: the text of a condition, or of a macro.
type written struct {
	text  string
	macro string // its name, "" for none

	once   sync.Once
	runes  []rune
	tokens []lexer.Token
}

// within returns the text of a part, and where it stands, including parentheses and
// brackets that close behind it or open before it: a node does not tell where they are.
func (w *written) within(from, to int) (text string, begin, end int) {
	w.once.Do(func() {
		w.runes = []rune(w.text)
		w.tokens, _ = lexer.Lex(file.NewSource(w.text)) // it was parsed
	})
	first, last := len(w.tokens), -1
	depth, lowest := 0, 0
	for i, t := range w.tokens {
		if t.From < from || t.From >= to {
			continue
		}
		first, last = min(first, i), i
		depth += nesting(t)
		lowest = min(lowest, depth)
	}
	for ; lowest < 0 && first > 0; lowest += nesting(w.tokens[first]) {
		first--
		depth += nesting(w.tokens[first])
	}
	for depth > 0 && last+1 < len(w.tokens) {
		last++
		depth += nesting(w.tokens[last])
	}
	if last < 0 {
		return "", from, to
	}
	begin, end = w.tokens[first].From, w.tokens[last].To
	return string(w.runes[begin:end]), begin, end
}

func nesting(t lexer.Token) int {
	switch {
	case t.Is(lexer.Bracket, "(", "["):
		return 1
	case t.Is(lexer.Bracket, ")", "]"):
		return -1
	}
	return 0
}
