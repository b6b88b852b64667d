package containers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// restartLimit ends the wait for the engine's answer, which it gives only after stop and
// start: a container can have an hour to stop.
const restartLimit = 65 * time.Minute

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

// Restart tells the engine of a container to stop it, with the time from SIGTERM to
// SIGKILL that the container has (10 seconds, unless whoever started it said
// otherwise), and to start it again. It returns as soon as the engine has the
// request. The error bears a reason: ErrNotSupported where nothing but files know
// the container, as a CRI's, whose kubelet restarts what ends by itself.
//
// It asks nobody whether that is right: guards are the caller's business. If still is not
// nil, it gets the container as the engine knew it just before, and its error holds back
// the request.
func (n *Names) Restart(ctx context.Context, ref Ref, still func(*Container) error) (*Restart, error) {
	s, c, err := n.inspect(ctx, ref.ID)
	if errors.Is(err, ErrNoSuch) || errors.Is(err, ErrNoEngine) {
		if a := n.Lookup(ctx, ref)[ref.ID]; a.Err == nil {
			return nil, fmt.Errorf("restart of the container %s: %w: only its files are known (%s)", ref.ID, ErrNotSupported, a.Container.Source)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("restart of the container %s: %w", ref.ID, err)
	}
	if still != nil {
		if err := still(&c); err != nil {
			s.close()
			return nil, err
		}
	}
	r := &Restart{names: n, id: ref.ID, before: c.StartedAt, init: c.InitPID}
	// Some engines abandon a restart when the client goes away: keep the connection until
	// the answer comes, whatever happens to ctx.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartLimit)
	stop := s.until(ctx, restartLimit)
	req, err := s.send(ctx, http.MethodPost, "/containers/"+ref.ID+"/restart")
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
