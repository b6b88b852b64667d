package metrics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sockwarden/engine"
)

// patience is how long a scrape waits for a census. Prometheus gives up after ten seconds
// by default.
const patience = 5 * time.Second

// Shared takes a census when somebody asks for one, at most once an interval: all who ask
// in the meantime get the same.
type Shared struct {
	take  func(context.Context) (*engine.Census, error)
	every time.Duration
	log   *slog.Logger
	asked chan chan struct{} // with what to close when the census is there

	mu       sync.Mutex
	newest   *engine.Census // nil if the last attempt failed
	began    time.Time      // the last attempt
	underway chan struct{}  // closed when it ends; nil if none is under way
}

// NewShared makes a Shared; Run does its work.
func NewShared(every time.Duration, log *slog.Logger, take func(context.Context) (*engine.Census, error)) *Shared {
	return &Shared{take: take, every: every, log: log, asked: make(chan chan struct{}, 1)}
}

// Run takes censuses until ctx ends.
func (s *Shared) Run(ctx context.Context) {
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case done := <-s.asked:
			n, err := s.take(ctx)
			if text := errorText(n, err); ctx.Err() == nil && text != said {
				if said = text; text != "" {
					s.log.Warn("sockets are not counted, or not all", "error", text)
				}
			}
			s.mu.Lock()
			s.newest, s.underway = n, nil
			s.mu.Unlock()
			close(done)
		}
	}
}

func errorText(n *engine.Census, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case len(n.Errors) > 0:
		return n.Errors[0].Error()
	}
	return ""
}

// Newest returns a census that is younger than the interval, and waits for it a few
// seconds. If it takes longer, that is the one before; nil if there is none.
func (s *Shared) Newest() *engine.Census {
	s.mu.Lock()
	if s.underway == nil && time.Since(s.began) >= s.every {
		s.began, s.underway = time.Now(), make(chan struct{})
		s.asked <- s.underway // has room: Run has taken the one before
	}
	done := s.underway
	s.mu.Unlock()
	if done != nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}
