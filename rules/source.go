package rules

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// source is the text of one rules file, for finding positions.
type source struct {
	name   string
	text   string
	lines  []string // without line ends
	starts []int    // rune offset of each line
	runes  []rune
}

func newSource(name, text string) *source {
	s := &source{name: name, text: text, runes: []rune(text)}
	start := 0
	for i, r := range s.runes {
		if !strings.ContainsRune(lineEnds, r) || (r == '\r' && i+1 < len(s.runes) && s.runes[i+1] == '\n') {
			continue
		}
		s.addLine(start, i)
		start = i + 1
	}
	s.addLine(start, len(s.runes))
	return s
}

// lineEnds are the runes at which the YAML scanner counts a line.
const lineEnds = "\n\r\u0085\u2028\u2029"

func (s *source) addLine(from, to int) {
	s.starts = append(s.starts, from)
	s.lines = append(s.lines, strings.TrimSuffix(string(s.runes[from:to]), "\r"))
}

// maxMessage bounds the text of a problem, in runes.
const maxMessage = 400

func (s *source) problem(id lang.ID, line, column int, message string) Problem {
	if short := firstRunes(message, maxMessage); short != message {
		message = short + "..." // it repeats a very long name or pattern
	}
	p := Problem{ID: id, File: s.name, Line: line, Column: column, Message: withoutSecrets(message)}
	if line > 0 && line <= len(s.lines) {
		p.Source = withoutSecrets(s.lines[line-1])
	}
	return p
}

// within is the place of a line, from 1, of a text that has its own lines in the file, else
// of the text.
func (s *source) within(n *yaml.Node, line int) (at, column int) {
	at = n.Line + line
	if line == 0 || n.Style&yaml.LiteralStyle == 0 || at > len(s.lines) {
		return n.Line, n.Column
	}
	text := s.lines[at-1]
	return at, 1 + len(text) - len(strings.TrimLeft(text, " "))
}

// exprProblem is the problem of an expression at that place, or at the line of a list
// that it asks.
func (s *source) exprProblem(line, column int, e lang.Error) Problem {
	if e.List == nil {
		return s.problem(e.ID, line, column, e.Message)
	}
	message := fmt.Sprintf("%s (asked at %s:%d:%d)", e.Message, s.name, line, column)
	return Problem{ID: e.ID, File: e.List.File, Line: e.List.Line, Column: 1, Message: message, Source: e.List.Text}
}

// locate returns the line and column of a rune of a scalar's value. The runes that are
// not white space stand in the same order in the file and in the value, whatever the
// style of the scalar; quotes, escapes and folding only add to them. Where the two
// disagree it returns the place of the scalar itself.
func (s *source) locate(n *yaml.Node, offset int) (line, column int) {
	if n.Line < 1 || n.Line > len(s.starts) {
		return n.Line, n.Column
	}
	at := s.starts[n.Line-1] + n.Column - 1
	double, single := n.Style&yaml.DoubleQuotedStyle != 0, n.Style&yaml.SingleQuotedStyle != 0
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		for at < len(s.runes) && s.runes[at] != '\n' {
			at++
		}
	case double, single:
		at++
	}
	value := []rune(n.Value)
	for k := 0; ; k++ {
		for k < len(value) && k < offset && unicode.IsSpace(value[k]) {
			k++
		}
		at = s.skipSpace(at, double)
		if k >= offset || k >= len(value) {
			break
		}
		width := 1
		switch {
		case at >= len(s.runes):
			return n.Line, n.Column
		case double && s.runes[at] == '\\':
			_, width = s.escape(at)
		case s.runes[at] != value[k]:
			return n.Line, n.Column
		case single && value[k] == '\'':
			width = 2
		}
		at += width
	}
	if offset >= len(value) {
		for at > 0 && (at >= len(s.runes) || unicode.IsSpace(s.runes[at-1])) {
			at--
		}
	}
	return s.position(at)
}

// skipSpace returns the next place that is not white space nor, in double quotes, an
// escape for it.
func (s *source) skipSpace(at int, double bool) int {
	for at < len(s.runes) {
		r, width := s.runes[at], 1
		if double && r == '\\' {
			r, width = s.escape(at)
		}
		if !unicode.IsSpace(r) {
			return at
		}
		at += width
	}
	return at
}

// escape returns what the escape sequence stands for, if that is white space or given by
// its number, and how many runes it takes.
func (s *source) escape(at int) (r rune, width int) {
	if at+1 >= len(s.runes) {
		return 0, 1
	}
	c := s.runes[at+1]
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[c]
	if end := at + 2 + digits; digits > 0 && end <= len(s.runes) {
		n, _ := strconv.ParseUint(string(s.runes[at+2:end]), 16, 32)
		return rune(n), 2 + digits
	}
	if strings.ContainsRune(" \t\r\ntnvfrN_LP", c) {
		return ' ', 2
	}
	return 0, 2
}

func (s *source) position(at int) (line, column int) {
	for line = 1; line < len(s.starts) && s.starts[line] <= at; line++ {
	}
	return line, at - s.starts[line-1] + 1
}
