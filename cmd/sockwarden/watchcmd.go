package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/control"
	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine"
	"sockwarden/engine/pause"
	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

// watchGC is how much garbage a watcher lets pile up, in percent of the live heap: it
// stays small, at the cost of some CPU time in each cycle.
const watchGC = 50

// loader returns the function that gives a watcher its rules: first those that it was
// started with. Once there was a directory of rules, it never falls back to the built-in
// ones.
func loader(ctx context.Context, o rules.Options, first *rules.Program) func() (*rules.Program, []string, error) {
	files := newRuleLoader(o)
	return func() (p *rules.Program, watched []string, err error) {
		if p, first = first, nil; p != nil {
			watched = p.Watched
		} else {
			p, watched, err = files.next(ctx)
		}
		files.options.NeedDir = files.options.NeedDir || err == nil && !p.NoDefaultDir
		return p, watched, err
	}
}

// watching holds the flags of the command watch.
type watching struct {
	app          *app
	live, dry    bool
	allowUnknown bool
	interval     time.Duration
	control      serving
	metrics      scraping
}

// shortest is the minimum time between two cycles.
const shortest = 100 * time.Millisecond

func watchCommand(app *app) *cobra.Command {
	w := &watching{app: app, interval: 10 * time.Second}
	cmd := &cobra.Command{
		Use:   "watch [flags]",
		Short: "Run a cycle every interval, with hot reload of the rules; dry unless --live",
		Long: `Runs a cycle every interval, until SIGTERM. It reads the rules again as soon as
their files change, however they change: what they spare is spared at once; what
they take is acted on after they have stayed the same for 2 seconds, or after
SIGHUP. Files with errors are reported once, and the last good generation stays
in force. For rules that did not change, ages, cool-downs and "for" timers survive
a reload.

Findings are logged when they appear and when their decision changes; with
-o jsonl they are also printed, one JSON object per line.

It answers on a control socket: "sockwarden status" asks how it is, "sockwarden
reload" waits until changed rules are in force, or says why they are rejected, and
"sockwarden rules explain" asks why it takes a socket or not.

With --listen it serves /metrics for Prometheus (docs/metrics.md), /healthz and
/readyz. Only with --web-config does it ask for a password or use TLS.`,
		Example: `  sudo sockwarden watch                              # dry: only says what it would do
  sudo sockwarden watch --live --interval 30s --log-file /var/log/sockwarden.log
  sudo sockwarden watch --live --listen 127.0.0.1:9842
  sockwarden watch -o jsonl | jq .rule`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return w.run(cmd.Context()) },
	}
	d := declare{app, cmd}
	d.cycle()
	d.quiet("log only warnings and errors")
	d.live(&w.live, &w.dry)
	d.allowUnknown(&w.allowUnknown, alsoUnknown)
	w.control.register(cmd)
	w.metrics.register(app, cmd)
	cmd.Flags().Var(duration{&w.interval}, "interval", "`TIME` between two cycles")
	return cmd
}

func (w *watching) run(ctx context.Context) error {
	if w.live && w.dry {
		return usagef("--live and --dry-run exclude each other")
	}
	if w.interval < shortest {
		return usagef("--interval: %s is too short, at least 0.1s", w.interval)
	}
	if err := w.metrics.check(); err != nil {
		return err
	}
	o, err := w.app.loadOptions(w.live)
	if err != nil {
		return err
	}
	o.Again, o.Sends = true, true
	p, err := w.app.loadBy(ctx, o, w.app.loadWay(ctx, w.live))
	if unfinished, ok := errors.AsType[*rules.Unfinished](err); ok {
		return &exitError{code: exitFailed, err: unfinished} // not 3: whoever starts us again cures it
	}
	if err != nil {
		return err
	}
	if w.live {
		if err := preflight(ctx, p); err != nil {
			return err
		}
	}
	if err := w.metrics.open(ctx, p); err != nil {
		return err
	}
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(watchGC)
	}
	board := watch.NewBoard()
	explains := &explainer{app: w.app, board: board}
	// Before the engine, which may take its time, so that whoever asks hears that we start.
	end, err := w.control.serve(w.app, control.Options{
		Board: board, Explain: explains.explain, PauseFiles: pause.Files(), PauseFile: pause.File(),
		Silences: w.app.silences(), SilenceFile: silence.File(w.app.flags.state()),
	})
	if err != nil {
		return err
	}
	e, err := w.engine()
	if err != nil {
		end()
		return err
	}
	defer e.Close()
	asker := engine.NewAsker(e)
	defer asker.Close()
	explains.asker.Store(asker)
	defer end()
	endMetrics, err := w.metrics.serve(ctx, w.live, w.interval, board)
	if err != nil {
		return err
	}
	defer endMetrics()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	by, bye := supervisor(w.app.log)
	defer bye()
	return e.Watch(ctx, watch.Options{Interval: w.interval, Reload: reload, Load: loader(ctx, o, p), Board: board, Supervisor: by, OnFinding: w.printer()})
}

// engine is what looks and acts.
func (w *watching) engine() (*engine.Engine, error) {
	return w.app.engine(engine.Options{
		StateFile: w.app.flags.state(), Live: w.live, AllowUnknownOwner: w.allowUnknown, PauseFiles: pause.Files(), Silences: w.app.silences(), Notify: true,
		Shows: view.PlaceReads, Observers: w.metrics.observers(),
	})
}

// printer prints findings as lines of JSON, if asked to.
func (w *watching) printer() func(*engine.Finding) {
	if w.app.out().Format == view.Text {
		return nil
	}
	out := json.NewEncoder(w.app.stdout)
	return func(f *engine.Finding) {
		if err := out.Encode(f); err != nil {
			w.app.log.Debug("finding not printed", "error", err)
		}
	}
}
