package containers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// stopGrace is the time between SIGTERM and SIGKILL for a container, in seconds: the
	// engines' own default.
	stopGrace = 10
	// restartLimit ends the wait for the engine's answer, which comes only after stop and
	// start.
	restartLimit = 2 * time.Minute
)

// Restart is a restart that an engine was told to perform.
type Restart struct {
	names *Names
	id    string
	// before is the previous start time of the container, and init its first process
	// then.
	before time.Time
	init   int

	mu      sync.Mutex
	refused error
}

// Restart tells the engine of a container to stop it, with 10 seconds between SIGTERM and
// SIGKILL, and to start it again. It returns as soon as the engine has the request. The
// error carries a reason: ErrNotSupported if only files know the container, as with a
// CRI, whose kubelet restarts by itself what ends.
//
// It asks nobody whether that is right: guards are up to the caller.
func (n *Names) Restart(ctx context.Context, ref Ref) (*Restart, error) {
	s, c, err := n.inspect(ctx, ref.ID)
	if errors.Is(err, ErrNoSuch) || errors.Is(err, ErrNoEngine) {
		if a := n.Lookup(ctx, ref)[ref.ID]; a.Err == nil {
			return nil, fmt.Errorf("restart of the container %s: %w: only its files are known (%s)", ref.ID, ErrNotSupported, a.Container.Source)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("restart of the container %s: %w", ref.ID, err)
	}
	r := &Restart{names: n, id: ref.ID, before: c.StartedAt, init: c.InitPID}
	// Some engines abandon a restart when the client goes away: keep the connection until
	// the answer comes, whatever happens to ctx.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartLimit)
	stop := s.until(ctx, restartLimit)
	req, err := s.send(ctx, http.MethodPost, fmt.Sprintf("/containers/%s/restart?t=%d", ref.ID, stopGrace))
	if err != nil {
		stop()
		cancel()
		s.close()
		return nil, fmt.Errorf("restart of the container %s: %w", ref.ID, err)
	}
	go func() {
		defer cancel()
		defer s.close()
		defer stop()
		r.answered(s, req)
	}()
	return r, nil
}

// answered takes the engine's final answer. If the connection only breaks, Done looks at
// what happened.
func (r *Restart) answered(s *session, req *http.Request) {
	a, err := s.receive(req, inspectLimit)
	if err != nil || a.status == http.StatusNoContent {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused = s.errStatus(a); a.status == http.StatusNotFound {
		r.refused = fmt.Errorf("%s: %w", s.path, ErrNoSuch)
	}
}

// Done reports whether the container runs and has started since the request. The error
// says that it never will: the engine refused, or no longer has such a container. It is
// ErrSilent while the engine does not answer.
func (r *Restart) Done(ctx context.Context) (bool, error) {
	r.mu.Lock()
	refused := r.refused
	r.mu.Unlock()
	if refused != nil {
		return false, refused
	}
	c, err := r.names.Inspect(ctx, r.id)
	if err != nil {
		return false, err
	}
	return c.InitPID != 0 && (c.InitPID != r.init || !c.StartedAt.Equal(r.before)), nil
}
