package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a rules file, at its place.
type Problem struct {
	File    string
	Line    int // 1-based; 0 if it concerns the file as a whole
	Column  int // 1-based, in runes
	Message string
	Source  string // the text of the line
}

// String is "file:line:col: message", without the line of source.
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Detail is String followed by the line of source with a caret under the place.
func (p Problem) Detail() string {
	if p.Line == 0 || p.Source == "" {
		return p.String()
	}
	line, column := window(p.Source, p.Column)
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, firstRunes(line, column-1))
	return fmt.Sprintf("%s\n%5d | %s\n      | %s^", p.String(), p.Line, line, pad)
}

// maxSource bounds the part of a line that is shown, in runes.
const maxSource = 200

// window cuts what is far from the column out of a very long line.
func window(line string, column int) (part string, at int) {
	runes := []rune(line)
	if len(runes) <= maxSource {
		return line, column
	}
	from := max(0, min(column-maxSource/2, len(runes)-maxSource))
	return string(runes[from : from+maxSource]), column - from
}

func firstRunes(s string, n int) string {
	r := []rune(s)
	return string(r[:max(0, min(n, len(r)))])
}

// Problems is everything that is wrong with the files of one generation. It is
// an error whose text lists them one on a line.
type Problems []Problem

// Error lists the problems without source lines.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Detail lists the problems with their lines of source.
func (p Problems) Detail() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Detail()
	}
	return strings.Join(lines, "\n")
}

func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(p, func(a, b Problem) bool { return a == b })
}
