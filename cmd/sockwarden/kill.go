package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/actions"
	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/catalog"
	"sockwarden/engine/pause"
	"sockwarden/rules"
)

// kill holds the flags of the command.
type kill struct {
	app                          *app
	sel                          selectors
	yes, dry                     bool
	max                          int
	limited                      bool // by --max
	allowListen, allowUDP        bool
	allowUnknown                 bool
	allowProtected, despitePause bool
}

// switches are the pause files that stop a kill.
func (k *kill) switches() []string {
	if k.despitePause {
		return nil
	}
	return pause.Files()
}

// silences are the files of silences that a kill obeys.
func (k *kill) silences() []string {
	if k.despitePause {
		return nil
	}
	return k.app.silences()
}

// allowed is what kill may do beyond what a rule may do by default.
func (k *kill) allowed() (all actions.Permissions) {
	for what, allowed := range map[actions.Permissions]bool{
		actions.AllowListen: k.allowListen, actions.AllowUDP: k.allowUDP, actions.AllowProtected: k.allowProtected,
	} {
		if allowed {
			all |= what
		}
	}
	return all
}

func killCommand(app *app) *cobra.Command {
	k := &kill{app: app}
	cmd := &cobra.Command{
		Use:   "kill [EXPR] [flags]",
		Short: "Destroy the sockets that match, after showing them and asking",
		Long: `Destroys the sockets that match EXPR and all selectors, and nothing else: it
shows them, asks, and then destroys exactly those that it showed. Processes keep
running and are never signalled. All guards and the protect entries of the rules
apply. Listeners, UDP sockets and connections of protected processes (sshd,
docker-proxy) are left alone unless they are allowed. With --proto mptcp alone it
ends whole MPTCP connections through their process, as the action abort does. If
several processes hold a socket, EXPR must be true for each of them, and --pid,
--process, --container and --unit for one; it is gone for all of them, and kill
names them. While sockwarden is paused it refuses to act, with exit code 4.

It looks at the host's network namespace. With --container, or where -p names only
rustdesk, it looks in all namespaces, those of containers included; --netns
overrides this. Each row says in which container its sockets are.`,
		Example: `  sudo sockwarden kill -s established -p rustdesk        # also in containers; shows, then asks
  sudo sockwarden kill -s established -p 21117 -y        # from a script
  sudo sockwarden kill --peer 203.0.113.9 --max 10
  sudo sockwarden kill --process docker-proxy -s close_wait --allow-protected
  sudo sockwarden kill 'state == "CLOSE_WAIT" && idle > "1h"' --dry-run`,
		Args: oneExpr,
		RunE: func(cmd *cobra.Command, args []string) error {
			k.limited = cmd.Flags().Changed("max")
			return k.run(cmd.Context(), args)
		},
	}
	d := declare{app, cmd}
	k.sel.register(d)
	f := cmd.Flags()
	f.BoolVarP(&k.yes, "yes", "y", false, "do not ask")
	f.BoolVarP(&k.dry, "dry-run", "n", false, "only show what would be destroyed")
	f.IntVar(&k.max, "max", 0, "refuse if more than `N` sockets would be destroyed")
	f.BoolVar(&k.allowListen, "allow-listen", false, "also destroy listeners: their services are dead afterwards")
	f.BoolVar(&k.allowUDP, "allow-udp", false, "also destroy UDP sockets: a server that bound its port goes on answering, others go deaf")
	f.BoolVar(&k.allowProtected, "allow-protected", false,
		"also destroy connections of protected processes (sshd, docker-proxy, ...), but never your own session's")
	f.BoolVar(&k.despitePause, "despite-pause", false, "also act while sockwarden is paused, or what a silence spares")
	d.allowUnknown(&k.allowUnknown, alsoUnknown)
	d.quiet("print only if there is something to destroy")
	d.ruleFiles("rules `FILE` whose protect entries and sets apply; repeatable (default as for audit)")
	d.vars()
	d.netns()
	d.output()
	d.auditLog()
	d.tuning()
	return cmd
}

