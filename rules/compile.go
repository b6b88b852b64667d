package rules

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/parser/lexer"

	"sockwarden/collectors"
)

// The limits of one expression: its text, before the parser recurses into it,
// and its nodes, after macros are expanded.
const (
	maxExpression = 8 << 10
	maxNodes      = 5000
	maxMacroDepth = 32
)

// Scalar is a value of a variable: a number or a string.
type Scalar struct {
	IsNumber bool
	Number   float64
	Text     string
}

// scope is what names an expression can use besides fields.
type scope struct {
	vars   map[string]*Var
	sets   map[string]*Set
	macros map[string]string
	broken map[string]bool // names with problems of their own
	// result is set where the outcome of the rung before can be read, group where
	// a group and not a socket is asked about.
	result, group bool
}

func (sc *scope) names() []string {
	names := slices.Concat(sortedKeys(sc.vars), sortedKeys(sc.sets), sortedKeys(sc.macros))
	for _, d := range collectors.AllFields() {
		names = append(names, append([]string{d.Name}, d.Aliases...)...)
	}
	if sc.result {
		names = append(names, "result")
	}
	return names
}

// exprError is an error at a place of an expression, in runes.
type exprError struct {
	from    int
	message string
}

// Cond is a compiled condition. It is immutable and safe for concurrent use.
type Cond struct {
	Text  string
	Reads collectors.FieldSet

	eval func(*collectors.Record) Tri
	may  bounds
	// uses lists what the text refers to, with the values, so that a change of
	// a variable counts as a change of the rule.
	uses map[string]string
	// agesOver lists the constants that age must exceed for it to hold.
	agesOver []ageBound
	// readsResult says that it asks for the outcome of the rung before.
	readsResult bool
	// constant is set for a condition that does not depend on the socket.
	constant bool
}

type ageBound struct {
	seconds float64
	from    int
}

// Eval returns the value of the condition for r; it cannot fail and does not
// keep r.
func (c *Cond) Eval(r *collectors.Record) Tri { return c.eval(r) }

// compiler turns one expression into closures and collects all its errors.
type compiler struct {
	sc     *scope
	errs   []exprError
	uses   map[string]string
	nodes  int
	macros []string // that are being expanded
	at     *[2]int  // place of the outermost macro, for everything within it
	result bool
}

// compileCond compiles a condition; the errors have offsets into text.
func compileCond(text string, sc *scope) (*Cond, []exprError) {
	c := &compiler{sc: sc, uses: map[string]string{}}
	node, ok := c.parse(text)
	if !ok {
		return nil, c.errs
	}
	o, ok := c.compile(node)
	if ok && o.kind != kBool {
		c.errorf(o.from, "this is %s, not a condition: compare it with something", o.kind)
	}
	if len(c.errs) > 0 || !ok {
		return nil, c.errs
	}
	return &Cond{
		Text: text, Reads: o.reads, eval: o.tri, may: o.may, uses: c.uses, agesOver: o.ages,
		readsResult: c.result, constant: o.constant,
	}, nil
}

func (c *compiler) errorf(from int, format string, args ...any) {
	if c.at != nil {
		from = c.at[0]
	}
	c.errs = append(c.errs, exprError{from, fmt.Sprintf(format, args...)})
}

func (c *compiler) parse(text string) (ast.Node, bool) {
	if strings.TrimSpace(text) == "" {
		c.errorf(0, "empty condition")
		return nil, false
	}
	if len(text) > maxExpression {
		c.errorf(0, "expression of %d bytes is too long (at most %d): use sets and macros", len(text), maxExpression)
		return nil, false
	}
	config := conf.CreateNew()
	config.MaxNodes = maxNodes
	tree, err := parser.ParseWithConfig(text, config)
	if err != nil {
		if fe, ok := errors.AsType[*file.Error](err); ok {
			from := fe.From
			if strings.HasSuffix(fe.Message, "token EOF") {
				from = len([]rune(text)) // not at a white space before it
			}
			c.errorf(from, "%s", syntaxHint(fe.Message))
		} else {
			c.errorf(0, "%v", err)
		}
		return nil, false
	}
	if at := lineComment(text); at >= 0 {
		c.errorf(at, "// is not available, it would hide what YAML joins to the line: write /* ... */")
		return nil, false
	}
	return tree.Node, true
}

// lineComment returns the place of a comment that goes to the end of the line,
// -1 if there is none. The text is one that the parser took.
func lineComment(text string) int {
	if !strings.Contains(text, "//") {
		return -1
	}
	runes, end := []rune(text), 0
	tokens, _ := lexer.Lex(file.NewSource(text))
	for _, t := range tokens {
		next := t.From
		if t.Is(lexer.EOF) {
			next = len(runes)
		}
		between := string(runes[min(end, next):next])
		end = t.To
		for {
			before, rest, open := strings.Cut(between, "/*")
			if i := strings.Index(before, "//"); i >= 0 {
				return next - len([]rune(between[i:]))
			}
			if !open {
				break
			}
			_, between, _ = strings.Cut(rest, "*/")
		}
	}
	return -1
}

