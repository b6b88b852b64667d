package view

import (
	"fmt"
	"io"
	"strings"

	"sockwarden/engine/doctor"
)

// Checks shows what a look at the host came to: a line for each check, wrapped, and
// below them what helps. JSON says besides whether a live run would work.
func Checks(o Out, checks []doctor.Check) error {
	if o.Format != Text {
		return o.Encode(map[string]any{"works": doctor.Works(checks), "checks": checks})
	}
	name := len("CHECK")
	for _, c := range checks {
		name = max(name, len(c.Name))
	}
	name = min(name, 20)
	fmt.Fprintf(o.W, "LEVEL  %-*s  DETAIL\n", name, "CHECK")
	for _, c := range checks {
		checkLine(o.W, &c, name, o.Width)
	}
	const more = "\n  "
	for _, c := range checks {
		if c.Cure != "" {
			text := fmt.Sprintf("cure of %s: %s", Printable(c.Name), Printable(c.Cure))
			fmt.Fprintln(o.W, strings.Join(wrapped(text, o.Width-len(more)+1), more))
		}
	}
	return nil
}

func checkLine(w io.Writer, c *doctor.Check, name, columns int) {
	indent := strings.Repeat(" ", len("LEVEL  ")+name+2)
	first := fmt.Sprintf("%-5s  %-*s  ", c.Level, name, Printable(c.Name))
	detail := wrapped(Printable(c.Detail), columns-len(indent))
	if len(first) > len(indent) { // a long name has the line for itself
		fmt.Fprintln(w, strings.TrimRight(first, " "))
		first = indent
	}
	fmt.Fprintln(w, first+strings.Join(detail, "\n"+indent))
}
