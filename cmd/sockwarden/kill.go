package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
)

type killFlags struct {
	sel                              selectors
	yes, dry                         bool
	max                              int
	allowListen, allowUDP, allowUnkn bool
	allowProtected, despitePause     bool
}

// switches are those that stop a kill.
func (k *killFlags) switches() []string {
	if k.despitePause {
		return nil
	}
	return engine.PauseFiles()
}

// allowed is what kill may do beyond what a rule may do by itself.
func (k *killFlags) allowed() (all actions.Permissions) {
	for what, allowed := range map[actions.Permissions]bool{
		actions.AllowListen: k.allowListen, actions.AllowUDP: k.allowUDP, actions.AllowProtected: k.allowProtected,
	} {
		if allowed {
			all |= what
		}
	}
	return all
}

func (a *app) killCommand() *cobra.Command {
	var k killFlags
	cmd := &cobra.Command{
		Use:   "kill [EXPR] [flags]",
		Short: "Destroy the sockets that match, after showing them and asking",
		Long: `Destroys the sockets that match EXPR and all selectors, and nothing else: it
shows them, asks, and then destroys exactly those that it showed. Processes keep
running and are never signalled. All guards and the protect entries of the rules
apply. Listeners, UDP sockets and connections of protected processes (sshd,
docker-proxy) are left alone unless they are allowed. Of a socket that several
processes hold, EXPR must be true for each of them, --pid and --process for one:
it is gone for all, and those are named. While sockwarden is paused it refuses to
act, with exit code 4.`,
		Example: `  sudo sockwarden kill -s established -p rustdesk        # shows, then asks
  sudo sockwarden kill -s established -p 21117 -y        # from a script
  sudo sockwarden kill --peer 203.0.113.9 --max 10
  sudo sockwarden kill --process docker-proxy -s close_wait --allow-protected
  sudo sockwarden kill 'state == "CLOSE_WAIT" && idle > "1h"' --dry-run`,
		Args: oneExpr,
		RunE: func(cmd *cobra.Command, args []string) error { return a.kill(cmd, args, &k) },
	}
	k.sel.register(a, cmd)
	f := cmd.Flags()
	f.BoolVarP(&k.yes, "yes", "y", false, "do not ask")
	f.BoolVarP(&k.dry, "dry-run", "n", false, "only show what would be destroyed")
	f.IntVar(&k.max, "max", 0, "refuse if more than `N` sockets would be destroyed")
	f.BoolVar(&k.allowListen, "allow-listen", false, "also destroy listeners: their services are dead afterwards")
	f.BoolVar(&k.allowUDP, "allow-udp", false, "also destroy UDP sockets: a server that bound its port goes on answering, others go deaf")
	f.BoolVar(&k.allowProtected, "allow-protected", false, "also destroy connections of protected processes (sshd, docker-proxy, ...), but never your own session's")
	allowUnknownFlag(cmd, &k.allowUnkn)
	f.BoolVar(&k.despitePause, "despite-pause", false, "also act while sockwarden is paused")
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, "print only if there is something to destroy")
	f.StringArrayVar(&a.flags.rules, "rules", nil, "rules `FILE` whose protect entries and sets apply; repeatable (default as for audit)")
	complete(cmd, "rules", completeRulesFiles)
	a.varFlag(cmd)
	a.netnsFlag(cmd)
	a.outputFlag(cmd)
	a.auditLogFlag(cmd)
	a.tuningFlags(cmd)
	return cmd
}

