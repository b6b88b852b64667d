package main

import (
	"github.com/spf13/cobra"

	"sockwarden/engine/catalog"
	"sockwarden/engine/ruletest"
	"sockwarden/rules"
)

func rulesSchema(a *app) *cobra.Command {
	var tests bool
	cmd := &cobra.Command{
		Use:   "schema [flags]",
		Short: "Print a JSON Schema of rules files, or of test files, for editors",
		Long: `Prints the JSON Schema (draft 2020-12) of the rules files that this version takes, with
its actions and notifiers; with --tests that of test files, with all fields of
sockets. An editor that knows it completes and explains keys and marks wrong ones;
YAML language servers find it by the first line of a file:

    # yaml-language-server: $schema=/etc/sockwarden/rules.schema.json

Conditions are text to it: "sockwarden rules check" knows all that is wrong, and
"sockwarden rules test" what is wrong with tests.`,
		Example: `  sockwarden rules schema > rules.schema.json
  sockwarden rules schema --tests > tests.schema.json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			var text []byte
			var err error
			if tests {
				text, err = rules.TestSchema(ruletest.Words(a.actions.All()))
			} else {
				text, err = rules.Schema(catalog.New(a.actions), notifierCatalog())
			}
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(text)
			return quietPipe(err)
		},
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "the schema of test files, as rules test takes them")
	return cmd
}
