package lang

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"

	"sockwarden/collectors"
)

// Scope is what names an expression can use in addition to fields.
type Scope struct {
	Vars   map[string]*Value
	Sets   map[string]*Set
	Macros map[string]string // their texts
	Broken map[string]bool   // names with problems of their own, which are not repeated
	// Refused are names that cannot be used here, with the reason.
	Refused map[string]string
	Shared  *Shared // nil for an expression that is in no file
	// Grown are sets with what a younger generation has added, for where a larger set can
	// only make the condition true of more.
	Grown map[string]*Set
	// Result is set where the outcome of the previous rung can be read, Group where the
	// question is about a group and not a socket.
	Result, Group bool
}

// maxFileNodes bounds the parts of all conditions of a file, with their macros
// expanded: a file of a few kilobytes can mean billions.
const maxFileNodes = 500_000

// Shared is what the expressions of a file share while they are compiled, to avoid
// repeated work.
type Shared struct {
	left   int                 // nodes that can still be compiled
	full   func() bool         // whether problems are only counted
	prints map[string]string   // of the values of names
	parsed map[string]ast.Node // texts of macros
}

// NewShared returns what the expressions of one file share; full says that problems are
// only counted: nobody reads what is found out about them.
func NewShared(full func() bool) *Shared {
	return &Shared{left: maxFileNodes, full: full, prints: map[string]string{}, parsed: map[string]ast.Node{}}
}

// vocabulary is what names mean in one expression, and what it has used of them.
type vocabulary struct {
	*checker
	sc   *Scope
	uses map[string]string
	sets map[string]SetUse
}

// use notes that the expression depends on the value of a name.
func (v *vocabulary) use(name string, value func() string) {
	if _, ok := v.uses[name]; ok {
		return
	}
	if v.sc.Shared == nil {
		v.uses[name] = value()
		return
	}
	print, ok := v.sc.Shared.prints[name]
	if !ok {
		if print = value(); len(print) > 2*sha256.Size {
			print = fmt.Sprintf("%x", sha256.Sum256([]byte(print)))
		}
		v.sc.Shared.prints[name] = print
	}
	v.uses[name] = print
}

// spend counts a node; false if there are too many.
func (c *compiler) spend() bool {
	c.nodes++
	if c.nodes == maxNodes+1 {
		c.errorf(IDTooLarge, 0, "expression has more than %d parts with its macros expanded: use sets, or several rules", maxNodes)
	}
	if f := c.sc.Shared; f != nil {
		if f.left--; f.left == -1 {
			c.errorf(IDTooLarge, 0, "the conditions of this file have more than %d parts with their macros expanded: divide it into files", maxFileNodes)
		}
		return c.nodes <= maxNodes && f.left >= 0
	}
	return c.nodes <= maxNodes
}

// maxSuggestions is how many errors of one expression have a suggestion.
const maxSuggestions = 50

// suggest is Suggest for the names that the expression can use, as long as somebody will
// read the result.
func (v *vocabulary) suggest(name string) string {
	if len(v.errs) >= maxSuggestions || v.sc.Shared != nil && v.sc.Shared.full() {
		return ""
	}
	return Suggest(name, v.sc.names())
}

func (sc *Scope) names() []string {
	names := slices.Concat(sortedKeys(sc.Vars), sortedKeys(sc.Sets), sortedKeys(sc.Macros))
	if sc.Group {
		return append(names, groupNames...)
	}
	for _, d := range collectors.AllFields() {
		names = append(names, append([]string{d.Name}, d.Aliases...)...)
	}
	if sc.Result {
		names = append(names, "result")
	}
	return names
}

// defines reports whether the file gives the name a meaning.
func (sc *Scope) defines(name string) bool {
	_, isVar := sc.Vars[name]
	_, isSet := sc.Sets[name]
	_, isMacro := sc.Macros[name]
	return isVar || isSet || isMacro
}
