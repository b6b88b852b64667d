package socklab

import (
	"runtime"
	"testing"
	"time"
)

// waitLimit bounds every wait: far more than a loaded machine takes.
const waitLimit = 2 * time.Minute

// WaitFor polls until cond holds, and fails the test if that takes too long.
func WaitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !poll(cond, waitLimit) {
		t.Fatalf("waited %s in vain for %s", waitLimit, what)
	}
}

// poll spins for a moment first: most conditions take microseconds to come true, and the
// shortest sleep is a millisecond.
func poll(cond func() bool, limit time.Duration) bool {
	start := time.Now()
	for {
		if cond() {
			return true
		}
		switch waited := time.Since(start); {
		case waited > limit:
			return false
		case waited < 500*time.Microsecond:
			runtime.Gosched()
		default:
			time.Sleep(time.Millisecond)
		}
	}
}
