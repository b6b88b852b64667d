package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"sockwarden/collectors"
)

// table aligns columns; numbers go to the right.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// rightAligned are the headings of columns of numbers.
var rightAligned = map[string]bool{"COUNT": true, "RECV-Q": true, "SEND-Q": true, "RULES": true}

func (t *table) write(w io.Writer) {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, c := range row {
			widths[i] = max(widths[i], len([]rune(c)))
		}
	}
	for _, row := range append([][]string{t.head}, t.rows...) {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(c)))
			if rightAligned[t.head[i]] {
				line.WriteString(pad + c)
			} else {
				line.WriteString(c + pad)
			}
			line.WriteString("  ")
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// printable makes text that a program chose itself harmless for a terminal.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// quietPipe makes a reader that went away no error.
func quietPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// ageText shows an age: 3h12m if it is exact, >=3h12m for a lower bound, ? if
// nothing is known.
func ageText(a collectors.Age) string {
	const exact = 1.0 // seconds between the bounds
	switch {
	case a.Source == collectors.AgeNone || a.Source == "":
		return "?"
	case a.Bounded && a.Max-a.Min <= exact:
		return span(a.Min)
	}
	return ">=" + span(a.Min)
}

// span shows seconds in the two largest units.
func span(seconds float64) string {
	s := int(math.Floor(seconds))
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%dh", s/86400, s/3600%24)
}

// encoder writes JSON: indented for people, on one line for jsonl.
func (a *app) encoder() *json.Encoder {
	enc := json.NewEncoder(a.stdout)
	if a.flags.output == "json" {
		enc.SetIndent("", "  ")
	}
	return enc
}
