package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Format is the form in which to write a value.
type Format string

// The formats.
const (
	Text  Format = "table" // for people
	JSON  Format = "json"  // one indented value
	Lines Format = "jsonl" // JSON values, one per line
)

// PlainWidth is the width of tables without a terminal, in columns.
const PlainWidth = 80

// widest is the maximum width of text of several lines, in columns.
const widest = 76

// Out says where to show values, and how.
type Out struct {
	W      io.Writer
	Format Format
	Width  int  // available columns, 0 for PlainWidth
	Wrap   bool // break sentences between words, as for a terminal; piped output stays greppable
	Color  bool // states, decisions and levels
}

// columns is how many columns are available.
func (o Out) columns() int {
	if o.Width <= 0 {
		return PlainWidth
	}
	return o.Width
}

// prose is the width of text of several lines.
func (o Out) prose() int { return min(o.columns(), widest) }

// on is the same Out on another writer.
func (o Out) on(w io.Writer) Out {
	o.W = w
	return o
}

// say writes a sentence on one line, or on a terminal on as many as it takes.
func (o Out) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if o.Wrap && width(text) > o.columns() {
		const more = "\n  "
		text = strings.Join(wrapped(text, o.columns()-len(more)+1), more)
	}
	fmt.Fprintln(o.W, text)
}

// Encode writes a value as JSON: indented, or on one line if Lines.
func (o Out) Encode(v any) error {
	enc := json.NewEncoder(o.W)
	if o.Format == JSON {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v) //nolint:wrapcheck // an error of the stream
}

// writeRows writes an array, or lines, row by row: the array of a million sockets would
// take gigabytes.
func writeRows[T any](o Out, n int, row func(int) T) error {
	w := bufio.NewWriter(o.W)
	if o.Format == Lines {
		enc := json.NewEncoder(w)
		for i := range n {
			if err := enc.Encode(row(i)); err != nil {
				return err //nolint:wrapcheck // an error of the stream
			}
		}
		return w.Flush() //nolint:wrapcheck // an error of the stream
	}
	end := "[]\n"
	for i := range n {
		text, err := json.MarshalIndent(row(i), "  ", "  ")
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		before := ","
		if i == 0 {
			before, end = "[", "\n]\n"
		}
		if _, err := fmt.Fprintf(w, "%s\n  %s", before, text); err != nil {
			return err //nolint:wrapcheck // an error of the stream
		}
	}
	_, _ = w.WriteString(end) // Flush returns the error
	return w.Flush()          //nolint:wrapcheck // an error of the stream
}
