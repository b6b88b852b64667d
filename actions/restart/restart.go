// Package restart restarts the systemd unit of the process that holds a socket, or its
// container.
//
// Comes in: a process with its unit or container. Goes out: whether systemctl succeeded,
// or the container runs again. It asks systemd or the container's engine, and ends no
// process itself.
package restart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/ownersock"
	"sockwarden/collectors/containers"
	"sockwarden/collectors/procfs"
)

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	return actions.Plugin{
		Name:    "restart",
		Summary: "restarts the systemd unit of the process, or its container",
		Doc: "If the process is in a container, tells the container's engine (Docker or Podman) to restart it, otherwise tells systemctl to restart the unit. " +
			"Once per unit or container and cycle, however many sockets and processes it has. A rule that restarts must have a cool-down. It refuses units of " +
			"sessions and users (*.scope, anything below user@*.service) and processes outside of a unit. Nobody can be told to restart " +
			"containers of Kubernetes pods: they are unsupported, and other targets go on.",
		Needs: []actions.Need{
			{Text: "systemd or the container's engine, and the right to ask it (root)"},
			{Capability: actions.CapSysPtrace, For: "to see what its processes hold"},
			{Capability: actions.CapDACReadSearch, For: "to see what its processes hold"},
		},
		Params: []actions.Param{
			{Name: "timeout", Type: "duration", Doc: "how long systemctl, or the restart of the container, may take (default 90s)"},
			actions.ListenerParam(),
		},
		Scope:         actions.ScopeUnit,
		NeedsCooldown: true,
		Results:       []actions.Result{actions.Done, actions.Failed, actions.Timeout},
		New:           newAction,
	}
}

func newAction(params map[string]any) (actions.Action, error) {
	a := action{timeout: 90 * time.Second, proc: procfs.New(""), names: containers.New(containers.Options{Places: containers.Host()})}
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
	names   *containers.Names
}

// Preflight says whether there is a systemd with a systemctl that we can trust, or a
// container engine that we can ask.
func (a action) Preflight(context.Context) error {
	err := systemctl()
	asked := func(s containers.Source) bool { return s.Err == nil }
	if errors.Is(err, errNoSystemd) && slices.ContainsFunc(a.names.Sources(), asked) {
		return nil
	}
	return err
}

// Prepare checks that the process still holds one of the sockets, and finds its unit and
// systemctl, or its container and engine.
func (a action) Prepare(ctx context.Context, t actions.Target) (actions.Effect, error) {
	if t.Process == nil {
		return nil, errors.New("restart needs a process that holds the socket")
	}
	proves := func() error { return ownersock.Holds(a.proc, t.Process, t.Sockets) }
	if t.Process.Container != "" {
		return a.inContainer(ctx, &t, proves)
	}
	return a.unit(&t, proves)
}
