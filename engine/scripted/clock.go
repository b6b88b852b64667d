package scripted

import (
	"sync"
	"time"
)

// clock moves when somebody waits, and when told to. Messages are sent beside the cycles,
// and look at it, too.
type clock struct {
	mu   sync.Mutex
	now  time.Time
	mono time.Duration // CLOCK_MONOTONIC; a sum of fractions would not stay exact
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Mono() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono.Seconds()
}

// After moves the clock at once: whoever waits has nothing else to do.
func (c *clock) After(d time.Duration) <-chan time.Time {
	c.advance(max(0, d))
	at := make(chan time.Time, 1)
	at <- c.Now()
	return at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.mono = c.now.Add(d), c.mono+d
}
