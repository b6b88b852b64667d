package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

func rulesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules check|diff|explain|fields|schema|show|test",
		Short: "Check and test rules files, show what they can read and say, explain and compare what they do",
		Example: `  sockwarden rules check rules.yaml
  sudo sockwarden rules explain -p 21118
  sudo sockwarden rules diff builtin rules.yaml
  sockwarden rules fields age
  sockwarden rules test rules_test.yaml
  sockwarden rules show --var close_wait_timeout=30`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(rulesCheck(a), rulesDiff(a), rulesExplain(a), rulesFields(a), rulesSchema(a), rulesShow(a), rulesTest(a))
	return cmd
}

func rulesCheck(a *app) *cobra.Command {
	var trust, strict bool
	var explain string
	cmd := &cobra.Command{
		Use:   "check [FILE|DIR...] [flags]",
		Short: "Say everything that is wrong with rules files",
		Long: `Reads and compiles rules files and prints every problem and where it is. From a
directory it reads *.yaml and *.yml. Exit code 0 if they are valid, 3 if not, or
with --strict if there are warnings.

The word in brackets after a problem is its kind: --explain KIND says what it
means and what to write instead. A comment silences a warning: on its line, on the
line above it, or, above a rule, in the whole rule:

    # sockwarden:ignore KIND REASON`,
		Example: `  sockwarden rules check rules.yaml
  sockwarden rules check rules.d          # all files of a directory, as one generation
  generate-rules | sockwarden rules check -
  sockwarden rules check --trust          # also the permissions, as a live run would
  sockwarden rules check --strict rules.d # for CI: warnings fail, too
  sockwarden rules check --explain still-transfers`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("explain") {
				return explainKind(a, explain, args)
			}
			a.flags.rules.files = append(a.flags.rules.files, args...)
			o, err := a.loadOptions(trust)
			if err != nil {
				return err
			}
			p, _, err := newRuleLoader(o).next(cmd.Context())
			if err != nil {
				return a.rejected(err)
			}
			for _, w := range programs(cmd.Context(), p) {
				p.Warn(w)
			}
			if err := view.Checked(a.out(), p); err != nil {
				return quietPipe(err)
			}
			if strict && len(p.Warnings) > 0 {
				return &exitError{code: exitRules}
			}
			return nil
		},
	}
	d := declare{a, cmd}
	d.rules()
	d.output()
	cmd.Flags().BoolVar(&strict, "strict", false, "exit 3 also if there are warnings")
	cmd.Flags().StringVar(&explain, "explain", "", "say what a `KIND` of problem means and what cures it; all lists them")
	d.complete("explain", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return append(kindIDs(), "all"), cobra.ShellCompDirectiveNoFileComp
	})
	cmd.Flags().BoolVar(&trust, "trust", false, "also refuse files that others can write")
	return cmd
}

// explainKind says what a kind of problem means.
func explainKind(a *app, name string, args []string) error {
	if len(args) > 0 {
		return usagef("--explain takes no file: write sockwarden rules check --explain %s", name)
	}
	if name == "all" {
		return quietPipe(view.Kinds(a.out(), rules.Kinds()))
	}
	k, ok := rules.KindOf(lang.ID(name))
	if !ok {
		return usagef("no kind of problem is named %q%s: --explain all lists them", name, rules.Suggest(name, kindIDs()))
	}
	return quietPipe(view.Kinds(a.out(), []rules.Kind{k}))
}

func kindIDs() (names []string) {
	for _, k := range rules.Kinds() {
		names = append(names, string(k.ID))
	}
	return names
}

// rejected prints problems as JSON if asked to; the exit code is the same.
func (a *app) rejected(err error) error {
	problems, ok := errors.AsType[rules.Problems](err)
	if !ok || a.out().Format == view.Text {
		return err
	}
	if err := view.Problems(a.out(), problems); err != nil {
		return quietPipe(err)
	}
	return &exitError{code: exitRules}
}

// programs warns about programs that rules would run and this host lacks.
func programs(ctx context.Context, p *rules.Program) rules.Problems {
	var found rules.Problems
	for _, r := range p.Rules {
		for i := range r.Then {
			b := catalog.Bound(&r.Then[i])
			program := b.ProgramFile()
			if program == "" {
				continue
			}
			if err := b.Preflight(ctx); err != nil {
				found = append(found, rules.Problem{ID: rules.IDProgramMissing, File: r.File, Line: r.Line, Column: 1, Message: fmt.Sprintf("rule %q could not run %s here: %v", r.Name, program, err)})
			}
		}
	}
	return found
}

func rulesFields(a *app) *cobra.Command {
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
					return unknownField("", name)
				}
			}
			if len(args) > 0 {
				docs = slices.DeleteFunc(slices.Clone(docs), func(d collectors.FieldDoc) bool {
					return !slices.ContainsFunc(args, func(n string) bool { f, _ := collectors.FieldByName(n); return f == d.Field })
				})
			}
			return quietPipe(view.Fields(a.out(), docs))
		},
		ValidArgsFunction: completeFields,
	}
	declare{a, cmd}.output()
	return cmd
}

func rulesShow(a *app) *cobra.Command {
	var source bool
	cmd := &cobra.Command{
		Use:   "show [FILE...] [flags]",
		Short: "Show the rules that are in force, with the values of variables",
		Long: `Shows the effective rules: files, variables with the values of --var, protect
entries, and each rule with its conditions (as written and, after =, with macros,
variables and short sets written out), ladder, mode and limits, what overrides of
other files have changed, what the kernel is asked for on its behalf, and what it
costs to know what its conditions read. With --source it prints the text of the
built-in rules, to start a file of your own.`,
		Example: `  sockwarden rules show --var close_wait_timeout=30
  sockwarden rules show --rules builtin --rules site.yaml --rule close-wait
  sockwarden rules show -o json | jq '.rules[].pushed_down'
  sockwarden rules show --source > rules.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if source {
				if slices.ContainsFunc(slices.Concat(args, a.flags.rules.files), func(f string) bool { return f != rules.Builtin }) {
					return usagef("--source prints the built-in rules; your own files are where you put them")
				}
				_, err := fmt.Fprint(a.stdout, rules.BuiltinText())
				return quietPipe(err)
			}
			a.flags.rules.files = append(a.flags.rules.files, args...)
			p, err := a.load(cmd.Context(), false)
			if err != nil {
				return err
			}
			return quietPipe(view.Program(a.out(), p))
		},
	}
	d := declare{a, cmd}
	d.rules()
	d.output()
	cmd.Flags().BoolVar(&source, "source", false, "print the text of the built-in rules")
	return cmd
}
