package view

import (
	"fmt"
	"slices"
	"strings"

	"sockwarden/engine/doctor"
)

// Checks shows what doctor found: a line for each check, wrapped, and below them what
// helps. JSON also says whether a live run would work.
func Checks(o Out, checks []doctor.Check) error {
	if o.Format != Text {
		return o.Encode(map[string]any{"works": doctor.Works(checks), "checks": checks})
	}
	checks = together(checks)
	name := len("CHECK")
	for _, c := range checks {
		name = max(name, len(c.Name))
	}
	name = min(name, 20)
	fmt.Fprintf(o.W, "LEVEL  %-*s  DETAIL\n", name, "CHECK")
	for _, c := range checks {
		checkLine(o, &c, name)
	}
	cures(o, checks)
	return nil
}

// together merges repetitions: the same reason within a check, and the same lack in
// consecutive rules.
func together(checks []doctor.Check) (shown []doctor.Check) {
	for _, c := range checks {
		c.Detail = refusedOnce(once(c.Detail))
		rule, isRule := strings.CutPrefix(c.Name, "rule ")
		if last := len(shown) - 1; isRule && last >= 0 {
			before := &shown[last]
			names, detail, _ := strings.Cut(before.Detail, ": ")
			switch {
			case c.Level == doctor.OK || before.Level != c.Level || before.Cure != c.Cure:
			case before.Name == "rules" && detail == c.Detail:
				before.Detail = names + ", " + rule + ": " + detail
				continue
			case strings.HasPrefix(before.Name, "rule ") && before.Detail == c.Detail:
				before.Name, before.Detail = "rules", strings.TrimPrefix(before.Name, "rule ")+", "+rule+": "+c.Detail
				continue
			}
		}
		shown = append(shown, c)
	}
	return shown
}

// once drops repeated parts, which semicolons separate.
func once(text string) string {
	var parts []string
	for part := range strings.SplitSeq(text, "; ") {
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; ")
}

// cures says what helps, once for all checks that it helps.
func cures(o Out, checks []doctor.Check) {
	const more = "\n  "
	names := map[string][]string{}
	var order []string
	for _, c := range checks {
		if c.Cure == "" {
			continue
		}
		if names[c.Cure] == nil {
			order = append(order, c.Cure)
		}
		names[c.Cure] = append(names[c.Cure], Printable(c.Name))
	}
	for _, cure := range order {
		text := fmt.Sprintf("cure of %s: %s", strings.Join(names[cure], ", "), Printable(cure))
		fmt.Fprintln(o.W, strings.Join(wrapped(text, o.prose()-len(more)+1), more))
	}
}

func checkLine(o Out, c *doctor.Check, name int) {
	indent := strings.Repeat(" ", len("LEVEL  ")+name+2)
	level, pad := string(c.Level), strings.Repeat(" ", max(0, len("LEVEL")-len(c.Level)))
	if o.Color {
		level = painted("LEVEL", level)
	}
	first := fmt.Sprintf("%s%s  %-*s  ", level, pad, name, Printable(c.Name))
	if width(Printable(c.Name)) > name { // a long name gets its own line
		fmt.Fprintln(o.W, strings.TrimRight(first, " "))
		first = indent
	}
	detail := wrapped(Printable(c.Detail), o.prose()-len(indent))
	fmt.Fprintln(o.W, first+strings.Join(detail, "\n"+indent))
}