const noCoalesce = "?? is not available: ask known(field), or give lookup() a default"

// syntaxHint adds to an error of the parser what to write instead.
func syntaxHint(message string) string {
	found, unexpected := strings.CutPrefix(message, "unexpected token ")
	switch {
	case strings.HasPrefix(message, "bad number syntax"):
		return message + `: write a duration in quotes, such as age > "5m"`
	case found == "EOF":
		return "the expression ends too early"
	case strings.Contains(message, "unclosed"):
		return message + ": the expression ends too early"
	case strings.Contains(message, "(??)"):
		return noCoalesce
	case strings.HasSuffix(message, "value out of range"):
		return "number out of range"
	case found == `Operator("=")`:
		return `unexpected "=": write == to compare`
	case unexpected:
		// Operator(")") and the like: what kind of token it is says nothing.
		_, quoted, _ := strings.Cut(found, "(")
		return "unexpected " + strings.TrimSuffix(quoted, ")")
	}
	return message
}

// span returns the place of a node: expr gives binary nodes the place of their
// operator.
func span(n ast.Node) (from, to int) {
	from, to = n.Location().From, n.Location().To
	widen := func(k ast.Node) {
		f, t := span(k)
		from, to = min(from, f), max(to, t)
	}
	switch n := n.(type) {
	case *ast.BinaryNode:
		widen(n.Left)
		widen(n.Right)
	case *ast.UnaryNode:
		widen(n.Node)
	case *ast.CallNode:
		for _, a := range n.Arguments {
			widen(a)
		}
	case *ast.ConditionalNode:
		widen(n.Cond)
	}
	return from, to
}

// namesIn returns the names that a parsed expression uses.
func namesIn(n ast.Node) []string {
	var found names
	ast.Walk(&n, &found)
	return found
}

type names []string

// Visit keeps the names of the nodes that are one.
func (found *names) Visit(n *ast.Node) {
	if id, ok := (*n).(*ast.IdentifierNode); ok {
		*found = append(*found, id.Value)
	}
}

func (c *compiler) compile(n ast.Node) (operand, bool) {
	if c.nodes++; c.nodes > maxNodes {
		if c.nodes == maxNodes+1 {
			c.errorf(0, "expression has more than %d parts with its macros expanded", maxNodes)
		}
		return operand{}, false
	}
	from, to := span(n)
	switch n := n.(type) {
	case *ast.BoolNode:
		return boolConstant(n.Value, from, to), true
	case *ast.IntegerNode:
		return numConstant(float64(n.Value), kNumber, from, to), true
	case *ast.FloatNode:
		if math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
			c.errorf(from, "number out of range")
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
	c.errorf(from, "%s", refused(n))
	return operand{}, false
}

// refused says why a part of expr is no part of the rules language, and what
// to write instead.
func refused(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NilNode:
		return "nil does not exist here: ask known(field)"
	case *ast.MemberNode:
		if id, ok := n.Node.(*ast.IdentifierNode); ok && id.Value == "$env" {
			return "$env is not available: write the field's name"
		}
		if id, ok := n.Node.(*ast.IdentifierNode); ok {
			if _, isField := collectors.FieldByName(id.Value); !isField {
				return fmt.Sprintf("a bare index is not available: write lookup(%s, key, default)", id.Value)
			}
		}
		if _, ok := n.Property.(*ast.StringNode); ok {
			return "fields have no members or methods"
		}
		return "a bare index is not available: write lookup(map, key, default)"
	case *ast.ChainNode:
		return "?. is not available: ask known(field)"
	case *ast.BuiltinNode:
		return fmt.Sprintf("function %s() is not available: a condition uses comparisons, in, matches, contains, startsWith, endsWith, known() and lookup()", n.Name)
	case *ast.ConditionalNode:
		return "?: and if are not available: write (a and b) or (not a and c)"
	case *ast.VariableDeclaratorNode:
		return "let is not available: define a macro"
	case *ast.SequenceNode:
		return "; is not available: write one condition, joined with and"
	case *ast.PredicateNode, *ast.PointerNode:
		return "closures are not available: use in with a set, or matches"
	case *ast.MapNode:
		return "a map must be a variable: define it under vars and use lookup(map, key, default)"
	case *ast.SliceNode:
		return "slices are not available: use startsWith, endsWith or matches"
	}
	return "this is not available in conditions"
}

