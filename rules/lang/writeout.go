package lang

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"
)

// maxWrittenOut bounds a text in which names are written out, in bytes.
const maxWrittenOut = 16 << 10

// WriteOut writes the sets that a condition asks into its text, so that it says the same
// wherever no file defines them. The errors are those of Compile, or say that it gets too
// long.
func WriteOut(text string, sets map[string]*Set) (string, []Error) {
	c, errs := Compile(text, &Scope{Sets: sets})
	if c == nil {
		return "", errs
	}
	if len(c.Uses) == 0 {
		return text, nil
	}
	tokens, err := lexer.Lex(file.NewSource(text))
	if err != nil {
		return "", []Error{{Message: err.Error()}}
	}
	runes, done := []rune(text), 0
	var b strings.Builder
	for _, t := range tokens {
		set, named := sets[t.Value]
		if _, used := c.Uses[t.Value]; !t.Is(lexer.Identifier) || !named || !used {
			continue
		}
		b.WriteString(string(runes[done:t.From]))
		b.WriteString(set.String())
		done = t.To
		if b.Len() > maxWrittenOut {
			return "", []Error{{From: t.From, Message: fmt.Sprintf("the set %q is too large to be written out here", t.Value)}}
		}
	}
	b.WriteString(string(runes[done:]))
	if _, errs := Compile(b.String(), &Scope{}); len(errs) > 0 {
		return "", errs
	}
	return b.String(), nil
}
