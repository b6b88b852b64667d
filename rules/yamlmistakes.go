package rules

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// yamlMistake says what is wrong where the YAML parser gave up, at which place, and what
// to write instead. The parser speaks of tokens; the text of the line says more.
func (s *source) yamlMistake(mark yaml.Mark, message string) Problem {
	line, column := mark.Line, mark.Column
	at := s.line(line)
	begin := len(at) - len(strings.TrimLeft(at, " \t")) // bytes are runes there
	tab := strings.Index(at[:begin], "\t")
	comment, commentAt := s.commentBefore(line)
	switch first, value := valueAt(at, column), valueOf(at); {
	case commentAt > 0 && !strings.Contains(message, "expected ',' or"):
		return s.problem(idCutByComment, comment, commentAt, cutByComment)
	case tab >= 0:
		return s.problem(idYAML, line, tab+1, "a tab for indentation: YAML takes blanks only")
	case strings.Contains(message, "unknown anchor"):
		return s.problem(idYAML, line, column, "YAML reads what begins with * as an alias: put it into quotes")
	case strings.Contains(message, "cannot start any token") && first != "":
		return s.problem(idYAML, line, column, fmt.Sprintf("a value cannot begin with %s: put it into quotes", firstRunes(first, 1)))
	case strings.Contains(message, "mapping values are not allowed"):
		if before := firstRunes(at, column-1); strings.Contains(before, ": ") {
			return s.problem(idYAML, line, column, `YAML reads ":" and a blank as the end of a key: put the value into quotes, '...'`)
		}
		return s.problem(idYAML, line, begin+1, wrongIndentation)
	case strings.Contains(message, "did not find expected key") && value != "" && strings.ContainsAny(value[:1], `"'`):
		return s.problem(idYAML, line, column, "the value ends at its second quote: put all of it into quotes of the other kind, '\"a\" == \"b\"'")
	case strings.Contains(message, "did not find expected key"), strings.Contains(message, "expected '-' indicator"),
		strings.Contains(message, "block sequence entries are not allowed"):
		return s.problem(idYAML, line, column, wrongIndentation)
	case strings.Contains(message, "could not find expected ':'"):
		if n := s.withoutKey(line); n > 0 {
			at = s.line(n)
			return s.problem(idYAML, n, len(at)-len(strings.TrimLeft(at, " "))+1,
				`this is no "name: value": a value is on the line of its name, or indented further`)
		}
	case strings.Contains(message, "expected ',' or"), strings.Contains(message, "expected node content"):
		return s.problem(idYAML, line, column, "a bracket or brace is not closed, or a comma is missing")
	case strings.Contains(message, "unexpected end of stream"):
		return s.problem(idYAML, line, column, "a quote is not closed")
	}
	return s.problem(idYAML, line, column, "YAML: "+message)
}

const wrongIndentation = `wrong indentation: the keys of a mapping begin in the same column, those of a rule below the n of "- name:"`

// line returns a line of the text, "" if there is none.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	return s.lines[n-1]
}

// commentBefore returns where a comment ends an unquoted text that goes on in a line
// after it, 0 if none does.
func (s *source) commentBefore(n int) (line, column int) {
	text := strings.TrimSpace(s.line(n))
	if text == "" || strings.ContainsAny(text[:1], `-#"'[{`) || strings.Contains(text, ": ") || strings.HasSuffix(text, ":") {
		return 0, 0 // no text that goes on
	}
	for line = n - 1; line > 0; line-- {
		before := s.line(line)
		quoted := strings.HasPrefix(valueOf(before), `"`) || strings.HasPrefix(valueOf(before), "'")
		if at := strings.Index(" "+before, " #"); at >= 0 && !quoted {
			return line, len([]rune(before[:at])) + 1
		}
		if strings.TrimSpace(before) != "" {
			break
		}
	}
	return 0, 0
}

// withoutKey returns the last line, up to a given one, that neither has a key nor begins
// a list element, 0 for none.
func (s *source) withoutKey(n int) int {
	for n = min(n, len(s.lines)); n > 0; n-- {
		text := strings.TrimSpace(s.line(n))
		switch {
		case text == "" || text[0] == '#':
		case strings.Contains(text, ":") || text[0] == '-':
			return 0
		default:
			return n
		}
	}
	return 0
}

// valueAt is what begins at a column of a line, "" if nothing does.
func valueAt(line string, column int) string {
	return strings.TrimPrefix(line, firstRunes(line, column-1))
}

// valueOf is the value of the first key of a line.
func valueOf(line string) string {
	_, value, _ := strings.Cut(line, ": ")
	return strings.TrimSpace(value)
}