func (a *app) kill(cmd *cobra.Command, args []string, k *killFlags) error {
	if len(args) == 0 && !k.sel.given() {
		return usagef("what? give an expression or a selector, such as -s established -p 21117; without one it would be every connection")
	}
	if k.max < 0 {
		return usagef("--max: %d is negative", k.max)
	}
	p, err := a.killProgram(cmd.Context(), args, k)
	if err != nil {
		return err
	}
	if !k.dry {
		if !k.yes && !a.isTerminal() {
			return usagef("not a terminal: add -y to act or --dry-run to look")
		}
		if p := engine.ReadPause(time.Now(), k.switches()...); p != nil {
			return killPaused("paused " + p.String() + ": nothing was done")
		}
		if err := preflight(cmd.Context(), p); err != nil {
			return err
		}
	}
	e, err := a.engine(engine.Options{
		Live: !k.dry, NoBreaker: true, QuietEffects: true, AllowUnknownOwner: k.allowUnkn, PauseFiles: k.switches(),
		OptIn: func(p actions.Permissions) string { return "--allow-" + p.String() },
	})
	if err != nil {
		return err
	}
	defer e.Close()
	look := e.Look
	if k.yes && !k.dry {
		look = e.Find // to act on at once
	}
	looked, err := look(cmd.Context(), p)
	if err != nil {
		return err
	}
	a.reportErrors(looked, !k.yes && !k.dry)
	return unopened(looked, a.killLooked(cmd, e, p, looked, k))
}

// killLooked shows what was found and destroys it, if that is wanted.
func (a *app) killLooked(cmd *cobra.Command, e *engine.Engine, p *rules.Program, looked *engine.Report, k *killFlags) error {
	targets := killTargets(looked)
	if a.flags.quiet && len(targets) == 0 && looked.SparedUnseen == 0 {
		return nil
	}
	if cmd.Flags().Changed("max") && len(targets) > k.max {
		showKill(a.stderr, looked, targets, &k.sel)
		return usagef("%d sockets match, more than --max %d: nothing was done", len(targets), k.max)
	}
	// JSON on stdout stays JSON: what is to be confirmed is shown beside it.
	shown := a.stdout
	if a.flags.output != "table" {
		shown = a.stderr
	}
	if a.flags.output == "table" || !k.yes && !k.dry {
		showKill(shown, looked, targets, &k.sel)
	}
	if p := engine.ReadPause(time.Now(), k.switches()...); p != nil && k.dry && len(targets) > 0 {
		fmt.Fprintf(shown, "paused %s: only --despite-pause would act now\n", p)
	}
	if k.dry || len(targets) == 0 {
		return a.killNothing(looked, k.dry)
	}
	if !k.yes && !a.confirm(cmd.Context(), shown, len(targets)) {
		fmt.Fprintln(shown, "nothing was done")
		return a.killNothing(looked, true)
	}
	return a.killShown(cmd.Context(), e, p, looked)
}

// killShown destroys what was shown, and says what became of it.
func (a *app) killShown(ctx context.Context, e *engine.Engine, p *rules.Program, looked *engine.Report) error {
	r := e.Act(ctx, p, looked)
	e.Finish(ctx, r)
	if a.flags.output == "table" {
		a.showKilled(r)
	} else if err := a.killJSON(r); err != nil {
		return err
	}
	if err := outcome(ctx, r); err != nil {
		return err
	}
	// Somebody may have paused while it was shown and asked.
	left := slices.IndexFunc(r.Findings, func(f *engine.Finding) bool { return f.Decision == engine.DecidePaused })
	if left < 0 {
		return nil
	}
	return killPaused(r.Findings[left].Reason + ": what had not begun was left alone")
}

func killPaused(text string) error {
	return &exitError{code: exitForbidden, err: errors.New(text), hint: "resume ends the pause (sudo sockwarden resume, if root has paused); --despite-pause acts all the same"}
}

