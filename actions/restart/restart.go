// Package restart restarts the systemd unit of the process that holds a socket.
//
// Comes in: a process with its unit. Goes out: whether systemctl succeeded. It
// asks systemd and ends no process itself.
package restart

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/exec"
	"sockwarden/actions/ownersock"
	"sockwarden/collectors/procfs"
)

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	return actions.Plugin{
		Name:    "restart",
		Summary: "restarts the systemd unit of the process (systemctl restart)",
		Doc: "Once for each unit and cycle, however many sockets and processes it has. A rule that restarts must have a cool-down. Units of " +
			"sessions and users (*.scope, user@*.service) and processes outside of a unit are refused.",
		Needs: "systemd, and the right to restart the unit (root)",
		Params: []actions.Param{
			{Name: "timeout", Type: "duration", Doc: "how long systemctl may take (default 90s)"},
		},
		OnProcess:     true,
		OnUnit:        true,
		NeedsCooldown: true,
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

// Prepare checks that the process still holds one of the sockets, and finds its
// unit and systemctl.
func (a action) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	if t.Process == nil {
		return nil, errors.New("restart needs a process that holds the socket")
	}
	unit := t.Process.Unit
	switch {
	case unit == "":
		return nil, fmt.Errorf("process %d belongs to no systemd unit", t.Process.PID)
	case !strings.HasSuffix(unit, ".service"), strings.HasPrefix(unit, "user@"), strings.HasPrefix(unit, "-"):
		return nil, fmt.Errorf("unit %s is no service of the system", unit)
	}
	if err := ownersock.Holds(a.proc, t.Process, t.Sockets); err != nil {
		return nil, err //nolint:wrapcheck // ours
	}
	return exec.NewCommand("restart "+unit, a.timeout, "systemctl", "restart", "--", unit) //nolint:wrapcheck // ours
}
