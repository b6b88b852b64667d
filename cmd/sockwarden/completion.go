package main

import (
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/collectors"
	"sockwarden/collectors/netns"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

type completer = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

func fixed(values ...string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}

func completeRulesFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{rules.Builtin}, cobra.ShellCompDirectiveDefault
}

// completion completes what rules name.
type completion struct{ app *app }

// loaded returns the rules that the flags so far name; completion must not fail.
func (c completion) loaded() *rules.Program {
	if c.app.setup() != nil {
		return nil
	}
	p, _, err := rules.Load(rules.Options{Paths: c.app.flags.rules.files, Catalog: catalog.New(c.app.actions), Notifiers: notifierCatalog()})
	if err != nil {
		return nil
	}
	return p
}

func (c completion) rules(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if p := c.loaded(); p != nil {
		for _, r := range p.Rules {
			names = append(names, r.Name+"\t"+r.Description)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c completion) vars(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if p := c.loaded(); p != nil {
		for name, value := range p.Vars {
			names = append(names, name+"=\t"+value)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func (c completion) sets(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	sets := rules.BuiltinSets()
	if p := c.loaded(); p != nil {
		sets = p.Sets
	}
	var names []string
	for name, s := range sets {
		if s.IsPorts() {
			names = append(names, name+"\t"+s.String())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func completeStates(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names := []string{"all", "connected", "synchronized"}
	for _, n := range collectors.StateNames() {
		names = append(names, strings.ToLower(n))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFields completes the last of several fields with commas between.
func completeFields(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	before := ""
	if i := strings.LastIndexAny(toComplete, ",-"); i >= 0 {
		before = toComplete[:i+1]
	}
	var names []string
	for _, d := range collectors.AllFields() {
		names = append(names, before+d.Name+"\t"+d.Meaning)
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func completeNetNS(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names := []string{"all"}
	if all, err := netns.List(); err == nil {
		for _, h := range all {
			names = append(names, h.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a completion script for a shell",
		Long:  "Prints a script that completes commands, flags, rule names, states, sets and fields.",
		Example: `  sockwarden completion bash > /etc/bash_completion.d/sockwarden
  sockwarden completion zsh > "${fpath[1]}/_sockwarden"
  sockwarden completion fish > ~/.config/fish/completions/sockwarden.fish`,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("which shell? %s", strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			w := cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(w, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(w)
			case "fish":
				return cmd.Root().GenFishCompletion(w, true)
			}
			return usagef("unknown shell %q%s: there are %s", args[0], rules.Suggest(args[0], shells), strings.Join(shells, ", "))
		},
	}
}