func (c *compiler) identifier(name string, from, to int) (operand, bool) {
	if c.sc.broken[name] {
		return operand{}, false
	}
	if text, ok := c.sc.macros[name]; ok {
		return c.expand(name, text, from, to)
	}
	if v, ok := c.sc.vars[name]; ok {
		c.uses[name] = v.String()
		return v.operand(from, to), true
	}
	if name == "result" && c.sc.result {
		c.result = true
		return operand{kind: kString, from: from, to: to, may: unbounded, str: func(r *collectors.Record) (string, bool) {
			return r.Result, r.Result != ""
		}}, true
	}
	if c.sc.group {
		if o, ok := groupOperand(name, from, to); ok {
			return o, true
		}
	}
	if f, ok := collectors.FieldByName(name); ok {
		if c.sc.group {
			c.errorf(from, "having asks about the group: %s; write %s into when", choices(groupNames), name)
			return operand{}, false
		}
		return fieldOperand(f, from, to), true
	}
	if s, ok := c.sc.sets[name]; ok {
		c.uses[name] = s.String()
		return operand{kind: kList, constant: true, set: s, from: from, to: to}, true
	}
	if name == "$env" {
		c.errorf(from, "$env is not available: write the field's name")
		return operand{}, false
	}
	hint := Suggest(name, c.sc.names())
	if _, ok := collectors.ParseState(name); ok {
		hint = fmt.Sprintf(": a state is written in quotes, %q", strings.ToUpper(name))
	}
	c.errorf(from, "unknown name %q%s", name, hint)
	return operand{}, false
}

// expand compiles the text of a macro in the place of its name. What is wrong
// inside is reported at the macro itself, once; here it only fails.
func (c *compiler) expand(name, text string, from, to int) (operand, bool) {
	if slices.Contains(c.macros, name) {
		c.errorf(from, "macro cycle: %s", strings.Join(append(c.macros, name), " -> "))
		return operand{}, false
	}
	if len(c.macros) >= maxMacroDepth {
		c.errorf(from, "macros are nested more than %d deep", maxMacroDepth)
		return operand{}, false
	}
	outer := c.at
	if outer == nil {
		c.at = &[2]int{from, to}
	}
	c.macros = append(c.macros, name)
	c.uses[name] = text
	node, ok := c.parse(text)
	var o operand
	if ok {
		o, ok = c.compile(node)
	}
	c.macros = c.macros[:len(c.macros)-1]
	c.at = outer
	o.from, o.to = from, to
	for i := range o.ages {
		o.ages[i].from = from
	}
	return o, ok
}

func (c *compiler) unary(n *ast.UnaryNode, from, to int) (operand, bool) {
	o, ok := c.compile(n.Node)
	if !ok {
		return o, false
	}
	switch n.Operator {
	case "not", "!":
		if o.kind != kBool {
			c.errorf(from, "%s negates a condition, this is %s: put the comparison in parentheses, %s (...), or write != or not in", n.Operator, o.kind, n.Operator)
			return operand{}, false
		}
		if o.constant {
			folded := boolConstant(!o.boolVal, from, to)
			folded.reads = o.reads
			return folded, true
		}
		inner := o.tri
		return operand{
			kind: kBool, from: from, to: to, reads: o.reads, may: o.may.not(),
			tri: func(r *collectors.Record) Tri { return inner(r).not() },
		}, true
	case "-", "+":
		switch {
		case o.kind == kAge:
			c.errorf(o.from, noAgeArithmetic)
			return operand{}, false
		case !o.constant || !o.kind.numeric():
			c.errorf(from, "a sign stands before a number, this is %s: write 0 %s ...", describe(o), n.Operator)
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
	l, okL := c.compile(n.Left)
	r, okR := c.compile(n.Right)
	if !okL || !okR {
		return operand{}, false
	}
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
		c.errorf(n.Location().From, "%s is not available, it can fail at run time: multiply the other side instead", op)
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
			c.errorf(o.from, "%s joins conditions, this is %s: compare it with something", op, o.kind)
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
		asked := (l.reads | r.reads) & protocolField
		if l.boolVal != and {
			r = boolConstant(l.boolVal, from, to) // decides alone
		}
		r.from, r.to, r.field, r.reads = from, to, nil, r.reads|asked
		return r, true
	}
	out := operand{kind: kBool, from: from, to: to, reads: l.reads | r.reads}
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
		if o.kind == kAge {
			c.errorf(o.from, noAgeArithmetic)
			return operand{}, false
		}
		if !o.kind.numeric() {
			c.errorf(o.from, "%s calculates with numbers, this is %s", op, o.kind)
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
	return operand{kind: k, from: from, to: to, reads: l.reads | r.reads, num: func(rec *collectors.Record) (float64, bool) {
		x, ok1 := a(rec)
		y, ok2 := b(rec)
		v := calc(x, y)
		return v, ok1 && ok2 && !math.IsInf(v, 0) && !math.IsNaN(v)
	}}, true
}
