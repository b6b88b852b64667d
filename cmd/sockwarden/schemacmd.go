package main

import (
	"github.com/spf13/cobra"

	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

func rulesSchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of rules files, for editors",
		Long: `Prints the JSON Schema (draft 2020-12) of the rules files that this version takes, with
its actions and notifiers. An editor that knows it completes and explains keys and
marks wrong ones; YAML language servers find it by the first line of a file:

    # yaml-language-server: $schema=/etc/sockwarden/rules.schema.json

Conditions are text to it: "sockwarden rules check" knows all that is wrong.`,
		Example: `  sockwarden rules schema > rules.schema.json`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := rules.Schema(catalog.New(a.actions), notifierCatalog())
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(text)
			return quietPipe(err)
		},
	}
}
