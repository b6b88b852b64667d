package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/control"
	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/pause"
	"sockwarden/rules"
)

// explaining holds the flags of the command.
type explaining struct {
	app          *app
	cmd          *cobra.Command
	ask          asking
	sel          selectors
	only         []string // rules
	observe      time.Duration
	allowUnknown bool
}

func rulesExplain(app *app) *cobra.Command {
	x := &explaining{app: app, ask: asking{app: app}}
	cmd := &cobra.Command{
		Use:   "explain [RULE|EXPR] [flags]",
		Short: "Say why rules take sockets or not; never acts",
		Long: `Says why each rule takes, or does not take, the sockets that match EXPR and all
selectors: the part of its condition that is not true, with what it read and what
would make it true or known; or what spares them, and what else would. Without a
selection it is about every socket in a state that the rules are about.

If a watcher runs here, it answers, by its rules and by all that it has seen: ages,
"for", cool-downs, limits, breaker, pause. Otherwise this command judges as audit
does, and so it does with --rules and --var, unless the watcher has the same rules,
and with flags that say how to look. The first line says who judged.

The whole host is judged by all rules: EXPR, selectors, RULE and --rule only choose
what it shows. It sums up the sockets by what decides, and then shows the oldest of
each sum. It never acts, and changes nothing.`,
		Example: `  sudo sockwarden rules explain 'port == 21118 and state == "CLOSE_WAIT"'
  sudo sockwarden rules explain close-wait
  sudo sockwarden rules explain -s close_wait --process hbbs --rule close-wait
  sudo sockwarden rules explain -p 8080 --observe 61s      # proves more ages
  sudo sockwarden rules explain --peer 203.0.113.7 -o json`,
		Args:              oneExpr,
		RunE:              func(cmd *cobra.Command, args []string) error { return x.run(cmd.Context(), args) },
		ValidArgsFunction: firstArg(completion{app}.rules),
	}
	d := declare{app, cmd}
	x.cmd = cmd
	x.sel.register(d)
	x.ask.register(cmd)
	d.ruleFiles("rules `FILE`, directory, or builtin; repeatable (default: " + rules.DefaultDir + ", or builtin if that does not exist)")
	cmd.Flags().Var(commaList{&x.only}, "rule", "show only the rule of this `NAME`, or several with commas; repeatable")
	d.complete("rule", completion{app}.rules)
	d.vars()
	d.netns()
	d.output()
	d.state()
	d.collect()
	d.tuning()
	d.events()
	d.from()
	d.breaker()
	d.allowUnknown(&x.allowUnknown, "explain what run --live --allow-unknown-owner would do")
	cmd.Flags().Var(duration{&x.observe}, "observe", "look twice, this `TIME` apart, which proves more ages")
	return cmd
}

// firstArg completes only the first argument.
func firstArg(f completer) completer {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, toComplete)
	}
}

func (x *explaining) run(ctx context.Context, args []string) error {
	asks, err := x.asks()
	if err != nil {
		return err
	}
	if asks && !x.ownRules() {
		if answered, err := x.byWatcher(ctx, args, nil); answered || err != nil {
			return err
		}
	}
	p, err := x.app.load(ctx, false)
	if err != nil {
		return err
	}
	if asks && x.ownRules() {
		if answered, err := x.byWatcher(ctx, args, p); answered || err != nil {
			return err
		}
	}
	return x.here(ctx, args, p)
}

// asks reports whether to ask a watcher.
func (x *explaining) asks() (bool, error) {
	for _, name := range judgesHere {
		f := x.cmd.Flags().Lookup(name)
		if f.Changed && x.ask.named() {
			return false, usagef("--%s says how to judge here, and --control which watcher judges: leave one out", name)
		}
		if f.Changed {
			return false, nil
		}
	}
	return x.ask.path != control.None, nil
}

// ownRules reports whether the user says which rules count.
func (x *explaining) ownRules() bool {
	return len(x.app.flags.rules.files)+len(x.app.flags.rules.vars) > 0
}

