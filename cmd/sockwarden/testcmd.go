package main

import (
	"errors"
	"log/slog"
	"regexp"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine/ruletest"
)

var errNoTests = errors.New("no test was run")

func rulesTest(a *app) *cobra.Command {
	var run, output string
	var coverage bool
	cmd := &cobra.Command{
		Use:   "test FILE|DIR... [flags]",
		Short: "Run tests of rules, without root and without sockets",
		Long: `Runs test files: what should become of sockets that a test invents. The real
engine looks, judges and, in a live test, acts on them, in a world with a clock that
moves only when the test says so; nothing of this host is read or touched but the
files. From a directory it runs *_test.yaml; rules directories skip these.

A failure says which socket it is about, what was expected, what came, and the first
part of the condition that is not true. docs/testing-rules.md has the format.

Exit code 0 if all tests pass, 1 if one fails or there is none, 3 if a file is wrong:
then it lists what is wrong with all files, and runs no test.`,
		Example: `  sockwarden rules test rules_test.yaml
  sockwarden rules test /etc/sockwarden/rules.d
  sockwarden rules test --run 'hung|leak' rules_test.yaml
  sockwarden rules test --coverage .      # what of the rules no test has tried
  sockwarden rules test -o junit . > report.xml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("name test files, or a directory that has some: sockwarden rules test .")
			}
			if err := oneOf("--output", output, []string{"table", "json", "junit"}); err != nil {
				return err
			}
			if a.flags.output = output; output == "junit" {
				a.flags.output = string(view.Text) // of problems with files
			}
			plugins, err := builtinActions(slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			o := ruletest.Options{Paths: args, Coverage: coverage, Actions: plugins.All(), Notifiers: notifierCatalog()}
			if run != "" {
				if o.Run, err = regexp.Compile(run); err != nil {
					return usagef("--run: %v", err)
				}
			}
			result, err := ruletest.Run(cmd.Context(), o)
			if err != nil {
				return a.rejected(err)
			}
			if err := quietPipe(view.Tests(a.out(), output, result)); err != nil {
				return err
			}
			switch {
			case result.Failed > 0:
				return &exitError{code: exitFailed}
			case result.Passed == 0 && run != "":
				return &exitError{code: exitFailed, err: errNoTests, hint: "no name matches --run " + run}
			case result.Passed == 0:
				return &exitError{code: exitFailed, err: errNoTests, hint: "test files are named *_test.yaml; directories in a directory are to be named, too"}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "only the tests whose names match this regular `EXPRESSION`")
	cmd.Flags().BoolVar(&coverage, "coverage", false, "also say which rules, rungs and parts of conditions no test has tried")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT` of the result: table, json or junit")
	declare{a, cmd}.complete("output", fixed("table", "json", "junit"))
	return cmd
}
