package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sockwarden/rules/lang"
)

// Problem is one thing that is wrong with a rules file, at its place.
type Problem struct {
	ID      lang.ID
	File    string
	Line    int // 1-based; 0 if it concerns the file as a whole
	Column  int // 1-based, in runes
	Message string
	Source  string // the text of the line
	// Omitted is set in the last entry of a list that was cut: the number of further
	// problems. Of the other fields only Message is set then, and says so.
	Omitted int
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

// Detail is String with the id of the kind, followed by the line of source with a caret
// under the place.
func (p Problem) Detail() string {
	if p.Line == 0 || p.Source == "" {
		return p.String() + p.suffix()
	}
	line, column := window(p.Source, p.Column)
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, firstRunes(line, column-1))
	return fmt.Sprintf("%s%s\n%5d | %s\n      | %s^", p.String(), p.suffix(), p.Line, line, pad)
}

// maxSource bounds the part of a line that is shown, in runes.
const maxSource = 200

// window cuts from a very long line what is far from the column.
func window(line string, column int) (part string, at int) {
	n := utf8.RuneCountInString(line)
	if n <= maxSource {
		return line, column
	}
	from := max(0, min(column-maxSource/2, n-maxSource))
	skip := 0
	for range from {
		_, width := utf8.DecodeRuneInString(line[skip:])
		skip += width
	}
	return firstRunes(line[skip:], maxSource), column - from
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	return s
}

// Problems is everything that is wrong with the files of one generation. As an error its
// text lists them, one per line.
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

// Shown returns the problems without the entry that counts the others, and the number in
// that entry.
func (p Problems) Shown() (shown Problems, omitted int) {
	if n := len(p); n > 0 && p[n-1].Omitted > 0 {
		return p[:n-1], p[n-1].Omitted
	}
	return p, 0
}

// First returns at most n problems and, if there are more, an entry that counts the
// others.
func (p Problems) First(n int) Problems {
	shown, omitted := p.Shown()
	if len(shown) <= n {
		return p
	}
	return append(slices.Clone(shown[:n]), more(omitted+len(shown)-n))
}

// Join returns the problems of several lists by place, each once.
func Join(lists ...Problems) Problems {
	var all problemList
	for _, p := range lists {
		shown, omitted := p.Shown()
		for i := range shown {
			all.add(shown[i])
		}
		all.seen += omitted
	}
	return all.all()
}

func more(n int) Problem {
	what := "problems"
	if n == 1 {
		what = "problem"
	}
	return Problem{Omitted: n, Message: fmt.Sprintf("... and %s more %s", thousands(n), what)}
}

// thousands writes a number with commas.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// maxProblems is how many problems of one generation are reported: the first ones found.
// The others are only counted.
const maxProblems = 50

// problemList collects problems.
type problemList struct {
	kept Problems
	seen int // all of them
	// spared are the comments that silence some of them.
	spared []*ignored
}

// full reports whether further problems are only counted: nothing has to be found out
// about them.
func (l *problemList) full() bool { return len(l.kept) >= maxProblems }

func (l *problemList) add(p Problem) {
	if spare(l.spared, &p) {
		return
	}
	if l.full() {
		l.seen++
		return
	}
	if !slices.Contains(l.kept, p) {
		l.seen++
		l.kept = append(l.kept, p)
	}
}

// addAll adds the problems of another list.
func (l *problemList) addAll(o *problemList) {
	for _, p := range o.kept {
		l.add(p)
	}
	l.seen += o.seen - len(o.kept)
}

// all returns the problems by place, and how many more there are.
func (l *problemList) all() Problems {
	p := slices.Clone(l.kept)
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if n := l.seen - len(p); n > 0 {
		p = append(p, more(n))
	}
	return p
}

// UsageError is a mistake in Options, not in a file.
type UsageError struct{ Message string }

// Error returns the message.
func (e *UsageError) Error() string { return e.Message }
