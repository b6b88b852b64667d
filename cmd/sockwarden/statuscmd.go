package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/control"
	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine/memory"
	"sockwarden/engine/pause"
	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
	"sockwarden/engine/world"
)

// asking is a command that asks the watcher over its control socket.
type asking struct {
	app  *app
	path string // --control, "" for the usual places
}

// register declares --control of a command that asks.
func (q *asking) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&q.path, "control", "", "control socket (`PATH`) of the watcher, or none to ask no watcher (default: where watchers have it)")
}

// named reports whether the user named a watcher.
func (q *asking) named() bool { return q.path != "" && q.path != control.None }

// places are where the watcher may be.
func (q *asking) places() []string {
	switch q.path {
	case "":
		return control.Places()
	case control.None:
		return nil
	}
	return []string{q.path}
}

// askFor bounds the time in which a watcher answers what needs no waiting.
const askFor = 10 * time.Second

// find returns the watcher, or an error with exit code 4 that says why there is none.
func (q *asking) find(ctx context.Context) (*control.Client, error) {
	c, err := control.Find(ctx, q.places())
	if err != nil {
		return nil, notThere(q.quiet(err))
	}
	return c, nil
}

// quiet turns "nobody answers" into what is known of a watcher that runs here all the same.
func (q *asking) quiet(err error) error {
	if !errors.Is(err, control.ErrNobody) || q.path == control.None {
		return err
	}
	if quiet := control.Quiet(q.places(), q.app.flags.state()); quiet != nil {
		return quiet
	}
	return err
}

const (
	// startOne is the hint where no watcher runs, as far as we can see.
	startOne = "sudo sockwarden watch --live starts one; if one runs with other paths, name its --control PATH or --state-file here, too"
	// tryAgain is the hint where one is just starting, or ending.
	tryAgain = "try again in a moment"
)

// notThere is the error of a watcher that does not answer, or does not let us.
func notThere(err error) error {
	hint := startOne
	quiet, runs := errors.AsType[*control.QuietError](err)
	switch {
	case errors.Is(err, control.ErrNotAllowed):
		hint = "run as root, or as the user of the watcher"
	case runs && quiet.At == "", control.Starting(err):
		hint = tryAgain
	case runs && quiet.At == control.None:
		hint = "start it without --control none, or with --control PATH"
	case runs:
		hint = "name it here, too: --control " + quiet.At
	}
	return &exitError{code: exitForbidden, err: err, hint: hint}
}

// refused turns the answer of a watcher into an error of this program.
func refused(err error) error {
	no, ok := errors.AsType[*control.Refused](err)
	switch {
	case errors.Is(err, control.ErrNobody), errors.Is(err, control.ErrNotAllowed), control.Starting(err):
		return notThere(err)
	case ok && len(no.Problems) == 0 && no.Code == http.StatusUnprocessableEntity: // what was asked for is not there
		return &exitError{code: exitUsage, err: err}
	case !ok || len(no.Problems) == 0:
		return err
	}
	lines := []string{no.Text}
	for _, p := range no.Problems {
		lines = append(lines, view.Printable(p.String()))
	}
	return &exitError{code: exitRules, err: errors.New(strings.Join(lines, "\n  "))}
}

// sameVersion says if the watcher is of another version.
func (a *app) sameVersion(c *control.Client) {
	if c.Version != "" && c.Version != versionText() {
		a.log.Warn("the watcher is of another version: restart it", "watcher", c.Version, "this", versionText())
	}
}

func statusCommand(a *app) *cobra.Command {
	q := &asking{app: a}
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "Say how the watcher that runs here is",
		Long: `Asks the watcher that runs here, over its control socket, how it is: which rules
are in force, when the last cycle was and what it found, what was done lately.

The exit code is 0 if all is well; 1 if not: the last change of the rules was
rejected, the last cycle failed or is late by more than three intervals, or the
breaker has tripped; 4 if no watcher answers, or this user may not ask it. A
pause is well. Without a watcher it says what there is: a pause, and what the
last run from cron found.`,
		Example: `  sudo sockwarden status
  sudo sockwarden status -q || echo "the watcher is not well"
  sudo sockwarden status -o json | jq .rules.last_reload`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return q.status(cmd.Context()) },
	}
	q.register(cmd)
	d := declare{a, cmd}
	d.output()
	d.quiet("print only what is wrong")
	d.state()
	return cmd
}

