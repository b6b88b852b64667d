package view

import (
	"fmt"
	"strings"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// problem is one problem of rules files in JSON.
type problem struct {
	ID       lang.ID `json:"id"`
	Severity string  `json:"severity"` // error or warning
	File     string  `json:"file"`
	Line     int     `json:"line"`
	Column   int     `json:"column"`
	Message  string  `json:"message"`
	Cure     string  `json:"cure"`
}

// Checked describes valid rules and prints their warnings.
func Checked(o Out, p *rules.Program) error {
	if o.Format != Text {
		return problemsJSON(o, p, nil)
	}
	warnings, omitted := p.Warnings.Shown()
	for _, w := range warnings {
		fmt.Fprintln(o.W, "warning: "+w.Detail())
	}
	if omitted > 0 {
		fmt.Fprintf(o.W, "... and %s\n", Count(omitted, "more warning"))
	}
	for _, text := range needs(p) {
		o.say("note: %s", text)
	}
	fmt.Fprintf(o.W, "OK  %s, %s, generation %s\n", Count(len(p.Files), "file"), Count(len(p.Rules), "rule"), p.Short())
	return nil
}

// needs says which rules read what is not there for everybody, and what that takes.
func needs(p *rules.Program) (all []string) {
	for _, n := range []struct {
		fields collectors.FieldSet
		takes  string
	}{
		{collectors.EngineFields(), "takes the socket or the files of the container engine, and root or its group (sockwarden doctor says what is there)"},
		{collectors.PeerFields(), "takes a look into every network namespace and at every process: root, in the PID namespace of the host"},
	} {
		if who := readers(p, n.fields); who != "" {
			var what []string
			for f := range p.Reads.And(n.fields).Each {
				what = append(what, f.String())
			}
			all = append(all, fmt.Sprintf("%s: reading %s %s", who, actions.List(what), n.takes))
		}
	}
	return all
}

// readers names the rules that read some fields, "" for none.
func readers(p *rules.Program, fields collectors.FieldSet) string {
	var who []string
	for _, r := range p.Rules {
		if !r.ReadsOf(fields).Empty() {
			who = append(who, "rule "+r.Name)
		}
	}
	for _, q := range p.Protect {
		if q.When.Reads.Meets(fields) {
			who = append(who, "protect "+q.Name)
		}
	}
	more := ""
	if n := len(who) - namedNeeds; n > 0 {
		who, more = who[:namedNeeds], fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(who, ", ") + more
}

// namedNeeds is how many rules with the same need a line names.
const namedNeeds = 5

// Problems writes what is wrong with rules as JSON.
func Problems(o Out, errors rules.Problems) error { return problemsJSON(o, nil, errors) }

// problemsJSON writes the errors, or the warnings of a program without errors.
func problemsJSON(o Out, p *rules.Program, errors rules.Problems) error {
	out, omitted := []problem{}, 0
	add := func(severity string, ps rules.Problems) {
		shown, others := ps.Shown()
		omitted += others
		for _, q := range shown {
			out = append(out, problem{q.ID, severity, q.File, q.Line, q.Column, q.Message, q.Cure()})
		}
	}
	add("error", errors)
	report := map[string]any{"valid": p != nil}
	if p != nil {
		add("warning", p.Warnings)
		report["generation"] = p.Generation
		if all := needs(p); len(all) > 0 {
			report["needs"] = all
		}
	}
	report["problems"], report["omitted"] = out, omitted
	return o.Encode(report)
}
