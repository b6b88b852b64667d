package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/engine"
	"sockwarden/rules"
)

// tableFlags choose how a report is shown.
type tableFlags struct{ each, all bool }

func (t *tableFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&t.each, "each", false, "one line for each socket")
	cmd.Flags().BoolVar(&t.all, "all", false, "all groups, not only the first 20")
}

func (a *app) auditCommand() *cobra.Command {
	var table tableFlags
	var observe time.Duration
	var exitCode, allowUnknown bool
	cmd := &cobra.Command{
		Use:   "audit [flags]",
		Short: "Say what the rules would do here; never acts",
		Long: `Runs one cycle of the rules, dry: it collects, decides and looks every target
up again, and does nothing. Without privileges it says what it could not see.

Ages are proven, not guessed. Where one look cannot prove an age, as for servers
with short keepalives, --observe looks twice; cron jobs and watchers remember
what they saw in the state file.`,
		Example: `  sudo sockwarden audit
  sudo sockwarden audit --rules rules.yaml --var close_wait_timeout=30
  sudo sockwarden audit --observe 60s --each
  sockwarden audit -o json | jq '.findings[].socket.port'
  sockwarden audit --exit-code || echo "something hangs"   # 10: findings`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.load(cmd.Context(), false)
			if err != nil {
				return err
			}
			e, err := a.engine(engine.Options{StateFile: a.flags.stateFile, AllowUnknownOwner: allowUnknown})
			if err != nil {
				return err
			}
			defer e.Close()
			r, err := observeTwice(cmd.Context(), e, p, observe)
			if err != nil {
				return err
			}
			if err := a.printReport(r, p, table, r.Summary.WouldAct+r.Summary.Observed); err != nil {
				return err
			}
			if r.AuditError != nil {
				return unopened(r, &exitError{code: exitFailed, err: r.AuditError})
			}
			if len(r.Unopened()) > 0 {
				return unopened(r, nil)
			}
			if exitCode && hasFindings(r) {
				return &exitError{code: exitFindings}
			}
			return nil
		},
	}
	a.rulesFlags(cmd)
	a.outputFlag(cmd)
	a.stateFlag(cmd)
	a.collectFlag(cmd)
	a.auditLogFlag(cmd)
	a.tuningFlags(cmd)
	a.eventsFlag(cmd)
	a.breakerFlag(cmd)
	table.register(cmd)
	cmd.Flags().BoolVarP(&a.flags.quiet, "quiet", "q", false, "print only if there are findings or errors")
	cmd.Flags().Var(duration{&observe}, "observe", "look twice, this `TIME` apart, and so prove more ages")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 10 if there are findings to act on or to observe, or too many to act on (breaker)")
	cmd.Flags().BoolVar(&allowUnknown, "allow-unknown-owner", false, "say what run --live --allow-unknown-owner would do")
	return cmd
}