// killProgram makes a program of the selection. It is about TCP unless UDP is
// allowed or named, and bound by the protect entries of the rules.
func (a *app) killProgram(ctx context.Context, args []string, k *killFlags) (*rules.Program, error) {
	loaded, err := a.loadFor(ctx, !k.dry)
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
	destroy, err := a.actions.Get("destroy")
	if err != nil {
		return nil, err
	}
	rung, err := engine.Rung(&destroy, destroy.Asking(k.allowed()))
	if err != nil {
		return nil, err
	}
	return rules.NewSelection(rules.Selection{
		Name: "kill", Text: text, Owner: owner, Sets: sets, Mode: rules.ModeEnforce, NetNS: a.flags.netns, Protect: loaded.Protect,
		Then:  []rules.Rung{rung},
		Reads: listReads,
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

func (a *app) isTerminal() bool {
	f, ok := a.stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) confirm(ctx context.Context, w io.Writer, n int) bool {
	fmt.Fprintf(w, "Reset %d connection%s? [y/N] ", n, plural(n))
	line := make(chan string, 1)
	go func() {
		text, err := bufio.NewReader(a.stdin).ReadString('\n')
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

// showKill prints what would be destroyed, and what is spared.
func showKill(w io.Writer, r *engine.Report, targets []*engine.Finding, sel *selectors) {
	switch {
	case r.AllUnseen():
		fmt.Fprintf(w, "%d socket%s cannot be destroyed safely, as it is not known who holds them\n", r.SparedUnseen, plural(r.SparedUnseen))
	case len(targets) == 0:
		fmt.Fprintln(w, "no socket matches that may be destroyed")
	default:
		listeners := slices.ContainsFunc(targets, func(f *engine.Finding) bool { return f.Socket.State == collectors.Listen })
		udp := slices.ContainsFunc(targets, func(f *engine.Finding) bool { return f.Socket.Protocol == collectors.UDP })
		if listeners || udp {
			fmt.Fprintf(w, "%d socket%s would be destroyed (the processes keep running):\n", len(targets), plural(len(targets)))
		}
		if listeners {
			fmt.Fprintln(w, "warning: listeners are among them: their services will not answer any more, and may spin, until they are restarted")
		}
		if udp {
			fmt.Fprintln(w, "warning: UDP sockets are among them: servers that bound their port go on answering, others go deaf")
		}
		if !listeners && !udp {
			fmt.Fprintf(w, "%d TCP connection%s would be reset (the processes keep running):\n", len(targets), plural(len(targets)))
		}
		for _, f := range targets {
			sel.namedFirst(f.Candidate)
		}
		t := newTable("COUNT", "STATE", "PORT", "PROCESS", "WHERE", "PEERS", "OLDEST")
		for _, g := range groupFindings(targets, func(*engine.Finding) string { return "" }) {
			t.row(fmt.Sprint(len(g.findings)), g.state(), g.port(), g.process(), g.where(), g.peers(), g.oldest())
		}
		t.write(w)
		for _, note := range []string{alsoHeld(targets, sel), protectedAmong(targets)} {
			if note != "" {
				fmt.Fprintln(w, "warning: "+printable(note))
			}
		}
	}
	if spared := sparedReasons(r); spared != "" {
		fmt.Fprintln(w, spared)
	}
	if r.Unseen > 0 {
		fmt.Fprintln(w, unseenNote(r))
	}
}

func (a *app) showKilled(r *engine.Report) {
	counts := map[actions.Result]int{}
	for _, f := range r.Findings {
		if f.Decision == engine.DecideAct {
			counts[f.Last().Result]++
		}
	}
	parts := []string{fmt.Sprintf("gone %d", counts[actions.Gone]+counts[actions.FDStillHeld])}
	if n := counts[actions.FDStillHeld]; n > 0 {
		parts[0] += fmt.Sprintf(" (%d still held as a descriptor by their process)", n)
	}
	if n := counts[actions.Unchanged]; n > 0 {
		parts = append(parts, fmt.Sprintf("unchanged %d", n))
	}
	if n := counts[actions.Changed]; n > 0 {
		parts = append(parts, fmt.Sprintf("changed %d (%s)", n, changedTexts(r)))
	}
	failed := r.Summary.Failed
	parts = append(parts, fmt.Sprintf("failed %d", failed))
	fmt.Fprintln(a.stdout, strings.Join(parts, ", "))
	for _, text := range slices.Sorted(maps.Keys(errorTexts(r))) {
		fmt.Fprintln(a.stdout, "  "+text)
	}
}

// killNothing ends a kill that only looked.
func (a *app) killNothing(looked *engine.Report, dry bool) error {
	err := a.killJSON(looked)
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

func (a *app) killJSON(r *engine.Report) error {
	if a.flags.output == "table" {
		return nil
	}
	return a.reportJSON(r)
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
