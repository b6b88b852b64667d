package view

import (
	"fmt"
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
		checkLine(o, &c, name)
	}
	const more = "\n  "
	for _, c := range checks {
		if c.Cure != "" {
			text := fmt.Sprintf("cure of %s: %s", Printable(c.Name), Printable(c.Cure))
			fmt.Fprintln(o.W, strings.Join(wrapped(text, o.prose()-len(more)+1), more))
		}
	}
	return nil
}

func checkLine(o Out, c *doctor.Check, name int) {
	indent := strings.Repeat(" ", len("LEVEL  ")+name+2)
	level, pad := string(c.Level), strings.Repeat(" ", max(0, len("LEVEL")-len(c.Level)))
	if o.Color {
		level = painted("LEVEL", level)
	}
	first := fmt.Sprintf("%s%s  %-*s  ", level, pad, name, Printable(c.Name))
	if width(Printable(c.Name)) > name { // a long one has the line for itself
		fmt.Fprintln(o.W, strings.TrimRight(first, " "))
		first = indent
	}
	detail := wrapped(Printable(c.Detail), o.prose()-len(indent))
	fmt.Fprintln(o.W, first+strings.Join(detail, "\n"+indent))
}
