package engine

import (
	"sync"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// A watcher that is told to look more often than it can leaves half of the time to
// others.
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
	w := watchRules(t, Options{Sources: []collectors.Plugin{slow}}, 40*time.Millisecond, map[string]string{"rules.yaml": ruleFile("port == 1", "log")})
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
