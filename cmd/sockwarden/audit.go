package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine"
	"sockwarden/rules"
)

// audit holds the flags of the command.
type audit struct {
	app          *app
	rows         view.Rows
	observe      time.Duration
	exitCode     bool
	allowUnknown bool
	repeated     string // see sameCycle
}

func auditCommand(app *app) *cobra.Command {
	a := &audit{app: app}
	cmd := &cobra.Command{
		Use:   "audit [flags]",
		Short: "Say what the rules would do here; never acts",
		Long: `Runs one cycle of the rules, dry: it collects, decides and looks up every target
again, and does nothing. Without privileges it says what it could not see.

Ages are proven, not guessed. If one look cannot prove an age, as with servers
that send keepalives often, --observe looks twice; runs from cron and watchers
keep what they saw in the state file.`,
		Example: `  sudo sockwarden audit
  sudo sockwarden audit --rules rules.yaml --var close_wait_timeout=30
  sudo sockwarden audit --observe 60s --each
  sockwarden audit -o json | jq '.findings[].socket.port'
  sockwarden audit --exit-code || echo "something hangs"   # 10: findings`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.repeated = sameCycle(cmd)
			return a.run(cmd.Context())
		},
	}
	d := declare{app, cmd}
	d.cycle()
	d.rows(&a.rows)
	d.quiet("print only if there are findings or errors")
	d.allowUnknown(&a.allowUnknown, "say what run --live --allow-unknown-owner would do")
	d.from()
	cmd.Flags().Var(duration{&a.observe}, "observe", "look twice, this `TIME` apart, which proves more ages")
	cmd.Flags().BoolVar(&a.exitCode, "exit-code", false, "exit with 10 if there are findings to act on or to observe, or too many to act on (breaker)")
	return cmd
}

func (a *audit) run(ctx context.Context) error {
	p, err := a.app.load(ctx, false)
	if err != nil {
		return err
	}
	e, err := a.app.engine(engine.Options{StateFile: a.app.flags.state(), Silences: a.app.silences(), AllowUnknownOwner: a.allowUnknown, Shows: view.PlaceReads})
	if err != nil {
		return err
	}
	defer e.Close()
	r, err := a.look(ctx, e, p)
	if err != nil {
		return err
	}
	if err := a.app.printReport(r, p, a.repeated, a.rows, r.Summary.WouldAct+r.Summary.Observed); err != nil {
		return err
	}
	switch {
	case r.AuditError != nil:
		return unopened(r, &exitError{code: exitFailed, err: r.AuditError})
	case len(r.Unopened()) > 0:
		return unopened(r, nil)
	case a.exitCode && hasFindings(r):
		return &exitError{code: exitFindings}
	}
	return nil
}

// look looks once, or twice with a pause in between.
func (a *audit) look(ctx context.Context, e *engine.Engine, p *rules.Program) (*engine.Report, error) {
	r, err := e.Look(ctx, p)
	if err != nil || a.observe <= 0 {
		return r, err
	}
	select {
	case <-time.After(a.observe):
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
