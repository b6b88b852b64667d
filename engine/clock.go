package engine

import (
	"context"
	"time"

	"sockwarden/engine/world"
)

// now is the time of day.
func (e *Engine) now() time.Time { return e.world.Now() }

// mono is CLOCK_MONOTONIC in seconds.
func (e *Engine) mono() float64 { return e.world.Mono() }

// until is how long it is until t.
func (e *Engine) until(t time.Time) time.Duration { return t.Sub(e.now()) }

func (e *Engine) sleep(ctx context.Context, d time.Duration) { world.Sleep(ctx, e.world.Clock, d) }