func (k *kill) run(ctx context.Context, args []string) error {
	if len(args) == 0 && !k.sel.given() {
		return usagef("what? give an expression or a selector, such as -s established -p 21117; without one it would be every connection")
	}
	if k.max < 0 {
		return usagef("--max: %d is negative", k.max)
	}
	p, err := k.program(ctx, args)
	if err != nil {
		return err
	}
	if err := k.may(ctx, p); err != nil {
		return err
	}
	e, err := k.app.engine(engine.Options{
		Live: !k.dry, NoBreaker: true, QuietEffects: true, AllowUnknownOwner: k.allowUnknown, PauseFiles: k.switches(), Silences: k.silences(),
		Shows: view.PlaceReads,
		OptIn: func(p actions.Permissions) string { return "--allow-" + p.String() },
	})
	if err != nil {
		return err
	}
	defer e.Close()
	look := e.Look
	if k.yes && !k.dry {
		look = e.Find // it acts at once
	}
	looked, err := look(ctx, p)
	if err != nil {
		return err
	}
	k.app.reportErrors(looked, !k.yes && !k.dry)
	return unopened(looked, k.looked(ctx, e, p, looked))
}

// may says why nothing could be destroyed, whatever is found.
func (k *kill) may(ctx context.Context, p *rules.Program) error {
	if k.dry {
		return nil
	}
	if !k.yes && !isTerminal(k.app.stdin) {
		return usagef("not a terminal: add -y to act or --dry-run to look")
	}
	if p := pause.Read(time.Now(), k.switches()...); p != nil {
		return killPaused("paused " + p.String() + ": nothing was done")
	}
	return preflight(ctx, p)
}

// looked shows what was found and destroys it, if the user wants that.
func (k *kill) looked(ctx context.Context, e *engine.Engine, p *rules.Program, looked *engine.Report) error {
	targets := killTargets(looked)
	if k.app.flags.quiet && len(targets) == 0 && looked.SparedUnseen == 0 {
		return nil
	}
	if k.tooMany(targets) {
		k.show(k.app.stderr, looked, targets)
		match := "match"
		if len(targets) == 1 {
			match = "matches"
		}
		text := fmt.Sprintf("%s %s, more than --max %d: nothing was done", view.Count(len(targets), "socket"), match, k.max)
		return &exitError{code: exitFailed, err: errors.New(text)}
	}
	// JSON on stdout stays JSON: what to confirm goes to stderr.
	table := k.app.out().Format == view.Text
	shown := k.app.stdout
	if !table {
		shown = k.app.stderr
	}
	if table || !k.yes && !k.dry {
		k.show(shown, looked, targets)
	}
	if p := pause.Read(time.Now(), k.switches()...); p != nil && k.dry && len(targets) > 0 {
		fmt.Fprintf(shown, "paused %s: only --despite-pause would act now\n", p)
	}
	if k.dry || len(targets) == 0 {
		return k.nothing(looked, k.dry)
	}
	if !k.yes && !k.confirm(ctx, shown, targets) {
		fmt.Fprintln(shown, "nothing was done")
		return k.nothing(looked, true)
	}
	return k.destroy(ctx, e, p, looked)
}

// tooMany reports whether there are more targets than --max allows.
func (k *kill) tooMany(targets []*engine.Finding) bool { return k.limited && len(targets) > k.max }

// show prints what would be destroyed, with the processes that the user named first.
func (k *kill) show(w io.Writer, looked *engine.Report, targets []*engine.Finding) {
	for _, f := range targets {
		k.sel.namedFirst(f.Candidate)
	}
	view.Targets(k.app.outTo(w), looked, targets, view.Selection{Names: k.sel.namesOwner, Now: k.yes && !k.dry && !k.tooMany(targets)})
}

