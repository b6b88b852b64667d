package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
)

func (a *app) rulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules check|fields|show",
		Short: "Check rules files, and show what they can read and what they say",
		Example: `  sockwarden rules check rules.yaml
  sockwarden rules fields age
  sockwarden rules show --var close_wait_timeout=30`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(a.rulesCheck(), a.rulesFields(), a.rulesShow())
	for _, c := range cmd.Commands() {
		c.DisableFlagsInUseLine = true
	}
	return cmd
}

func (a *app) rulesCheck() *cobra.Command {
	var trust bool
	cmd := &cobra.Command{
		Use:   "check [FILE...] [flags]",
		Short: "Say everything that is wrong with rules files",
		Long: `Reads and compiles rules files and prints every problem with its place. Exit
code 0 if they are valid (warnings do not count), 3 if not.`,
		Example: `  sockwarden rules check rules.yaml
  generate-rules | sockwarden rules check -
  sockwarden rules check --trust          # also the permissions, as a live run would`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.flags.rules = append(a.flags.rules, args...)
			o, err := a.loadOptions(trust)
			if err != nil {
				return err
			}
			p, _, err := newRuleLoader(o).next(cmd.Context())
			if err == nil {
				p.Warnings = append(p.Warnings, programs(cmd.Context(), p)...)
			}
			if a.flags.output != "table" {
				return a.checkJSON(p, err)
			}
			if err != nil {
				return err
			}
			warnings, omitted := p.Warnings.Shown()
			for _, w := range warnings {
				fmt.Fprintln(a.stdout, "warning: "+w.Detail())
			}
			if omitted > 0 {
				fmt.Fprintf(a.stdout, "... and %d more warning%s\n", omitted, plural(omitted))
			}
			fmt.Fprintf(a.stdout, "OK  %d file%s, %d rule%s, generation %s\n", len(p.Files), plural(len(p.Files)), len(p.Rules), plural(len(p.Rules)), p.Short())
			return nil
		},
	}
	a.rulesFlags(cmd)
	a.outputFlag(cmd)
	cmd.Flags().BoolVar(&trust, "trust", false, "also refuse files that others can write")
	return cmd
}

// programs warns of programs that rules would run and this host has not.
func programs(ctx context.Context, p *rules.Program) rules.Problems {
	var found rules.Problems
	for _, r := range p.Rules {
		for i := range r.Then {
			b := engine.Bound(&r.Then[i])
			program := b.ProgramFile()
			if program == "" {
				continue
			}
			if err := b.Preflight(ctx); err != nil {
				found = append(found, rules.Problem{File: r.File, Line: r.Line, Column: 1, Message: fmt.Sprintf("rule %q could not run %s here: %v", r.Name, program, err)})
			}
		}
	}
	return found
}

// checkJSON prints the problems as JSON; the exit code is the same.
func (a *app) checkJSON(p *rules.Program, err error) error {
	type problem struct {
		File    string `json:"file"`
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Level   string `json:"level"`
		Message string `json:"message"`
	}
	out, omitted := []problem{}, 0
	add := func(level string, ps rules.Problems) {
		shown, others := ps.Shown()
		omitted += others
		for _, q := range shown {
			out = append(out, problem{q.File, q.Line, q.Column, level, q.Message})
		}
	}
	var problems rules.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	add("error", problems)
	report := map[string]any{"valid": err == nil}
	if p != nil {
		add("warning", p.Warnings)
		report["generation"] = p.Generation
	}
	report["problems"], report["omitted"] = out, omitted
	if encErr := a.encoder().Encode(report); encErr != nil {
		return quietPipe(encErr)
	}
	if err != nil {
		return &exitError{code: exitRules}
	}
	return nil
}

func (a *app) rulesFields() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fields [NAME...] [flags]",
		Short: "List what conditions can read of a socket",
		Long: `Lists the fields of the rules language: meaning, type, unit, source, and when a
field is unknown. A comparison that reads an unknown field is unknown, and a
rule matches only if its condition is true.`,
		Example: `  sockwarden rules fields
  sockwarden rules fields age owned
  sockwarden rules fields -o json`,
		RunE: func(_ *cobra.Command, args []string) error {
			docs := collectors.AllFields()
			for _, name := range args {
				if _, ok := collectors.FieldByName(name); !ok {
					return usagef("unknown field %q%s", name, rules.Suggest(name, fieldNames()))
				}
			}
			if len(args) > 0 {
				docs = slices.DeleteFunc(slices.Clone(docs), func(d collectors.FieldDoc) bool {
					return !slices.ContainsFunc(args, func(n string) bool { f, _ := collectors.FieldByName(n); return f == d.Field })
				})
			}
			if a.flags.output != "table" {
				return a.fieldsJSON(docs)
			}
			for _, d := range docs {
				a.printField(&d)
			}
			return nil
		},
		ValidArgsFunction: completeFields,
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printField(d *collectors.FieldDoc) {
	var name strings.Builder
	name.WriteString(d.Name)
	for _, alias := range d.Aliases {
		name.WriteString(", " + alias)
	}
	typ := d.Type.String()
	if d.Unit != "" && d.Unit != "s" {
		typ += " (" + d.Unit + ")"
	}
	fmt.Fprintf(a.stdout, "%-18s %s\n%18s %s; from %s; unknown: %s\n", name.String(), d.Meaning, "", typ, d.Source, d.Unknown)
	if len(d.Values) > 0 {
		fmt.Fprintf(a.stdout, "%18s one of %s\n", "", strings.Join(d.Values, ", "))
	}
}

