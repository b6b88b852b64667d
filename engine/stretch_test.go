package engine

import (
	"sync"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// A cycle that takes more than half the interval stretches it to twice its own
// length; that it begins and ends is said once.
func TestStretch(t *testing.T) {
	l := newLab(t, Options{})
	w := &watcher{Engine: l.Engine}
	const s = time.Second
	for i, step := range []struct {
		took, wait            time.Duration
		stretched, configured int // lines so far
	}{
		{0, 10 * s, 0, 0},
		{3 * s, 7 * s, 0, 0},
		{5 * s, 5 * s, 0, 0}, // half is not more than half
		{6 * s, 6 * s, 1, 0},
		{5*s + 1, 5*s + 1, 1, 0},
		{10 * s, 10 * s, 1, 0},
		{25 * s, 25 * s, 1, 0},
		// Until it was short for ten cycles in a row nothing more is said.
		{4 * s, 6 * s, 1, 0},
		{20 * s, 20 * s, 1, 0},
		{4 * s, 6 * s, 1, 0}, {4 * s, 6 * s, 1, 0}, {4 * s, 6 * s, 1, 0}, {4 * s, 6 * s, 1, 0}, {4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 0}, {4 * s, 6 * s, 1, 0}, {4 * s, 6 * s, 1, 0}, {4 * s, 6 * s, 1, 0}, {4 * s, 6 * s, 1, 1},
		{4 * s, 6 * s, 1, 1},
		{20 * s, 20 * s, 2, 1},
	} {
		if wait := w.stretch(10*s, step.took); wait != step.wait {
			t.Errorf("%d: waits %s after %s, not %s", i, wait, step.took, step.wait)
		}
		if a, b := len(l.journal.lines("interval stretched")), len(l.journal.lines("interval as configured again")); a != step.stretched || b != step.configured {
			t.Errorf("%d: said %d and %d times", i, a, b)
		}
	}
	if len(l.journal.lines("level=WARN", "took=6s interval=10s stretched=12s")) != 1 {
		t.Errorf("said %q", l.journal.lines("stretched"))
	}
}

// A watcher that is told to look more often than it can leaves half of the time
// to others.
func TestWatchStretches(t *testing.T) {
	const needs = 30 * time.Millisecond
	var mu sync.Mutex
	var began []time.Time
	slow := faulty(func(collectors.Query) bool {
		start := time.Now()
		mu.Lock()
		began = append(began, start)
		mu.Unlock()
		for time.Since(start) < needs { // a kernel with that many sockets
		}
		return false
	})
	w := watch(t, Options{Sources: []collectors.Plugin{slow}}, 40*time.Millisecond, map[string]string{"rules.yaml": ruleFile("port == 1", "log")})
	socklab.WaitFor(t, "some cycles", func() bool { return w.cycles() >= 5 })
	w.end(t)
	w.logged(t, 1, "level=WARN", "interval stretched", "interval=40ms")
	mu.Lock()
	defer mu.Unlock()
	for i := 1; i < len(began); i++ {
		if d := began[i].Sub(began[i-1]); d < 2*needs {
			t.Errorf("cycle %d began %s after the one before", i, d)
		}
	}
}
