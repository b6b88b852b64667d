package containers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
)

// listing is the engines' last list of running containers.
type listing struct {
	mu    sync.Mutex
	all   []Container
	err   error
	until time.Time
}

// recall returns the last list, and whether it is still valid.
func (l *listing) recall(now time.Time) ([]Container, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !now.Before(l.until) {
		return nil, false, ErrSilent
	}
	return slices.Clone(l.all), true, l.err
}

// Running returns the running containers, sorted by name, for callers that have an
// address or a published port and want the container behind it. Only engines with an API
// can list them. Everything about each container is known except PartInit and PartSandbox
// (and, for podman, PartMode). It waits as Lookup does, and a list counts for Retry. An
// error says why a part is missing; the answers of the other engines come with it.
func (n *Names) Running(ctx context.Context) ([]Container, error) {
	deadline := time.Now().Add(n.patience)
	for range 2 { // the first time, other work may be running
		if all, ok, err := n.list.recall(n.memory.now()); ok {
			return all, err
		}
		mine, done := n.lane.enter(ctx, n.waits.all, n.askRunning)
		if !n.lane.await(ctx, done, deadline, true) || mine {
			break
		}
	}
	all, _, err := n.list.recall(n.memory.now())
	return all, err
}

// askRunning asks every engine for its list. It asks podman only where it listens
// already, and does not start it.
func (n *Names) askRunning(ctx context.Context) bool {
	var all []Container
	var reason error
	found := false
	for _, path := range distinct(slices.Concat(n.places.DockerSockets, n.places.PodmanSockets)) {
		if slices.Contains(n.places.PodmanSockets, path) && n.noPodman(ctx) {
			continue
		}
		s, err := open(ctx, path)
		if err == nil {
			var some []Container
			some, err = s.list(ctx, n.waits.list)
			s.close()
			all = append(all, some...)
		}
		if err == nil {
			found = true
			continue
		}
		reason = worse(reason, err)
	}
	switch {
	case found && errors.Is(reason, ErrNoEngine):
		reason = nil
	case !found:
		reason = worse(ErrNoEngine, reason)
	}
	slices.SortFunc(all, func(a, b Container) int { return strings.Compare(a.Name+" "+a.ID, b.Name+" "+b.ID) })
	n.list.mu.Lock()
	defer n.list.mu.Unlock()
	n.list.all, n.list.err, n.list.until = all, reason, n.memory.now().Add(n.memory.retry)
	return !errors.Is(reason, ErrSilent)
}

// noPodman reports whether podman's storages are readable and hold no container: then
// there is no point in starting podman.
func (n *Names) noPodman(ctx context.Context) bool {
	empty := false
	n.disk.run(ctx, func() {
		stored, reason := (&disk{places: n.places}).storages()
		empty = errors.Is(reason, ErrNoSuch) && len(stored) == 0
	})
	return empty
}

// Inspect asks the engines what they know about a container right now, for instance
// whether it was restarted. It waits at most 200 ms for each.
func (n *Names) Inspect(ctx context.Context, id string) (Container, error) {
	s, c, err := n.inspect(ctx, id)
	if err == nil {
		s.close()
	}
	return c, err
}

// inspect finds the engine that has a container.
func (n *Names) inspect(ctx context.Context, id string) (*session, Container, error) {
	if !isID(id) {
		return nil, Container{}, fmt.Errorf("%.70q %w", id, ErrNoID)
	}
	var reason error
	for _, path := range distinct(slices.Concat(n.places.DockerSockets, n.places.PodmanSockets)) {
		s, err := open(ctx, path)
		if err == nil {
			var c Container
			if c, err = s.inspect(ctx, n.waits.inspect, id); err == nil {
				return s, c, nil
			}
			s.close()
		}
		reason = worse(reason, err)
	}
	return nil, Container{}, worse(ErrNoEngine, reason)
}

// Source is a place where an engine listens.
type Source struct {
	Path   string
	Engine Engine
	// Err is nil if we can ask it; otherwise it carries a reason.
	Err error
}

// Asked is Sources, and also tries whether each that we can ask answers within two seconds.
// Connecting to podman's socket starts podman if systemd listens there.
func (n *Names) Asked(ctx context.Context) []Source {
	all := n.Sources()
	for i := range all {
		if all[i].Err == nil {
			all[i].Err = ping(ctx, all[i].Path, n.waits.all)
		}
	}
	return all
}

// ping asks an engine only for a sign of life.
func ping(ctx context.Context, path string, wait time.Duration) error {
	s, err := open(ctx, path)
	if err != nil {
		return err
	}
	defer s.close()
	a, err := s.get(ctx, "/_ping", wait, headLimit)
	if err == nil && a.status != http.StatusOK {
		err = s.errStatus(a)
	}
	return err
}

// Sources returns where we could ask engines, without connecting to any: it tells people
// what would be known on this host.
func (n *Names) Sources() []Source {
	var all []Source
	add := func(engine Engine, paths []string) {
		for _, path := range distinct(paths) {
			var checker trust.Checker
			err := checker.Socket(path)
			if err != nil {
				err = distrusted(path, err)
			} else if err = unix.Access(path, unix.W_OK); err != nil {
				err = at(path, &os.PathError{Op: "connect", Path: path, Err: err})
			}
			all = append(all, Source{Path: path, Engine: engine, Err: err})
		}
	}
	add(Docker, n.places.DockerSockets)
	add(Podman, n.places.PodmanSockets)
	return all
}
