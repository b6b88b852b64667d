package lang

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/parser/lexer"

	"sockwarden/collectors"
)

// language is the parser's setup, which takes longer to make than to use.
var language = sync.OnceValue(func() *conf.Config {
	config := conf.CreateNew()
	config.MaxNodes = maxNodes
	return config
})

func (c *checker) parse(text string) (ast.Node, bool) {
	if strings.TrimSpace(text) == "" {
		c.errorf(IDSyntax, 0, `an empty condition: write one, as state == "CLOSE_WAIT" and age > 60`)
		return nil, false
	}
	if len(text) > maxExpression {
		c.errorf(IDTooLarge, 0, "expression of %d bytes is too long (at most %d): use sets and macros", len(text), maxExpression)
		return nil, false
	}
	tree, err := parser.ParseWithConfig(text, language())
	if err != nil {
		if fe, ok := errors.AsType[*file.Error](err); ok {
			from := fe.From
			if strings.HasSuffix(fe.Message, "token EOF") {
				from = len([]rune(text)) // not at a white space before it
			}
			at, hint := syntaxError(text, fe.Message, from)
			c.errorf(IDSyntax, at, "%s", hint)
		} else {
			c.errorf(IDSyntax, 0, "%v", err)
		}
		return nil, false
	}
	if at := lineComment(text); at >= 0 {
		c.errorf(IDNotAvailable, at, "// is not available, as it would hide what YAML joins to the line: write /* ... */")
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

const noCoalesce = "?? is not available: use known(field), or give lookup() a default"

// syntaxHint adds to an error of the parser what to write instead.
func syntaxHint(message string) string {
	found, unexpected := strings.CutPrefix(message, "unexpected token ")
	switch {
	case found == "EOF":
		return "the condition ends too early"
	case strings.Contains(message, "unclosed"):
		return message + ": the condition ends too early"
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

// parseMacro parses the text of a macro, once for the whole file: compiling does
// not change a tree.
func (v *vocabulary) parseMacro(text string) (ast.Node, bool) {
	if v.sc.Shared == nil {
		return v.parse(text)
	}
	if node, ok := v.sc.Shared.parsed[text]; ok {
		return node, true
	}
	node, ok := v.parse(text)
	if ok {
		v.sc.Shared.parsed[text] = node
	}
	return node, ok
}

// places says where the parts of one text stand.
type places struct {
	spans  map[ast.Node][2]int // of known nodes
	source *written            // the text that is being compiled
}

// span returns the place of a node: expr gives binary nodes the place of their
// operator.
func (p *places) span(n ast.Node) (from, to int) {
	if s, ok := p.spans[n]; ok {
		return s[0], s[1]
	}
	from, to = n.Location().From, n.Location().To
	parts := 0
	widen := func(k ast.Node) {
		f, t := p.span(k)
		from, to = min(from, f), max(to, t)
		parts++
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
	if parts > 0 {
		if p.spans == nil {
			p.spans = map[ast.Node][2]int{}
		}
		p.spans[n] = [2]int{from, to}
	}
	return from, to
}

// namesIn returns the names that a parsed expression uses.
func namesIn(n ast.Node) []string {
	var found nameList
	ast.Walk(&n, &found)
	return found
}

type nameList []string

// Visit keeps the names of the nodes that have one.
func (found *nameList) Visit(n *ast.Node) {
	if id, ok := (*n).(*ast.IdentifierNode); ok {
		*found = append(*found, id.Value)
	}
}

// refused says why a part of expr is not part of the rules language, and what to write
// instead.
func refused(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NilNode:
		return "nil does not exist here: use known(field)"
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
			return "fields have no members or methods: write them alone, as process == \"nginx\""
		}
		return "a bare index is not available: write lookup(map, key, default)"
	case *ast.ChainNode:
		return "?. is not available: use known(field)"
	case *ast.BuiltinNode:
		return fmt.Sprintf("function %s() is not available: "+
			"a condition has comparisons, in, matches, contains, startsWith, endsWith, known() and lookup()", n.Name)
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

// reserved are the words that the language itself uses.
var reserved = []string{
	"and", "or", "not", "in", "matches", "contains", "startsWith", "endsWith", "let", "if", "else",
	"true", "false", "nil", "known", "lookup", "result",
}

// IsWord reports whether the language itself uses a name.
func IsWord(name string) bool { return slices.Contains(reserved, name) }
