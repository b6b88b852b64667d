package rules

import (
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// source is the text of one rules file, for positions.
type source struct {
	name   string
	text   string
	lines  []string // without line ends
	starts []int    // rune offset of each line
	runes  []rune
}

func newSource(name, text string) *source {
	s := &source{name: name, text: text, runes: []rune(text)}
	s.lines = strings.Split(text, "\n")
	at := 0
	for i, l := range s.lines {
		s.starts = append(s.starts, at)
		at += len([]rune(l)) + 1
		s.lines[i] = strings.TrimSuffix(l, "\r")
	}
	return s
}

func (s *source) problem(line, column int, message string) Problem {
	p := Problem{File: s.name, Line: line, Column: column, Message: message}
	if line > 0 && line <= len(s.lines) {
		p.Source = s.lines[line-1]
	}
	return p
}

// locate returns the line and column of a rune of a scalar's value. The runes
// that are no white space stand in the same order in the file and in the value,
// whatever the style of the scalar; quotes, escapes and folding only add to
// them. An escape that names its rune by number cannot be followed: then it is
// the place of the scalar itself.
func (s *source) locate(n *yaml.Node, offset int) (line, column int) {
	line, column = n.Line, n.Column
	if n.Line < 1 || n.Line > len(s.starts) {
		return line, column
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
		for at < len(s.runes) && unicode.IsSpace(s.runes[at]) {
			at++
		}
		if double && at+1 < len(s.runes) && s.runes[at] == '\\' && s.runes[at+1] == '\n' {
			at++ // an escaped line end
			k--
			continue
		}
		if k >= offset || k >= len(value) {
			break
		}
		if at >= len(s.runes) {
			return line, column
		}
		if double && s.runes[at] == '\\' && at+1 < len(s.runes) && strings.ContainsRune(`"\/`, s.runes[at+1]) {
			at++
		}
		if single && s.runes[at] == '\'' && value[k] == '\'' {
			at++
		}
		if s.runes[at] != value[k] {
			return line, column
		}
		at++
	}
	if offset >= len(value) {
		for at > 0 && (at >= len(s.runes) || unicode.IsSpace(s.runes[at-1])) {
			at--
		}
	}
	return s.position(at)
}

func (s *source) position(at int) (line, column int) {
	for line = 1; line < len(s.starts) && s.starts[line] <= at; line++ {
	}
	return line, at - s.starts[line-1] + 1
}
