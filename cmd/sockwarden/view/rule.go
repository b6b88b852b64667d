package view

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/rules"
)

// rule shows one rule as it is after variables, sets, macros and overrides.
func rule(w io.Writer, r *rules.Rule) {
	fmt.Fprintf(w, "\nrule %s  (%s:%d)\n", r.Name, r.File, r.Line)
	field := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-8s %s\n", name, text)
		}
	}
	condition := func(name string, c *rules.Cond) {
		if c == nil {
			return
		}
		field(name, oneLine(c.Text))
		if full := oneLine(c.Expanded()); full != oneLine(c.Text) {
			field("", "= "+full)
		}
	}
	field("about", r.Description)
	if r.Overridden != nil {
		field("override", r.Overridden.String())
	}
	field("mode", string(r.Mode))
	condition("when", r.When)
	condition("unless", r.Unless)
	if r.Grouped() {
		field("group", fmt.Sprint(r.Group))
		condition("having", r.Having)
		if r.Keep > 0 {
			field("keep", fmt.Sprintf("%d, order %s", r.Keep, r.Order))
		}
	}
	for _, t := range []struct {
		name string
		time time.Duration
	}{{"for", r.For}, {"soak", r.Soak}} {
		if t.time > 0 {
			field(t.name, t.time.String())
		}
	}
	if len(r.During) > 0 {
		field("during", fmt.Sprint(r.During))
	}
	if r.Canary > 0 {
		field("canary", fmt.Sprintf("%.3g%%", r.Canary*100))
	}
	field("then", strings.Join(ladder(r), ", "))
	field("notify", strings.Join(r.Notify, ", "))
	field("limits", r.Limits.String())
	labels := make([]string, 0, len(r.Labels))
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		labels = append(labels, k+"="+r.Labels[k])
	}
	field("labels", Printable(strings.Join(labels, ", ")))
	if ns := r.NetNS(); !slices.Equal(ns, []string{"host"}) {
		field("netns", strings.Join(ns, ", "))
	}
	field("asks for", ruleAsks(r))
	for _, c := range costsOf(r) {
		field("costs", fmt.Sprintf("%s (%s)", c.cost, strings.Join(c.fields, ", ")))
	}
}

// ruleAsks says what the kernel is asked for on behalf of a rule.
func ruleAsks(r *rules.Rule) string {
	asks := r.Asks()
	if asks.States == 0 {
		return "nothing"
	}
	text := fmt.Sprintf("%v %s", asks.Protocols, strings.Join(stateNames(asks.States), " "))
	if only := asks.String(); only != "" {
		text += ", only with " + only
	}
	return text
}

func stateNames(m collectors.StateMask) (names []string) {
	for s := range collectors.State(12) {
		if m.Has(s) {
			names = append(names, s.String())
		}
	}
	return names
}

// cost is what it takes to know some of the fields that a rule reads.
type cost struct {
	cost   collectors.Cost
	fields []string
}

// costsOf returns what it takes to know what the conditions of a rule read, besides what
// every record has.
func costsOf(r *rules.Rule) (all []cost) {
	for _, d := range collectors.AllFields() {
		if d.Cost == collectors.CostNone || r.ReadsOf(collectors.Fields(d.Field)).Empty() {
			continue
		}
		i := slices.IndexFunc(all, func(c cost) bool { return c.cost.String() == d.Cost.String() })
		if i < 0 {
			i, all = len(all), append(all, cost{cost: d.Cost})
		}
		all[i].fields = append(all[i].fields, d.Name)
	}
	return all
}

func ladder(r *rules.Rule) []string {
	steps := []string{}
	for i := range r.Then {
		steps = append(steps, r.Then[i].String())
	}
	return steps
}
