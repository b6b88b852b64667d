package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine"
	"sockwarden/rules"
)

// exitDiffers says that there are differences.
const exitDiffers = 1

// diffing holds the flags of the command.
type diffing struct {
	app          *app
	observe      time.Duration
	allowUnknown bool
}

func rulesDiff(app *app) *cobra.Command {
	x := &diffing{app: app}
	cmd := &cobra.Command{
		Use:   "diff OLD NEW [flags]",
		Short: "Say for which sockets of this host other rules would do otherwise; never acts",
		Long: `Judges the sockets of this host by two sets of rules, each a file, a directory or
builtin, and says for which of them the fate differs: which ones NEW would newly
act on, which ones no longer, and which ones otherwise (with other actions, or
spared or observed for another reason), with examples. It counts how many of them
live: what is not dead by evidence, and what would end with a process.

Time does not count: for, soak, canary, second looks, cool-downs, the breaker and
limits of how many are taken as over. It never acts, and writes nothing.

Exit code 0 if no fate differs, 1 if some do; 2, 3 or 4 if it could not tell.`,
		Example: `  sudo sockwarden rules diff /etc/sockwarden/rules.yaml rules.yaml
  sudo sockwarden rules diff builtin rules.yaml
  sudo sockwarden rules diff /etc/sockwarden/rules.d rules.d
  sudo sockwarden rules diff old.yaml new.yaml --observe 61s   # proves more ages
  sudo sockwarden rules diff old.yaml new.yaml -o json | jq '.changes[] | select(.living > 0)'`,
		Args:              oldAndNew,
		RunE:              func(cmd *cobra.Command, args []string) error { return x.run(cmd.Context(), args[0], args[1]) },
		ValidArgsFunction: completeRulesFiles,
	}
	d := declare{app, cmd}
	d.vars()
	d.netns()
	d.output()
	d.state()
	d.collect()
	d.tuning()
	d.events()
	d.from()
	d.allowUnknown(&x.allowUnknown, "compare what run --live --allow-unknown-owner would do")
	cmd.Flags().Var(duration{&x.observe}, "observe", "look twice, this `TIME` apart, which proves more ages")
	return cmd
}

func oldAndNew(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usagef("rules diff compares two: write sockwarden rules diff OLD NEW, each a file, a directory, or builtin")
	}
	if args[0] == rules.Stdin && args[1] == rules.Stdin {
		return usagef("only one of them can come from the standard input")
	}
	return nil
}

func (x *diffing) run(ctx context.Context, old, now string) error {
	err := x.compare(ctx, old, now)
	if code(err) != exitFailed {
		return err
	}
	if exit, ok := errors.AsType[*exitError](err); ok && exit.err == nil {
		return err // there are differences
	}
	return &exitError{code: exitForbidden, err: err} // 1 has another meaning here
}

func (x *diffing) compare(ctx context.Context, old, now string) error {
	was, is, err := x.load(ctx, old, now)
	if err != nil {
		return x.app.rejected(err)
	}
	if err := errors.Join(x.app.unrecorded(was), x.app.unrecorded(is)); err != nil {
		return err
	}
	e, err := x.app.engine(engine.Options{StateFile: x.app.flags.state(), ReadOnly: true, AllowUnknownOwner: x.allowUnknown, Shows: view.PlaceReads})
	if err != nil {
		return err
	}
	defer e.Close()
	d, err := e.Diff(ctx, was, is, x.observe)
	if err != nil {
		return err
	}
	if x.app.out().Format != view.Text {
		x.app.logErrors(d.Report)
	}
	if err := quietPipe(view.Diff(x.app.out(), d, [2]string{old, now})); err != nil {
		return err
	}
	switch {
	case len(d.Changes) > 0:
		return &exitError{code: exitDiffers}
	case len(d.Report.Unopened()) > 0:
		return unopened(d.Report, nil)
	case d.Report.Incomplete:
		return &exitError{code: exitForbidden, err: errors.New("not everything could be looked at")}
	}
	return nil
}

// load reads both programs. Each gets those of the variables that it has.
func (x *diffing) load(ctx context.Context, old, now string) (was, is *rules.Program, err error) {
	o, err := x.app.loadOptions(false)
	if err != nil {
		return nil, nil, err
	}
	set := o.Vars
	known := map[string]bool{}
	both := [2]*rules.Program{}
	for i, path := range []string{old, now} {
		if path == "" {
			return nil, nil, usagef("an argument is empty: name a file, a directory, or builtin")
		}
		o := o
		o.Paths, o.Vars, o.Lists = []string{path}, nil, &rules.Lists{}
		files := newRuleLoader(o)
		if both[i], _, err = files.next(ctx); err != nil {
			return nil, nil, err
		}
		o.Vars = slices.DeleteFunc(slices.Clone(set), func(v rules.Override) bool { _, has := both[i].Vars[v.Name]; return !has })
		for _, v := range o.Vars {
			known[v.Name] = true
		}
		if len(o.Vars) > 0 {
			if both[i], _, err = newRuleLoader(o).next(ctx); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, v := range set {
		if !known[v.Name] {
			return nil, nil, usagef("--var: neither has a variable %q", v.Name)
		}
	}
	for _, w := range both[1].Warnings.First(5) { // rules check shows more
		x.app.log.Warn("rules", "warning", w.String())
	}
	return both[0], both[1], nil
}
