package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
)

// countTime bounds how long it takes to count what silences cover.
const countTime = 2 * time.Second

// counts are what silences cover of the findings of the last cycle. They are counted once,
// for all who ask until there are other findings, or other silences.
type counts struct {
	turn chan struct{} // has a place for whoever counts, or looks

	cycle *watch.CycleStatus
	in    silence.List
	all   []watch.SilenceStatus // nil before the first
}

// of returns the counts, which nobody changes.
func (c *counts) of(ctx context.Context, s *watch.Status, in silence.List) ([]watch.SilenceStatus, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("count what silences cover: %w", context.Cause(ctx))
	}
	var last *watch.CycleStatus
	if s != nil {
		last = s.Cycle
	}
	in = slices.DeleteFunc(slices.Clone(in), func(one *silence.Silence) bool { return one.Broken() != "" })
	if c.all != nil && c.cycle == last && slices.Equal(c.in, in) {
		return c.all, nil
	}
	within, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	all := s.SilencedBy(within, in)
	if ctx.Err() != nil { // whoever comes next counts for the others
		return nil, fmt.Errorf("count what silences cover: %w", context.Cause(ctx))
	}
	c.cycle, c.in, c.all = last, in, all
	return all, nil
}