// destroy destroys what was shown, and prints the results.
func (k *kill) destroy(ctx context.Context, e *engine.Engine, p *rules.Program, looked *engine.Report) error {
	r := e.Act(ctx, p, looked)
	e.Finish(ctx, r)
	if k.app.out().Format == view.Text {
		view.Killed(k.app.out(), r)
	} else if err := k.json(r); err != nil {
		return err
	}
	if err := outcome(ctx, r); err != nil {
		return err
	}
	// Somebody may have paused while we showed it and asked.
	left := slices.IndexFunc(r.Findings, func(f *engine.Finding) bool { return f.Decision == engine.DecidePaused })
	if left < 0 {
		return nil
	}
	return killPaused(r.Findings[left].Reason + ": what had not begun was left alone")
}

func killPaused(text string) error {
	return &exitError{
		code: exitForbidden, err: errors.New(text),
		hint: "resume ends the pause (sudo sockwarden resume, if root has paused); --despite-pause acts all the same",
	}
}

// program turns the selection into a program. It is about TCP unless the user allows or
// names UDP, and it obeys the protect entries of the rules.
func (k *kill) program(ctx context.Context, args []string) (*rules.Program, error) {
	loaded, err := k.app.loadFor(ctx, !k.dry)
	if err != nil {
		return nil, err
	}
	sets := loaded.Sets
	parts, err := k.sel.condition(sets)
	if err != nil {
		return nil, err
	}
	if len(k.sel.protos) == 0 && !k.allowUDP {
		parts = append(parts, `protocol == "tcp"`)
	}
	text, err := join(args, parts, sets)
	if err != nil {
		return nil, err
	}
	owner, err := k.sel.owner()
	if err != nil {
		return nil, err
	}
	name := "destroy"
	if slices.Equal(k.sel.protos, []string{collectors.MPTCP.String()}) {
		name = "abort" // which is for whole connections of MPTCP
	}
	action, err := k.app.actions.Get(name)
	if err != nil {
		return nil, err
	}
	rung, err := catalog.Rung(&action, action.Asking(k.allowed()))
	if err != nil {
		return nil, err
	}
	return rules.NewSelection(rules.Selection{
		Name: "kill", Text: text, Owner: owner, Sets: sets, Mode: rules.ModeEnforce, NetNS: k.sel.netns(k.app.flags.rules.where(), sets), Protect: loaded.Protect,
		Then:  []rules.Rung{rung},
		Reads: view.KillReads,
	})
}

func killTargets(r *engine.Report) []*engine.Finding {
	var targets []*engine.Finding
	for _, f := range r.Findings {
		if last := f.Last().Result; f.Decision == engine.DecideAct && (last == actions.Would || last == "") {
			targets = append(targets, f)
		}
	}
	return targets
}

func (k *kill) confirm(ctx context.Context, w io.Writer, targets []*engine.Finding) bool {
	question := "Reset " + view.Count(len(targets), "connection")
	if view.NotOnlyConnections(targets) {
		question = "Destroy " + view.Count(len(targets), "socket")
	}
	fmt.Fprintf(w, "%s? [y/N] ", question)
	line := make(chan string, 1)
	go func() {
		text, err := bufio.NewReader(k.app.stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			text = ""
		}
		line <- text
	}()
	select {
	case text := <-line:
		return slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(text)))
	case <-ctx.Done():
		return false
	}
}

// nothing ends a kill that only looked: it is dry, or there is nothing to destroy.
func (k *kill) nothing(looked *engine.Report, dry bool) error {
	r := *looked
	if !dry {
		r.Mode = "live" // although nothing is left to do
	}
	err := k.json(&r)
	switch {
	case err != nil:
		return err
	case looked.AuditError != nil:
		return &exitError{code: exitFailed, err: looked.AuditError}
	case !dry && looked.AllUnseen():
		return allUnseen(looked)
	}
	return nil
}

func (k *kill) json(r *engine.Report) error {
	if k.app.out().Format == view.Text {
		return nil
	}
	return quietPipe(view.ReportJSON(k.app.out(), r))
}