// observeTwice looks once, or twice with a pause.
func observeTwice(ctx context.Context, e *engine.Engine, p *rules.Program, pause time.Duration) (*engine.Report, error) {
	r, err := e.Look(ctx, p)
	if err != nil || pause <= 0 {
		return r, err
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return e.Look(ctx, p)
}

func hasFindings(r *engine.Report) bool {
	for _, f := range r.Findings {
		switch f.Decision { //nolint:exhaustive // the others are spared
		case engine.DecideAct, engine.DecideObserve, engine.DecideSoak, engine.DecideCanary, engine.DecideBreaker:
			return true
		}
	}
	return false
}

func (a *app) runCommand() *cobra.Command {
	var table tableFlags
	var live, dry, allowUnknown bool
	cmd := &cobra.Command{
		Use:   "run [flags]",
		Short: "Run one cycle of the rules; dry unless --live",
		Long: `Runs one cycle of the rules. With --live it acts, verifies each outcome by
looking again, and follows ladders to their end. SIGTERM ends it between two
effects. Cool-downs and ages last in the state file, so that it can run from
cron; a second live run at the same time is refused.`,
		Example: `  sudo sockwarden run --rules builtin --var close_wait_timeout=30     # dry
  sudo sockwarden run --live --rules builtin --var exclude_ports+=3306
  */5 * * * * root /usr/local/bin/sockwarden run --live -q            # /etc/cron.d`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if live && dry {
				return usagef("--live and --dry-run exclude each other")
			}
			p, err := a.loadFor(cmd.Context(), live)
			if err != nil {
				return err
			}
			if live {
				if err := preflight(cmd.Context(), p); err != nil {
					return err
				}
			}
			e, err := a.engine(engine.Options{StateFile: a.flags.stateFile, Live: live, AllowUnknownOwner: allowUnknown, PauseFiles: engine.PauseFiles(), Notify: live})
			if err != nil {
				return err
			}
			defer e.Close()
			r, err := e.Cycle(cmd.Context(), p)
			if err != nil {
				return err
			}
			e.Finish(cmd.Context(), r)
			e.Tell(p, r)
			if live {
				a.logErrors(r)
			}
			if err := a.printReport(r, p, table, r.Summary.Acted+r.Summary.Failed); err != nil {
				return err
			}
			return unopened(r, outcome(cmd.Context(), r))
		},
	}
	a.rulesFlags(cmd)
	a.outputFlag(cmd)
	a.stateFlag(cmd)
	a.collectFlag(cmd)
	a.auditLogFlag(cmd)
	a.tuningFlags(cmd)
	a.eventsFlag(cmd)
	a.breakerFlag(cmd)
	table.register(cmd)
	cmd.Flags().BoolVarP(&a.flags.quiet, "quiet", "q", false, "print only if something was done or failed")
	cmd.Flags().BoolVar(&live, "live", false, "act")
	cmd.Flags().BoolVarP(&dry, "dry-run", "n", false, "do not act (the default)")
	allowUnknownFlag(cmd, &allowUnknown)
	return cmd
}

func allowUnknownFlag(cmd *cobra.Command, value *bool) {
	cmd.Flags().BoolVar(value, "allow-unknown-owner", false, "also act on sockets whose owner exists but cannot be read")
}

// logErrors puts what a report warns of into the log, which may be all that is kept.
func (a *app) logErrors(r *engine.Report) {
	for _, err := range r.Errors {
		if _, away := errors.AsType[*engine.NamespaceError](err); away && a.logFile == nil {
			continue // the error at the end says it here, too
		}
		if t, ok := errors.AsType[*engine.TrippedError](err); ok {
			t.Log(a.log, 0)
			continue
		}
		a.log.Warn("run", "error", err)
	}
}

// allUnseen says that nothing was done, as it could not be known whose sockets they are.
func allUnseen(r *engine.Report) error {
	return &exitError{code: exitForbidden, err: fmt.Errorf("nothing was done: others who cannot be seen may hold the %d socket%s", r.SparedUnseen, plural(r.SparedUnseen)), hint: "the reason above says what helps, sockwarden doctor says more"} //nolint:err113 // for people
}

// outcome turns what a live run came to into the exit code.
func outcome(ctx context.Context, r *engine.Report) error {
	switch {
	case r.HostError != nil:
		return &exitError{code: code(r.HostError), err: fmt.Errorf("the host refuses to act: %w", r.HostError)}
	case ctx.Err() != nil:
		return &exitError{code: exitFailed, err: errors.New("interrupted: what had not begun was left alone")}
	case r.Incomplete && r.Mode == "live" && !r.Failed():
		return &exitError{code: exitFailed, err: errors.New("not everything could be looked at")}
	case !r.Failed() && r.AuditError != nil:
		return &exitError{code: exitFailed, err: r.AuditError}
	case r.Mode == "live" && r.AllUnseen():
		return allUnseen(r)
	case r.Failed():
		return &exitError{code: exitFailed, err: fmt.Errorf("%d of %d actions failed", r.Summary.Failed, r.Summary.Failed+r.Summary.Acted)} //nolint:err113 // for people
	}
	return nil
}
