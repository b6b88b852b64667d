package view

import (
	"fmt"

	"sockwarden/rules"
)

// problem is one problem of rules files as JSON has it.
type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Level   string `json:"level"` // error or warning
	Message string `json:"message"`
}

// Checked says of valid rules what they are and what they warn of.
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
	fmt.Fprintf(o.W, "OK  %s, %s, generation %s\n", Count(len(p.Files), "file"), Count(len(p.Rules), "rule"), p.Short())
	return nil
}

// Problems writes what is wrong with rules as JSON.
func Problems(o Out, errors rules.Problems) error { return problemsJSON(o, nil, errors) }

// problemsJSON writes the errors, or the warnings of a program that has none.
func problemsJSON(o Out, p *rules.Program, errors rules.Problems) error {
	out, omitted := []problem{}, 0
	add := func(level string, ps rules.Problems) {
		shown, others := ps.Shown()
		omitted += others
		for _, q := range shown {
			out = append(out, problem{q.File, q.Line, q.Column, level, q.Message})
		}
	}
	add("error", errors)
	report := map[string]any{"valid": p != nil}
	if p != nil {
		add("warning", p.Warnings)
		report["generation"] = p.Generation
	}
	report["problems"], report["omitted"] = out, omitted
	return o.Encode(report)
}
