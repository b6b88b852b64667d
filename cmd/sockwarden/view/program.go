package view

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

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
			fmt.Fprintf(w, "  %s: %s\n", q.Name, oneLine(q.When.Expanded()))
			if len(q.During) > 0 {
				fmt.Fprintf(w, "    during %v\n", q.During)
			}
		}
	}
	for _, r := range p.Rules {
		rule(w, r)
	}
	return nil
}

// asksFor says what the kernel is asked for, for all rules together.
func asksFor(w io.Writer, p *rules.Program) {
	fmt.Fprintf(w, "asks for   %v %s\n", p.Query.Protocols, strings.Join(stateNames(p.Query.States), " "))
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
