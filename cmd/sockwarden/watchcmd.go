package main

import (
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/engine"
	"sockwarden/rules"
)

// watchGC is how much garbage, in percent of what is in use, a watcher lets pile
// up: it stays small, at the price of some CPU time in each cycle.
const watchGC = 50

// loader returns what a watcher reads its rules by: first those that it was started
// with, and never the built-in ones once there was a directory.
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

func (a *app) watchCommand() *cobra.Command {
	var live, dry, allowUnknown bool
	interval := 10 * time.Second
	cmd := &cobra.Command{
		Use:   "watch [flags]",
		Short: "Run a cycle every interval, with hot reload of the rules; dry unless --live",
		Long: `Runs a cycle every interval, until SIGTERM. The rules are read again as soon as
their files change, however they change: what they spare is spared at once, what
they take is acted on when they have stayed the same for 2 seconds, or after
SIGHUP. Files with errors are reported once, and the last good generation goes
on. Ages, cool-downs and "for" timers survive a reload for rules that did not
change.

Findings are logged when they appear and when their decision changes; with
-o jsonl they are also printed, one JSON object on a line.`,
		Example: `  sudo sockwarden watch                              # dry: only says what it would do
  sudo sockwarden watch --live --interval 30s --log-file /var/log/sockwarden.log
  sockwarden watch -o jsonl | jq .rule`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if live && dry {
				return usagef("--live and --dry-run exclude each other")
			}
			if interval < 100*time.Millisecond {
				return usagef("--interval: %s is too short, at least 0.1s", interval)
			}
			o, err := a.loadOptions(live)
			if err != nil {
				return err
			}
			o.Again = true
			p, err := a.loadBy(cmd.Context(), o, a.loadWay(cmd.Context(), live))
			if err != nil {
				return err
			}
			if live {
				if err := preflight(cmd.Context(), p); err != nil {
					return err
				}
			}
			if _, set := os.LookupEnv("GOGC"); !set {
				debug.SetGCPercent(watchGC)
			}
			e, err := a.engine(engine.Options{StateFile: a.flags.stateFile, Live: live, AllowUnknownOwner: allowUnknown, PauseFiles: engine.PauseFiles(), Notify: true})
			if err != nil {
				return err
			}
			defer e.Close()
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			w := engine.WatchOptions{Interval: interval, Reload: reload, Load: loader(cmd.Context(), o, p)}
			if a.flags.output == "jsonl" || a.flags.output == "json" {
				out := json.NewEncoder(a.stdout)
				w.OnFinding = func(f *engine.Finding) {
					if err := out.Encode(f); err != nil {
						a.log.Debug("finding not printed", "error", err)
					}
				}
			}
			return e.Watch(cmd.Context(), w)
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
	cmd.Flags().BoolVarP(&a.flags.quiet, "quiet", "q", false, "log only warnings and errors")
	cmd.Flags().BoolVar(&live, "live", false, "act")
	cmd.Flags().BoolVarP(&dry, "dry-run", "n", false, "do not act (the default)")
	cmd.Flags().Var(duration{&interval}, "interval", "`TIME` between two cycles")
	allowUnknownFlag(cmd, &allowUnknown)
	return cmd
}
