package containers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	// listLimit and inspectLimit bound answers, in bytes; 2 KiB per container is usual.
	listLimit, inspectLimit = 8 << 20, 1 << 20
	// listWait is the wait for a list: engines have it ready. An answer that comes after
	// Patience serves a later call.
	listWait = 500 * time.Millisecond
	// inspectWait is the wait for one container: an engine locks a container while it
	// stops it, and the list gives its name anyway.
	inspectWait = 200 * time.Millisecond
	// maxSilent is how many containers may go unanswered before we stop asking the engine
	// about more.
	maxSilent = 3
	// maxFilter is how many containers one request asks for by id.
	maxFilter = 32
)

// errStatus is an answer that says neither yes nor "no such container".
func (s *session) errStatus(a answer) error {
	var said struct{ Message string }
	_ = json.Unmarshal(a.body, &said)
	return fmt.Errorf("%s: %w: HTTP status %d, %.200q", s.path, ErrUnreadable, a.status, said.Message)
}

// list returns the running containers: those with the ids, or all if none are given.
func (s *session) list(ctx context.Context, wait time.Duration, ids ...string) ([]Container, error) {
	target := "/containers/json"
	if len(ids) > 0 && len(ids) <= maxFilter {
		filter, err := json.Marshal(map[string][]string{"id": ids})
		if err != nil {
			return nil, fmt.Errorf("ids: %w", err)
		}
		target += "?filters=" + url.QueryEscape(string(filter))
	}
	a, err := s.get(ctx, target, wait, listLimit)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, s.errStatus(a)
	}
	all, err := parseListed(a.body, a.engine)
	if err != nil {
		return nil, at(s.path, err)
	}
	for i := range all {
		all[i].Source = s.path
	}
	return all, nil
}

// inspect returns what the engine knows about a container, running or not.
func (s *session) inspect(ctx context.Context, wait time.Duration, id string) (Container, error) {
	a, err := s.get(ctx, "/containers/"+id+"/json", wait, inspectLimit)
	if err != nil {
		return Container{}, err
	}
	switch a.status {
	case http.StatusOK:
	case http.StatusNotFound:
		return Container{}, fmt.Errorf("%s: %w", s.path, ErrNoSuch)
	default:
		return Container{}, s.errStatus(a)
	}
	c, err := parseInspected(a.body, a.engine)
	if err != nil {
		return Container{}, at(s.path, err)
	}
	if c.ID != id {
		return Container{}, fmt.Errorf("%s: %w: it is about the container %s", s.path, ErrUnreadable, c.ID)
	}
	c.Source = s.path
	return c, nil
}
