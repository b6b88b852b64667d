package lang

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"
)

// maxWrittenOut bounds a text in which names are written out, in bytes.
const maxWrittenOut = 16 << 10

// WriteOut writes the variables, sets and macros that a condition names into its text, so
// that it says the same wherever no file defines them. The errors are those of Compile, or
// say what cannot be written out.
func WriteOut(text string, sc *Scope) (string, []Error) {
	c, errs := Compile(text, sc)
	if c == nil {
		return "", errs
	}
	if len(c.Uses) == 0 {
		return text, nil
	}
	out, err := sc.written(text)
	if err != nil {
		return "", []Error{*err}
	}
	if _, errs := Compile(out, &Scope{}); len(errs) > 0 {
		return "", errs
	}
	return out, nil
}

// WrittenOut is the text of a macro without names. The error says what cannot be written
// out.
func (sc *Scope) WrittenOut(macro string) (string, error) {
	out, err := sc.written(sc.Macros[macro])
	if err != nil {
		return "", fmt.Errorf("%s", err.Message)
	}
	return out, nil
}

// written replaces names in a text that is right, so that macros name each other in no
// circle.
func (sc *Scope) written(text string) (string, *Error) {
	tokens, err := lexer.Lex(file.NewSource(text))
	if err != nil {
		return "", &Error{Message: err.Error()}
	}
	runes, done := []rune(text), 0
	var b strings.Builder
	for _, t := range tokens {
		if !t.Is(lexer.Identifier) || !sc.defines(t.Value) {
			continue
		}
		value, problem := sc.literal(t.Value)
		if problem != nil {
			problem.From = t.From
			return "", problem
		}
		b.WriteString(string(runes[done:t.From]))
		b.WriteString(value)
		done = t.To
		if b.Len() > maxWrittenOut {
			return "", &Error{From: t.From, Message: fmt.Sprintf("with %q it is too large to be written out here", t.Value)}
		}
	}
	b.WriteString(string(runes[done:]))
	return b.String(), nil
}

// literal is what stands in place of a name.
func (sc *Scope) literal(name string) (string, *Error) {
	if text, ok := sc.Macros[name]; ok {
		out, err := sc.written(text)
		return "(" + out + ")", err
	}
	if v, ok := sc.Vars[name]; ok {
		if v.Type == TypeMap {
			return "", &Error{Message: fmt.Sprintf("the map %q cannot be written out here: write the value that you mean in place of lookup()", name)}
		}
		return v.String(), nil
	}
	return sc.Sets[name].String(), nil
}
