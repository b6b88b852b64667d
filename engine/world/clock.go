package world

import (
	"context"
	"time"

	"sockwarden/collectors/host"
)

// Clock tells the time, and waits.
type Clock interface {
	// Now is the time of day.
	Now() time.Time
	// Mono is CLOCK_MONOTONIC in seconds: like the kernel's timers, it stands still while
	// the machine is suspended.
	Mono() float64
	// After returns a channel that receives the time when d is over.
	After(d time.Duration) <-chan time.Time
}

// Sleep waits for d, or until ctx ends.
func Sleep(ctx context.Context, c Clock, d time.Duration) {
	if d <= 0 || ctx.Err() != nil {
		return
	}
	select {
	case <-c.After(d):
	case <-ctx.Done():
	}
}

// Until returns the time left until t.
func (w *World) Until(t time.Time) time.Duration { return t.Sub(w.Now()) }

// SystemClock is the clock of this host.
func SystemClock() Clock { return realClock{} }

// realClock is the clock of the host.
type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) Mono() float64 { return Mono() }

func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Mono returns CLOCK_MONOTONIC in seconds.
func Mono() float64 { return host.Monotonic() }
