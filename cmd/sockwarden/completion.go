package main

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors"
	"sockwarden/collectors/containers"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
	"sockwarden/rules/lang"
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

// loaded returns the rules that the flags name so far; completion must not fail.
func (c completion) loaded() *rules.Program {
	if c.app.setup() != nil {
		return nil
	}
	files := slices.Clone(c.app.flags.rules.files) // cobra reads the flags twice
	slices.Sort(files)
	p, _, err := rules.Load(rules.Options{Paths: slices.Compact(files), Catalog: catalog.New(c.app.actions), Notifiers: notifierCatalog()})
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

// sets returns those of the rules.
func (c completion) sets() map[string]*rules.Set {
	if p := c.loaded(); p != nil {
		return p.Sets
	}
	return rules.BuiltinSets()
}

// ports completes the last of several sets of ports and services.
func (c completion) ports(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	before := upToLast(toComplete)
	var names []string
	sets := c.sets()
	for name, s := range sets {
		if s.IsPorts() {
			names = append(names, before+name+"\t"+s.String())
		}
	}
	all := hostServices()
	for name := range all {
		if _, ok := sets[name]; !ok {
			names = append(names, before+name+"\t"+all.list(name))
		}
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

// peers completes the last of several sets of addresses.
func (c completion) peers(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for name, s := range c.sets() {
		if s.Kind() == lang.KindAddr {
			names = append(names, upToLast(toComplete)+name)
		}
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

// upToLast is what stands before the last of several values with commas between.
func upToLast(toComplete string) string { return toComplete[:strings.LastIndexByte(toComplete, ',')+1] }

func completeStates(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names := []string{"all", "connected", "synchronized"}
	for _, n := range collectors.StateNames() {
		names = append(names, strings.ToLower(n))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeSort completes a field, also after the minus that means descending.
func completeSort(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	names := []string{"count\tof the groups of --by"}
	for _, d := range collectors.AllFields() {
		names = append(names, d.Name+"\t"+d.Meaning)
	}
	for i, name := range names {
		if strings.HasPrefix(toComplete, "-") {
			names[i] = "-" + name
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// sortedDown lets --sort be completed after a minus, which cobra takes for a flag unless
// the value is part of the same word as --sort.
func sortedDown(args []string) []string {
	n := len(args)
	if n < 3 || !strings.HasPrefix(args[0], "__complete") || args[n-2] != "--sort" || !strings.HasPrefix(args[n-1], "-") {
		return args
	}
	return append(slices.Clone(args[:n-2]), "--sort="+args[n-1])
}

// plugins completes plugin names.
func (c completion) plugins(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) == 0 && c.app.setup() == nil {
		for _, d := range view.PluginDocs(c.app.sources.All(), c.app.actions.All(), builtinNotifiers()) {
			names = append(names, d.Name+"\t"+d.Summary)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFields completes the last of several fields separated by commas.
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

// completeContainers completes the names of the containers that run.
func completeContainers(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	all, _ := containers.New(containers.Options{Places: containers.Host()}).Running(cmd.Context())
	names := make([]string, len(all))
	for i := range all {
		names[i] = upToLast(toComplete) + all[i].Name + "\t" + all[i].Image
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
				return bashCompletion(cmd.Root(), w)
			case "zsh":
				return cmd.Root().GenZshCompletion(w)
			case "fish":
				return cmd.Root().GenFishCompletion(w, true)
			}
			return usagef("unknown shell %q%s: there are %s", args[0], rules.Suggest(args[0], shells), strings.Join(shells, ", "))
		},
	}
}

// withoutPackage replaces what cobra's script takes from the package bash-completion,
// where that is not installed.
const withoutPackage = `__sockwarden_init_completion()
{
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref "$@" cur prev words cword
        return
    fi
    # Words end at spaces, and not at = and : as bash has them.
    local before=${COMP_LINE:0:COMP_POINT}
    read -ra words <<<"$before"
    if [[ $before == *[[:space:]] ]]; then
        words+=("")
    fi
    cword=$((${#words[@]} - 1))
    cur=${words[cword]}
    prev=${words[cword - 1]}
}

__sockwarden_filedir()
{
    if declare -F _filedir >/dev/null 2>&1; then
        _filedir "$@"
        return
    fi
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    if [[ ${1-} == -d ]]; then
        COMPREPLY+=($(compgen -d -- "$cur"))
    else
        COMPREPLY+=($(compgen -f -- "$cur"))
    fi
}
`

// bashCompletion writes cobra's script, changed to work without the package
// bash-completion.
func bashCompletion(root *cobra.Command, w io.Writer) error {
	var b bytes.Buffer
	if err := root.GenBashCompletionV2(&b, true); err != nil {
		return err //nolint:wrapcheck // a buffer accepts everything
	}
	const own = `__sockwarden_init_completion()
{
    COMPREPLY=()
    _get_comp_words_by_ref "$@" cur prev words cword
}
`
	before, after, found := strings.Cut(b.String(), own)
	if found { // otherwise another version of cobra wrote it, and it needs the package
		after = withoutPackage + strings.ReplaceAll(after, "_filedir", "__sockwarden_filedir")
	}
	_, err := io.WriteString(w, before+after)
	return quietPipe(err)
}