func (q *asking) status(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	c, err := q.find(ctx)
	if errors.Is(err, control.ErrNobody) {
		return q.without(ctx, err)
	}
	if err != nil {
		return err
	}
	s, err := c.Status(ctx)
	if control.Starting(err) {
		return q.without(ctx, refused(err))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &exitError{code: exitFailed, err: fmt.Errorf("the watcher did not answer within %s", askFor)} //nolint:err113 // for people
	}
	if err != nil {
		return refused(err)
	}
	q.app.sameVersion(c)
	if !q.app.flags.quiet || !s.Well {
		if err := view.Status(q.app.out(), s, time.Now(), q.app.flags.quiet); err != nil {
			return quietPipe(err)
		}
	}
	if !s.Well {
		return &exitError{code: exitFailed}
	}
	return nil
}

// without says what there is without a watcher.
func (q *asking) without(ctx context.Context, missing error) error {
	_, runs := errors.AsType[*control.QuietError](missing)
	s := view.StatusWithout{Runs: runs || control.Starting(missing), Error: missing.Error(), Paused: pause.Read(time.Now(), pause.Files()...)}
	s.Silences = (*watch.Status)(nil).SilencedBy(ctx, silence.NewStore(q.app.silences()...).At(time.Now()))
	if path := q.app.flags.state(); path != "" {
		var err error
		if s.LastRun, err = memory.ReadLastRun(path, world.SystemClock()); err != nil {
			q.app.log.Warn("the last run is not known", "error", err)
		}
	}
	if !q.app.flags.quiet {
		if err := view.NoWatcher(q.app.out(), &s, time.Now()); err != nil {
			return quietPipe(err)
		}
	}
	return missing
}

func reloadCommand(a *app) *cobra.Command {
	q, timeout := &asking{app: a}, 30*time.Second
	cmd := &cobra.Command{
		Use:   "reload [flags]",
		Short: "Have the watcher read its rules, and wait until they are in force",
		Long: `Has the watcher that runs here read its rules again, and waits until they are in
force: like any change, they count after they have stayed the same for 2 seconds.
A watcher reads changed files by itself; this is how to hear whether it took them.

The exit code is 0 when the rules are in force; 3 if they are rejected, also if
they were before: the errors say why, and the last good rules go on; 4 if no
watcher answers, or this user may not tell it anything; 1 if it takes too long.`,
		Example: `  sudo sockwarden reload
  sudo sockwarden reload --timeout 2m
  ExecReload=/usr/local/bin/sockwarden reload      # in a unit of systemd`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usagef("--timeout: %s is too short", timeout)
			}
			return q.reload(cmd.Context(), timeout)
		},
	}
	q.register(cmd)
	declare{a, cmd}.output()
	cmd.Flags().Var(duration{&timeout}, "timeout", "wait at most this `TIME`")
	return cmd
}

func (q *asking) reload(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := q.find(ctx)
	if err != nil {
		return err
	}
	why := "the watcher is busy"
	stands, err := c.Reload(ctx, func(waiting string) {
		why = waiting
		q.app.log.Info("waiting", "for", waiting)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return &exitError{
			code: exitFailed, err: fmt.Errorf("not in force after %s: %s", timeout, why), //nolint:err113 // for people
			hint: "sockwarden status says how they stand; --timeout waits longer",
		}
	}
	if err != nil {
		return refused(err)
	}
	q.app.sameVersion(c)
	return quietPipe(view.Reloaded(q.app.out(), stands))
}

// serving holds the flags of the control socket of a watcher.
type serving struct{ path, group string }

func (s *serving) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.path, "control", "", "answer on a control socket at this `PATH`, or none (default: "+
		"in $RUNTIME_DIRECTORY, /run/sockwarden for root, else $XDG_RUNTIME_DIR/sockwarden)")
	cmd.Flags().StringVar(&s.group, "control-group", "", "members of this `GROUP` may read the status, too")
}

// serve begins to answer for a watcher. It returns what ends that. Only a place that the
// user named has to work.
func (s *serving) serve(a *app, o control.Options) (end func(), err error) {
	o.Path, o.Group, o.Log, o.Version = s.path, s.group, a.log, versionText()
	named := s.path != "" || s.group != ""
	if s.path == "" {
		o.Path = control.Default()
	}
	switch {
	case s.path == control.None && s.group != "":
		return nil, usagef("--control none and --control-group exclude each other")
	case s.path == control.None:
		return func() {}, nil
	case o.Path == "" && !named:
		a.log.Debug("no control socket: there is no directory for it")
		return func() {}, nil
	case o.Path == "":
		return nil, usagef("--control-group: there is no directory for the socket: name it by --control")
	}
	server, err := control.Serve(o)
	if err != nil && named {
		hint := ""
		if errors.Is(err, control.ErrHeld) {
			hint = "stop the other watcher, or name another place: --control PATH|none"
		}
		return nil, &exitError{code: exitFailed, err: fmt.Errorf("control socket: %w", err), hint: hint}
	}
	if err != nil {
		a.log.Warn("no control socket: status and reload do not reach this watcher", "error", err)
		return func() {}, nil
	}
	return server.Close, nil
}
