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

// Program shows the rules in force: files, what the kernel is asked for, variables,
// protect entries, and each rule.
func Program(o Out, p *rules.Program) error {
	if o.Format != Text {
		return o.Encode(programJSON(p))
	}
	w := o.W
	fmt.Fprintf(w, "generation %s\n", p.Short())
	for _, f := range p.Files {
		fmt.Fprintf(w, "file       %s (%s)\n", f.Path, Count(f.Rules, "rule"))
	}
	asksFor(w, p)
	fmt.Fprintf(w, "breaker    %d living targets, or %.0f%% of all sockets if that is more than %d\n", p.Breaker.Count, p.Breaker.Share*100, p.Breaker.ShareMin)
	if len(p.Vars) > 0 {
		fmt.Fprintln(w, "\nvars")
		for _, name := range slices.Sorted(maps.Keys(p.Vars)) {
			fmt.Fprintf(w, "  %s: %s\n", name, p.Vars[name])
		}
	}
	if len(p.Protect) > 0 {
		fmt.Fprintln(w, "\nprotect")
		for _, q := range p.Protect {
			fmt.Fprintf(w, "  %s: %s\n", q.Name, oneLine(q.When.Text))
		}
	}
	for _, r := range p.Rules {
		rule(w, r)
	}
	return nil
}

// asksFor says what the kernel is asked for, for all rules together.
func asksFor(w io.Writer, p *rules.Program) {
	var names []string
	for s := range collectors.State(12) {
		if p.Query.States.Has(s) {
			names = append(names, s.String())
		}
	}
	fmt.Fprintf(w, "asks for   %v %s\n", p.Query.Protocols, strings.Join(names, " "))
	for _, proto := range p.Query.Protocols {
		_, clauses := p.Query.For(proto)
		texts := make([]string, len(clauses))
		for i := range clauses {
			texts[i] = clauses[i].String()
		}
		slices.Sort(texts)
		if texts = slices.Compact(texts); !slices.Contains(texts, "") {
			fmt.Fprintf(w, "           %s only with %s\n", proto, strings.Join(texts, "; or "))
		}
	}
}

func rule(w io.Writer, r *rules.Rule) {
	fmt.Fprintf(w, "\nrule %s  (%s:%d)\n", r.Name, r.File, r.Line)
	field := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-8s %s\n", name, text)
		}
	}
	field("about", r.Description)
	if r.Overridden != nil {
		field("override", r.Overridden.String())
	}
	field("mode", string(r.Mode))
	field("when", oneLine(r.When.Text))
	if r.Unless != nil {
		field("unless", oneLine(r.Unless.Text))
	}
	if r.Grouped() {
		field("group", fmt.Sprint(r.Group))
		if r.Having != nil {
			field("having", oneLine(r.Having.Text))
		}
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
}

func ladder(r *rules.Rule) []string {
	steps := []string{}
	for i := range r.Then {
		steps = append(steps, r.Then[i].String())
	}
	return steps
}
