package view

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Count says how many there are of something whose plural ends in s: "1 socket",
// "3 sockets".
func Count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// Printable makes text that somebody else chose, such as the name of a process,
// harmless for a terminal.
func Printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// wrapped breaks text between words into lines of so many columns, if it can.
func wrapped(text string, columns int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > columns:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