func (a *app) fieldsJSON(docs []collectors.FieldDoc) error {
	rows := []map[string]any{}
	for _, d := range docs {
		row := map[string]any{"name": d.Name, "type": d.Type.String(), "unit": d.Unit, "source": d.Source, "meaning": d.Meaning, "unknown": d.Unknown}
		if len(d.Aliases) > 0 {
			row["aliases"] = d.Aliases
		}
		if len(d.Values) > 0 {
			row["values"] = d.Values
		}
		rows = append(rows, row)
	}
	enc := json.NewEncoder(a.stdout)
	if a.flags.output == "jsonl" {
		for _, row := range rows {
			if err := enc.Encode(row); err != nil {
				return quietPipe(err)
			}
		}
		return nil
	}
	enc.SetIndent("", "  ")
	return quietPipe(enc.Encode(rows))
}

func (a *app) rulesShow() *cobra.Command {
	var source bool
	cmd := &cobra.Command{
		Use:   "show [FILE...] [flags]",
		Short: "Show the rules that are in force, with the values of variables",
		Long: `Shows the effective rules: files, variables with the values of --var, protect
entries, and each rule with its conditions, ladder and limits, and what the
kernel is asked for. With --source it prints the text of the built-in rules, to
start a file of your own.`,
		Example: `  sockwarden rules show --var close_wait_timeout=30
  sockwarden rules show --source > rules.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if source {
				if len(args)+len(a.flags.rules) > 0 {
					return usagef("--source prints the built-in rules; your own files are where you put them")
				}
				_, err := fmt.Fprint(a.stdout, rules.BuiltinText())
				return quietPipe(err)
			}
			a.flags.rules = append(a.flags.rules, args...)
			p, err := a.load(cmd.Context(), false)
			if err != nil {
				return err
			}
			if a.flags.output != "table" {
				return quietPipe(a.encoder().Encode(describeProgram(p)))
			}
			a.showProgram(p)
			return nil
		},
	}
	a.rulesFlags(cmd)
	a.outputFlag(cmd)
	cmd.Flags().BoolVar(&source, "source", false, "print the text of the built-in rules")
	return cmd
}

// describeProgram is the JSON of rules show.
func describeProgram(p *rules.Program) map[string]any {
	list := []map[string]any{}
	for _, r := range p.Rules {
		row := map[string]any{
			"name": r.Name, "description": r.Description, "file": r.File, "line": r.Line, "mode": r.Mode, "when": r.When.Text,
			"for_seconds": r.For.Seconds(), "then": ladder(r), "labels": r.Labels,
			"limits": map[string]any{
				"per_cycle": r.Limits.PerCycle, "per_minute": r.Limits.PerMinute, "share": r.Limits.Share,
				"cooldown_seconds": r.Limits.Cooldown.Seconds(), "peer_cooldown_seconds": r.Limits.Peer.Seconds(), "max_collateral": r.Limits.MaxCollateral,
			},
			"soak_seconds": r.Soak.Seconds(), "canary": r.Canary, "notify": r.Notify,
		}
		if r.Grouped() {
			row["group"], row["having"] = r.Group, r.Having.Text
		}
		if len(r.During) > 0 {
			windows := make([]string, len(r.During))
			for i, w := range r.During {
				windows[i] = w.String()
			}
			row["during"] = windows
		}
		if r.Unless != nil {
			row["unless"] = r.Unless.Text
		}
		list = append(list, row)
	}
	protect := []map[string]any{}
	for _, q := range p.Protect {
		protect = append(protect, map[string]any{"name": q.Name, "when": q.When.Text, "file": q.File})
	}
	files := []string{}
	for _, f := range p.Files {
		files = append(files, f.Path)
	}
	return map[string]any{"generation": p.Generation, "files": files, "vars": p.Vars, "protect": protect, "rules": list}
}

func ladder(r *rules.Rule) []string {
	steps := []string{}
	for i := range r.Then {
		steps = append(steps, r.Then[i].String())
	}
	return steps
}

func (a *app) showProgram(p *rules.Program) {
	w := a.stdout
	fmt.Fprintf(w, "generation %s\n", p.Short())
	for _, f := range p.Files {
		fmt.Fprintf(w, "file       %s (%d rule%s)\n", f.Path, f.Rules, plural(f.Rules))
	}
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
	fmt.Fprintf(w, "breaker    %d living targets, or %.0f%% of all where that is more than %d\n", p.Breaker.Count, p.Breaker.Share*100, p.Breaker.ShareMin)
	if len(p.Vars) > 0 {
		fmt.Fprintln(w, "\nvars")
		for _, name := range sorted(p.Vars) {
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
		fmt.Fprintf(w, "\nrule %s  (%s:%d)\n", r.Name, r.File, r.Line)
		field := func(name, text string) {
			if text != "" {
				fmt.Fprintf(w, "  %-7s %s\n", name, text)
			}
		}
		field("about", r.Description)
		field("mode", string(r.Mode))
		field("when", oneLine(r.When.Text))
		if r.Unless != nil {
			field("unless", oneLine(r.Unless.Text))
		}
		if r.Grouped() {
			field("group", fmt.Sprint(r.Group))
			field("having", oneLine(r.Having.Text))
		}
		for name, d := range map[string]time.Duration{"for": r.For, "soak": r.Soak} {
			if d > 0 {
				field(name, d.String())
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
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
