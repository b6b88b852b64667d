package restart

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/containers"
)

// stopGrace is how long a stop waits for an engine that restarts a container: an engine can
// give up once its client has gone, and leave the container stopped. Containers have 10 s
// from SIGTERM to SIGKILL by default.
const stopGrace = 15 * time.Second

// inContainer prepares the restart of the container of a process. Names can be a minute
// old; Apply asks again about the container that it acts on.
func (a action) inContainer(ctx context.Context, t *actions.Target, proves func() error) (actions.Effect, error) {
	if err := proves(); err != nil {
		return nil, err
	}
	group := cgroup.Path(t.Process.Cgroup)
	ref := containers.RefOf(group)
	if ref.ID != t.Process.Container {
		return nil, fmt.Errorf("process %d: its control group %q is not that of the container %.12s", t.Process.PID, group, t.Process.Container)
	}
	answer := a.names.Lookup(ctx, ref)[ref.ID]
	if answer.Err != nil {
		return nil, ofTarget(fmt.Errorf("restart of the container %.12s: %w", ref.ID, answer.Err))
	}
	c := &answer.Container
	if c.Pod != "" || ref.PodUID != "" || c.Engine != containers.Docker && c.Engine != containers.Podman {
		return nil, &actions.TargetError{Err: fmt.Errorf(
			"container %.12s belongs to a Kubernetes pod, and only the kubelet restarts it: %w", ref.ID, collectors.ErrNotSupported)}
	}
	e := &containerEffect{names: a.names, ref: ref, group: group.UpContainer(), timeout: a.timeout, proves: proves, groupOf: a.proc.Cgroup}
	e.what = fmt.Sprintf("restart container %s (%s)", nameOf(c), c.Engine)
	if e.isIn(c) != nil { // it may have been restarted within that minute
		fresh, err := a.names.Inspect(ctx, ref.ID)
		if err != nil {
			return nil, ofTarget(fmt.Errorf("restart of the container %.12s: %w", ref.ID, err))
		}
		if err := e.isIn(&fresh); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func nameOf(c *containers.Container) string {
	if c.Name == "" {
		return c.ID[:12]
	}
	return c.Name
}

// ofTarget says what an engine's reason means: it concerns only the engine's containers.
func ofTarget(err error) error {
	switch {
	case errors.Is(err, containers.ErrNotSupported), errors.Is(err, containers.ErrNoEngine), errors.Is(err, containers.ErrNoSuch):
		return &actions.TargetError{Err: fmt.Errorf("%w (%w)", err, collectors.ErrNotSupported)}
	case errors.Is(err, containers.ErrNotPermitted):
		return &actions.TargetError{Err: fmt.Errorf("%w (%w)", err, collectors.ErrNotPermitted)}
	}
	return err
}

// containerEffect is the restart of a container by its engine.
type containerEffect struct {
	what    string
	names   *containers.Names
	ref     containers.Ref
	group   cgroup.Path // of the container
	timeout time.Duration
	// proves says whether the process still holds one of the sockets, and groupOf returns
	// the control group of a process.
	proves  func() error
	groupOf func(pid int) (cgroup.Path, error)

	restart *containers.Restart // nil before it is asked for
	began   time.Time
	outcome *actions.Outcome // once it is known
}

func (e *containerEffect) String() string { return e.what }

// isIn reports whether the process is in the container that the engine means: anybody can
// name a control group like a container, but the container's first process is in the real
// one.
func (e *containerEffect) isIn(c *containers.Container) error {
	if c.InitPID == 0 {
		return actions.Changedf("the container no longer runs")
	}
	group, err := e.groupOf(c.InitPID)
	switch {
	case err != nil && !errors.Is(err, collectors.ErrGone):
		return err
	case err != nil || group.UpContainer() != e.group:
		return fmt.Errorf("its control group %s is not where %s has the container (process %d)", e.group, c.Engine, c.InitPID)
	}
	return nil
}

// Apply tells the engine and does not wait for the restart. The process, which a restart
// would have ended, proves that nobody else has restarted the container.
func (e *containerEffect) Apply(ctx context.Context) actions.Outcome {
	restart, err := e.names.Restart(ctx, e.ref, func(c *containers.Container) error {
		if err := e.proves(); err != nil {
			return err
		}
		return e.isIn(c)
	})
	if err != nil {
		return e.end(actions.OutcomeOf(ofTarget(err)))
	}
	e.restart, e.began = restart, time.Now()
	return actions.Outcome{Result: actions.Done}
}

// Verify asks the engine whether the container runs and was started since.
func (e *containerEffect) Verify(ctx context.Context) actions.Outcome {
	switch {
	case e.outcome != nil:
		return *e.outcome
	case e.restart == nil:
		return actions.Outcome{Result: actions.Failed, Err: errors.New("not begun")}
	}
	done, err := e.restart.Done(ctx)
	switch {
	case done:
		return e.end(actions.Outcome{Result: actions.Done})
	case err != nil && !errors.Is(err, containers.ErrSilent) && !errors.Is(err, containers.ErrNoEngine):
		return e.end(actions.Outcome{Result: actions.Failed, Err: err})
	case time.Since(e.began) > e.timeout:
		return e.end(actions.Outcome{Result: actions.Timeout, Err: fmt.Errorf("it is not running again after %s; its engine may go on", e.timeout)})
	}
	return actions.Outcome{Result: actions.StillRunning, Pending: true}
}

// Stop waits for the engine, as nobody else would.
func (e *containerEffect) Stop(ctx context.Context) actions.Outcome {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out := e.Verify(ctx)
		if !out.Pending {
			return out
		}
		if time.Since(e.began) > stopGrace {
			return e.end(actions.Outcome{Result: actions.Failed, Err: errors.New("sockwarden was told to stop before the container ran again; its engine may go on")})
		}
		<-tick.C
	}
}

func (e *containerEffect) end(out actions.Outcome) actions.Outcome {
	e.outcome = &out
	return out
}
