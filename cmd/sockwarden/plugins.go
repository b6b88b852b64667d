package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/rules"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func pluginsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugins [NAME] [flags]",
		Short: "List the collectors, actions and notifiers that this program was built with",
		Example: `  sockwarden plugins
  sockwarden plugins destroy`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("plugins takes one name, not %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: completion{a}.plugins,
		RunE: func(_ *cobra.Command, args []string) error {
			docs := view.PluginDocs(a.sources.All(), a.actions.All(), builtinNotifiers())
			if len(args) == 0 {
				return quietPipe(view.Plugins(a.out(), docs))
			}
			named := slices.DeleteFunc(slices.Clone(docs), func(d view.PluginDoc) bool { return d.Name != args[0] })
			if len(named) == 0 {
				var names []string
				for _, d := range docs {
					names = append(names, d.Name)
				}
				return usagef("unknown plugin %q%s", args[0], rules.Suggest(args[0], names))
			}
			return quietPipe(view.PluginsInFull(a.out(), named))
		},
	}
	declare{a, cmd}.output()
	return cmd
}
