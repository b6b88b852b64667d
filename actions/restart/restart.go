// Package restart restarts the systemd unit of the process that holds a socket.
//
// Comes in: a process with its unit. Goes out: whether systemctl succeeded. It
// asks systemd and ends no process itself.
package restart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/exec"
	"sockwarden/actions/ownersock"
	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/procfs"
)

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	return actions.Plugin{
		Name:    "restart",
		Summary: "restarts the systemd unit of the process (systemctl restart)",
		Doc: "Once for each unit and cycle, however many sockets and processes it has. A rule that restarts must have a cool-down. Units of " +
			"sessions, users and containers (*.scope, whatever is below user@*.service or a container) and processes outside of a unit are refused.",
		Needs: []actions.Need{
			{Text: "systemd, and the right to restart the unit (root)"},
			{Capability: actions.CapSysPtrace, For: "to see what its processes hold"},
			{Capability: actions.CapDACReadSearch, For: "to see what its processes hold"},
		},
		Params: []actions.Param{
			{Name: "timeout", Type: "duration", Doc: "how long systemctl may take (default 90s)"},
			actions.ListenerParam(),
		},
		Scope:         actions.ScopeUnit,
		NeedsCooldown: true,
		Results:       []actions.Result{actions.Done, actions.Failed, actions.Timeout},
		New:           newAction,
	}
}

func newAction(params map[string]any) (actions.Action, error) {
	a := action{timeout: 90 * time.Second, proc: procfs.New("")}
	if d, ok := params["timeout"].(time.Duration); ok {
		if a.timeout = d; d < time.Second || d > time.Hour {
			return nil, fmt.Errorf("timeout is between 1s and 1h, not %s", d)
		}
	}
	return a, nil
}

type action struct {
	timeout time.Duration
	proc    *procfs.FS
}

// Preflight says whether systemd runs here, by sd_booted(3), and whether there is a
// trustworthy systemctl.
func (action) Preflight(context.Context) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return fmt.Errorf("systemd does not run here: %w", err)
	}
	_, err := exec.NewCommand("", 0, "systemctl")
	return err
}

// Prepare checks that the process still holds one of the sockets, and finds its unit and
// systemctl.
func (a action) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	if t.Process == nil {
		return nil, errors.New("restart needs a process that holds the socket")
	}
	unit := t.Process.Unit
	switch {
	case unit == "":
		return nil, fmt.Errorf("process %d belongs to no systemd unit", t.Process.PID)
	case !isService(unit), t.Process.Container != "", !cgroup.Path(t.Process.Cgroup).OfSystem(unit):
		return nil, fmt.Errorf("unit %q of process %d is no service of the system", unit, t.Process.PID)
	}
	proves := func() error { return ownersock.Holds(a.proc, t.Process, t.Sockets) }
	if err := proves(); err != nil {
		return nil, err
	}
	run, err := exec.NewCommand("restart "+unit, a.timeout, "systemctl", "restart", "--", unit)
	if err != nil {
		return nil, err
	}
	return effect{run, proves}, nil
}

// effect is the command, run only if the process still holds one of the sockets.
type effect struct {
	exec.Command
	proves func() error
}

// Apply starts systemctl and does not wait for it.
func (e effect) Apply(ctx context.Context) actions.Outcome {
	if err := e.proves(); err != nil {
		return actions.OutcomeOf(err)
	}
	return e.Command.Apply(ctx)
}

// nameChars are the characters of unit names (systemd.unit(5)). systemctl would take
// others as a pattern, and they come from a control group that anybody may have made.
const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@"

func isService(unit string) bool {
	return strings.HasSuffix(unit, ".service") && strings.Trim(unit, nameChars) == "" &&
		!strings.HasPrefix(unit, "user@") && !strings.HasPrefix(unit, "-")
}
