package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine"
	"sockwarden/engine/pause"
)

// oneRun holds the flags of the command run.
type oneRun struct {
	app          *app
	rows         view.Rows
	live, dry    bool
	allowUnknown bool
	repeated     string // see sameCycle
	metrics      metricsFile
}

func runCommand(app *app) *cobra.Command {
	r := &oneRun{app: app}
	cmd := &cobra.Command{
		Use:   "run [flags]",
		Short: "Run one cycle of the rules; dry unless --live",
		Long: `Runs one cycle of the rules. With --live it acts, verifies each outcome by
looking again, and follows ladders to their end. SIGTERM ends it between two
effects. The state file keeps cool-downs and ages, so it can run from cron; a
second live run at the same time is refused.`,
		Example: `  sudo sockwarden run --rules builtin --var close_wait_timeout=30     # dry
  sudo sockwarden run --live --rules builtin --var exclude_ports+=3306
  sudo sockwarden run --live --metrics-file /var/lib/prometheus/node-exporter/sockwarden.prom
  */5 * * * * root /usr/local/bin/sockwarden run --live -q            # /etc/cron.d`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.repeated = sameCycle(cmd)
			return r.run(cmd.Context())
		},
	}
	d := declare{app, cmd}
	d.cycle()
	d.rows(&r.rows)
	d.quiet("print only if something was done or failed")
	d.live(&r.live, &r.dry)
	d.allowUnknown(&r.allowUnknown, alsoUnknown)
	r.metrics.register(app, cmd)
	return cmd
}

func (r *oneRun) run(ctx context.Context) (err error) {
	if r.live && r.dry {
		return usagef("--live and --dry-run exclude each other")
	}
	if err := r.metrics.check(); err != nil {
		return err
	}
	p, err := r.app.loadFor(ctx, r.live)
	if err != nil {
		return err
	}
	if r.live {
		if err := preflight(ctx, p); err != nil {
			return err
		}
	}
	e, err := r.app.engine(engine.Options{
		StateFile: r.app.flags.state(), Live: r.live, AllowUnknownOwner: r.allowUnknown, PauseFiles: pause.Files(), Silences: r.app.silences(), Notify: r.live,
		Shows: view.PlaceReads, QuietEffects: r.app.together(), // the table says it, and -v logs each
		Observers: r.metrics.begin(p),
	})
	if err != nil {
		return err
	}
	defer func() { err = r.metrics.write(ctx, r.live, err) }() // when the messages are on their way
	defer e.Close()
	began := time.Now()
	report, err := e.Cycle(ctx, p)
	if err != nil {
		r.metrics.failed(ctx, began, err)
		return err
	}
	e.Finish(ctx, report)
	e.Tell(ctx, p, report)
	if r.live && !r.app.together() {
		r.app.logErrors(report)
	}
	if err := r.app.printReport(report, p, r.repeated, r.rows, report.Summary.Acted+report.Summary.Failed); err != nil {
		return err
	}
	return unopened(report, outcome(ctx, report))
}
