package view

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"

	"sockwarden/collectors"
)

// Count writes a number of things whose plural ends in s: "1 socket", "3 sockets".
func Count(n int, of string) string {
	return collectors.Counted(n, of)
}

// Printable makes text that somebody else chose, such as a process name, safe for a
// terminal.
func Printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// display measures text as a terminal shows it, whatever this process's locale is.
var display = &runewidth.Condition{StrictEmojiNeutral: true}

// width is how many columns text takes.
func width(text string) int { return display.StringWidth(text) }

// shortened cuts text to so many columns; … stands for the rest.
func shortened(text string, columns int) string { return display.Truncate(text, columns, "…") }

// wrapped breaks text between words into lines of so many columns, where possible.
func wrapped(text string, columns int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case width(line)+1+width(word) > columns:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
