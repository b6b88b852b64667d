package rules

import (
	"crypto/sha256"
	"fmt"
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
	file   *fileScope      // nil for an expression that is in no file
	// grown are sets with what a younger generation has added, for where more in the
	// set can only make the condition true of more.
	grown map[string]*Set
	// result is set where the outcome of the rung before can be read, group where
	// a group and not a socket is asked about.
	result, group bool
}

// maxFileNodes bounds the parts of all conditions of a file, with their macros
// expanded: a file of a few kilobytes can mean billions.
const maxFileNodes = 500_000

// fileScope is what the expressions of a file share while they are compiled, so
// that nothing is done again for each of them.
type fileScope struct {
	left   int                 // nodes that can still be compiled
	full   func() bool         // whether problems are only counted
	prints map[string]string   // of the values of names
	parsed map[string]ast.Node // texts of macros
}

// use notes that the expression depends on the value of a name.
func (c *compiler) use(name string, value func() string) {
	if _, ok := c.uses[name]; ok {
		return
	}
	if c.sc.file == nil {
		c.uses[name] = value()
		return
	}
	print, ok := c.sc.file.prints[name]
	if !ok {
		if print = value(); len(print) > 2*sha256.Size {
			print = fmt.Sprintf("%x", sha256.Sum256([]byte(print)))
		}
		c.sc.file.prints[name] = print
	}
	c.uses[name] = print
}

// spend counts a node; false if there are too many.
func (c *compiler) spend() bool {
	c.nodes++
	if c.nodes == maxNodes+1 {
		c.errorf(0, "expression has more than %d parts with its macros expanded", maxNodes)
	}
	if f := c.sc.file; f != nil {
		if f.left--; f.left == -1 {
			c.errorf(0, "the conditions of this file have more than %d parts with their macros expanded: divide it into files", maxFileNodes)
		}
		return c.nodes <= maxNodes && f.left >= 0
	}
	return c.nodes <= maxNodes
}

// suggest is Suggest for the names that the expression can use, as long as
// somebody will read it.
func (c *compiler) suggest(name string) string {
	if len(c.errs) >= maxProblems || c.sc.file != nil && c.sc.file.full() {
		return ""
	}
	return Suggest(name, c.sc.names())
}

func (sc *scope) names() []string {
	names := slices.Concat(sortedKeys(sc.vars), sortedKeys(sc.sets), sortedKeys(sc.macros))
	if sc.group {
		return append(names, groupNames...)
	}
	for _, d := range collectors.AllFields() {
		names = append(names, append([]string{d.Name}, d.Aliases...)...)
	}
	if sc.result {
		names = append(names, "result")
	}
	return names
}

// defines reports whether the file gives the name a meaning.
func (sc *scope) defines(name string) bool {
	_, isVar := sc.vars[name]
	_, isSet := sc.sets[name]
	_, isMacro := sc.macros[name]
	return isVar || isSet || isMacro
}

// exprError is an error at a place of an expression, in runes.
type exprError struct {
	from    int
	message string
	// line is that of a list which is wrong, and not the expression; nil otherwise.
	line *Problem
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
	// sets says how it asks each set that it asks.
	sets map[string]setUse
	// agesOver lists the constants that age must exceed for it to hold.
	agesOver []ageBound
	// notes are what is valid and maybe not meant.
	notes []exprError
	// readsResult says that it asks for the outcome of the rung before.
	readsResult bool
	// ofProcess says that it asks for what only a group of one process has.
	ofProcess bool
	// constant is set for a condition that does not depend on the socket.
	constant bool
}

type ageBound struct {
	seconds float64
	from    int
}

// AgesOver returns the ages, in seconds, that a socket must exceed for the
// condition to hold.
func (c *Cond) AgesOver() []float64 {
	ages := make([]float64, len(c.agesOver))
	for i, a := range c.agesOver {
		ages[i] = a.seconds
	}
	return ages
}

// Eval returns the value of the condition for r; it cannot fail and does not
// keep r.
func (c *Cond) Eval(r *collectors.Record) Tri { return c.eval(r) }

// compiler turns one expression into closures and collects all its errors.
type compiler struct {
	sc     *scope
	errs   []exprError
	notes  []exprError
	uses   map[string]string
	sets   map[string]setUse
	sense  sense
	nodes  int
	spans  map[ast.Node][2]int // places of nodes that are known already
	macros []string            // that are being expanded
	at     *[2]int             // place of the outermost macro, for everything within it
	result bool
	// ofProcess is set once fds or fd_limit of a group is read.
	ofProcess bool
}

func newCompiler(sc *scope, macros ...string) *compiler {
	return &compiler{sc: sc, uses: map[string]string{}, sets: map[string]setUse{}, sense: asWritten, macros: macros}
}

// compileCond compiles a condition; the errors have offsets into text.
func compileCond(text string, sc *scope) (*Cond, []exprError) {
	c := newCompiler(sc)
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
		Text: text, Reads: o.reads, eval: o.tri, may: o.may, uses: c.uses, sets: c.sets, agesOver: o.ages,
		notes: c.notes, readsResult: c.result, ofProcess: c.ofProcess, constant: o.constant,
	}, nil
}

func (c *compiler) errorf(from int, format string, args ...any) {
	if c.at != nil {
		from = c.at[0]
	}
	c.errs = append(c.errs, exprError{from: from, message: fmt.Sprintf(format, args...)})
}

// note is a warning about a place, as errorf is an error.
func (c *compiler) note(from int, message string) {
	if c.at != nil {
		from = c.at[0]
	}
	c.notes = append(c.notes, exprError{from: from, message: message})
}

func (c *compiler) compile(n ast.Node) (operand, bool) {
	if !c.spend() {
		return operand{}, false
	}
	from, to := c.span(n)
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

func (c *compiler) identifier(name string, from, to int) (operand, bool) {
	if c.sc.broken[name] {
		return operand{}, false
	}
	if c.sc.group && slices.Contains(groupNames, name) && c.sc.defines(name) {
		c.errorf(from, "%s is a value of the group, and a name of this file: give that another name", name)
		return operand{}, false
	}
	if text, ok := c.sc.macros[name]; ok {
		return c.expand(name, text, from, to)
	}
	if v, ok := c.sc.vars[name]; ok {
		c.use(name, v.String)
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
			c.ofProcess = c.ofProcess || name == "fds" || name == "fd_limit"
			return o, true
		}
	}
	if f, ok := collectors.FieldByName(name); ok {
		if c.sc.group {
			c.notOfGroup(from, name)
			return operand{}, false
		}
		return fieldOperand(f, from, to), true
	}
	if s, ok := c.sc.sets[name]; ok {
		s = c.useSet(name, s)
		return operand{kind: kList, constant: true, set: s, from: from, to: to}, true
	}
	if name == "$env" {
		c.errorf(from, "$env is not available: write the field's name")
		return operand{}, false
	}
	hint := c.suggest(name)
	if _, ok := collectors.ParseState(name); ok {
		hint = fmt.Sprintf(": a state is written in quotes, %q", strings.ToUpper(name))
	}
	c.errorf(from, "unknown name %q%s", name, hint)
	return operand{}, false
}

// notOfGroup refuses what is about a socket where a group is asked about.
func (c *compiler) notOfGroup(from int, name string) {
	c.errorf(from, "having asks about the group: %s; write %s into when", choices(groupNames), name)
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
	c.use(name, func() string { return text })
	node, ok := c.parseMacro(text)
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
