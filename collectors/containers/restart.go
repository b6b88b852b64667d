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
	// stopGrace is what a container has from SIGTERM to SIGKILL, in seconds: the
	// engines' own default.
	stopGrace = 10
	// restartLimit ends the wait for the engine's answer, which it gives only after
	// stop and start.
	restartLimit = 2 * time.Minute
)

// Restart is a restart that an engine was told to do.
type Restart struct {
	names *Names
	id    string
	// before is when the container had been started, and init its first process.
	before time.Time
	init   int

	mu      sync.Mutex
	refused error
}

// Restart tells the engine of a container to stop it, with 10 seconds from SIGTERM
// to SIGKILL, and to start it again. It returns as soon as the engine has the
// request. The error bears a reason: ErrNotSupported where nothing but files know
// the container, as a CRI's, whose kubelet restarts what ends by itself.
//
// It asks nobody whether that is right: guards are the caller's.
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
	// Some engines give a restart up when who asked is gone: the connection stays
	// until the answer comes, whatever becomes of ctx.
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

// answered takes what the engine says at the end. If it only breaks off, looking
// shows what happened.
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

// Done reports whether the container runs and was started since the request. The
// error says that it will not be: the engine refused, or has no such container any
// more. It is ErrSilent while the engine does not say.
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
