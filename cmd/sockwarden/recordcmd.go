package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine"
	"sockwarden/engine/recording"
	"sockwarden/rules"
)

// record holds the flags of the command.
type record struct {
	app     *app
	sel     selectors
	cmdline bool
	force   bool
	// anonymise replaces names and addresses.
	anonymise bool
	where     string // the namespaces to look in
}

func recordCommand(app *app) *cobra.Command {
	r := &record{app: app}
	cmd := &cobra.Command{
		Use:   "record FILE [EXPR] [flags]",
		Short: "Record the sockets of this host, for audit --from and list --from",
		Long: `Writes the sockets of this host into FILE, with all that rules read of them: ages,
processes, containers, listeners, addresses, and what earlier runs remembered.
audit --from FILE then decides as it would have here and now: on any machine,
without root. Nothing can be done to a recording.

A name that ends with .zst is compressed; - is stdout. The file can be read by
nobody else, follows no link, and replaces no file (--force does). It has
names, addresses and paths of programs; the arguments of processes, which can be
secrets, only with --cmdline. --anonymise replaces addresses and names by random
ones: equal ones stay equal, ports, numbers and comm stay.

EXPR and selectors choose sockets, as for list. What explains them comes along:
listeners and other ends. Groups and the breaker then count only what was chosen.`,
		Example: `  sudo sockwarden record leak.jsonl.zst
  sudo sockwarden record leak.jsonl 'state == "CLOSE_WAIT"' --netns all
  sockwarden audit --from leak.jsonl.zst --rules rules.yaml
  sudo sockwarden record - | ssh admin@desk sockwarden audit --from -`,
		Args: recordArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args[0], args[1:]) },
	}
	d := declare{app, cmd}
	r.sel.register(d)
	f := cmd.Flags()
	f.BoolVar(&r.cmdline, "cmdline", false, "record the arguments of processes, too")
	f.BoolVar(&r.anonymise, "anonymise", false, "replace addresses and names by random ones; equal ones stay equal")
	f.BoolVarP(&r.force, "force", "f", false, "replace FILE if it exists")
	d.ruleFiles("rules `FILE` whose sets can be named; repeatable (default as for audit)")
	d.netns()
	d.state()
	d.tuning()
	return cmd
}

// recordArgs wants a file and at most one expression.
func recordArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("record needs the FILE to write, or - for stdout: sockwarden record leak.jsonl.zst")
	}
	if strings.TrimSpace(args[0]) == "" {
		return usagef("record: the name of the file is empty")
	}
	return oneExpr(cmd, args[1:])
}

func (r *record) run(ctx context.Context, path string, args []string) error {
	o, err := r.options(ctx, args)
	if err != nil {
		return err
	}
	var file *recording.File
	if path != "-" {
		if file, err = recording.Create(path, r.force); err != nil {
			if errors.Is(err, recording.ErrExists) {
				return &exitError{code: exitFailed, err: err, hint: "give another name, or --force to replace it"}
			}
			return err
		}
		defer file.Drop() // what is kept is no longer its
	}
	e, err := r.app.engine(engine.Options{StateFile: r.app.flags.state(), ReadOnly: true})
	if err != nil {
		return err
	}
	defer e.Close()
	made, err := e.Record(ctx, r.where, o)
	if err != nil {
		return err
	}
	for _, text := range append(made.Gaps, made.Notes...) {
		r.app.log.Warn("incomplete", "error", view.Printable(text))
	}
	if r.anonymise {
		made.Anonymise()
	}
	if file == nil {
		return quietPipe(made.Write(r.app.stdout))
	}
	if err := file.Keep(made); err != nil {
		return err
	}
	r.app.log.Info("recorded", "file", path, "sockets", made.Chosen(), "processes", len(made.Processes))
	return nil
}

// options say which sockets to record, as list and its selectors would show them.
func (r *record) options(ctx context.Context, args []string) (o recording.Options, err error) {
	o.Cmdline, r.where = r.cmdline, r.app.flags.rules.where()
	if r.cmdline && r.anonymise {
		return o, usagef("--cmdline and --anonymise exclude each other: arguments name things in too many ways")
	}
	if len(args) == 0 && !r.sel.given() {
		return o, nil
	}
	sets, err := (&list{app: r.app, sel: r.sel}).sets(ctx, args)
	if err != nil {
		return o, err
	}
	parts, err := r.sel.condition(sets)
	if err != nil {
		return o, err
	}
	text, err := join(args, parts, sets)
	if err != nil {
		return o, err
	}
	owner, err := r.sel.owner()
	if err != nil {
		return o, err
	}
	r.where = r.sel.netns(r.where, sets)
	o.Chosen, err = rules.NewSelection(rules.Selection{Name: "record", Text: text, Owner: owner, Sets: sets, Mode: rules.ModeObserve, NetNS: r.where})
	if err != nil {
		return o, &exitError{code: exitUsage, err: err}
	}
	if owner != "" {
		text += " and " + owner
	}
	o.Selection = strings.TrimPrefix(strings.Join(strings.Fields(text), " "), "true and ")
	return o, nil
}