// question is what the user asks about the sockets by some rules.
func (x *explaining) question(p *rules.Program, args []string) (q engine.Question, err error) {
	names := x.only
	if len(args) > 0 && p.Rule(args[0]) != nil {
		names, args = append(slices.Clone(names), args[0]), nil
	}
	if q.Rules, err = shownRules(p, names); err != nil {
		return q, err
	}
	q.Selection, err = x.selection(p, q.Rules, args)
	q.Nobody = len(args) == 0 && !x.sel.given()
	return q, err
}

// here judges in this program.
func (x *explaining) here(ctx context.Context, args []string, p *rules.Program) error {
	q, err := x.question(p, args)
	if err != nil {
		return err
	}
	e, err := x.app.engine(engine.Options{StateFile: x.app.flags.state(), ReadOnly: true, Silences: x.app.silences(), AllowUnknownOwner: x.allowUnknown})
	if err != nil {
		return err
	}
	defer e.Close()
	found, err := e.Explain(ctx, p, q, x.observe)
	if err != nil {
		return err
	}
	if x.app.out().Format != view.Text {
		x.app.logErrors(found.Report)
	}
	for _, s := range found.Sockets {
		x.sel.namedFirst(s.Candidate)
	}
	setting := view.Setting{Program: p}
	if x.app.replay == nil {
		setting.Pause = pause.Read(time.Now(), pause.Files()...)
	}
	return unopened(found.Report, quietPipe(view.Explain(x.app.out(), found, &setting)))
}

// shownRules returns the rules with those names, all if there are no names.
func shownRules(p *rules.Program, names []string) ([]*rules.Rule, error) {
	if len(names) == 0 {
		return p.Rules, nil
	}
	var known []string
	for _, r := range p.Rules {
		known = append(known, r.Name)
	}
	for _, name := range names {
		if p.Rule(name) == nil {
			return nil, usagef("--rule: no rule %q%s; there are %s", name, rules.Suggest(name, known), strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(p.Rules), func(r *rules.Rule) bool { return !slices.Contains(names, r.Name) }), nil
}

// selection is a program of one rule that selects the sockets in question.
func (x *explaining) selection(p *rules.Program, shown []*rules.Rule, args []string) (*rules.Program, error) {
	parts, err := x.sel.condition(p.Sets)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 && !x.sel.given() {
		parts = append(parts, aboutSame(shown))
	}
	text, err := join(args, parts, p.Sets)
	if err != nil {
		return nil, noRule(args, p, err)
	}
	owner, err := x.sel.owner()
	if err != nil {
		return nil, err
	}
	netns := x.app.flags.rules.where()
	if netns == "" {
		netns = strings.Join(p.NetNS, ",")
	}
	s, err := rules.NewSelection(rules.Selection{
		Name: "explain", Text: text, Owner: owner, Sets: p.Sets, Mode: rules.ModeObserve, NetNS: netns, Reads: view.ListReads,
	})
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return s, nil
}

// noRule says that no rule has a name, for an argument that is not a condition and looks
// like the name of a rule.
func noRule(args []string, p *rules.Program, err error) error {
	if len(args) == 0 || args[0] == "" || strings.ContainsAny(args[0], " =<>()\"'") {
		return err
	}
	var known []string
	for _, r := range p.Rules {
		known = append(known, r.Name)
	}
	if meant := rules.Suggest(args[0], known); meant != "" {
		return usagef("no rule %q%s, and it is not a condition either", args[0], meant)
	}
	return err
}

// aboutSame is a condition for all sockets in the states and protocols that the rules are
// about.
func aboutSame(shown []*rules.Rule) string {
	var states collectors.StateMask
	protocols := map[string]bool{}
	for _, r := range shown {
		may := r.When.MayHold()
		states |= may.States
		if !r.When.Reads.Has(collectors.FieldProtocol) {
			may.Protocols = []collectors.Protocol{collectors.TCP}
		}
		for _, proto := range may.Protocols {
			protocols[strconv.Quote(proto.String())] = true
		}
	}
	var names []string
	for _, n := range collectors.StateNames() {
		if st, _ := collectors.ParseState(n); states.Has(st) {
			names = append(names, strconv.Quote(n))
		}
	}
	if len(names) == 0 || len(protocols) == 0 {
		return "true"
	}
	return anyOf("state", names) + " and " + anyOf("protocol", slices.Sorted(maps.Keys(protocols)))
}
