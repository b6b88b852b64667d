// Package stuck waits for calls to the kernel that may never return, and leaves behind
// those that do not.
//
// Comes in: a function that makes such calls and owns everything that it touches. Goes
// out: nil once it has returned, or a Call, as an error, that goes on by itself. The
// thread of such a call sleeps uninterruptibly, mostly for the lock of a socket: a
// process keeps it while its own call waits for a page (userfaultfd, FUSE, an unreachable
// file server). No signal ends that sleep, and our own process cannot end until the lock
// is free.
package stuck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Limit is how long a call may make no progress while one of our threads sleeps
// uninterruptibly; socket locks are held for microseconds.
const Limit = 5 * time.Second

const (
	// step is how often we check for progress. Several checks must find none, because after
	// a stop or a suspension a single one always would.
	step = Limit / 10
	// grace is how many checks may find no progress after the caller was asked to stop.
	grace = 2
)

// Call is a call that did not return in time. It is an error.
type Call struct {
	// Since is when it began.
	Since time.Time
	what  string
	cause error // why the wait ended, nil for Limit
	back  chan struct{}
}

// ErrHeldUp says that a call was not even begun: another one that hangs is in its way.
var ErrHeldUp = errors.New("held up")

// Error says what hangs.
func (c *Call) Error() string { return c.what + " does not return from the kernel" }

// Unwrap returns the cause of the context that ended the wait, if one did.
func (c *Call) Unwrap() error { return c.cause }

// Back reports whether the call has returned by now.
func (c *Call) Back() bool {
	select {
	case <-c.back:
		return true
	default:
		return false
	}
}

// Done is closed when the call has returned.
func (c *Call) Done() <-chan struct{} { return c.back }

// In returns the Call that an error wraps, nil for none.
func In(err error) *Call {
	c, _ := errors.AsType[*Call](err)
	return c
}

type onThisThread struct{}

// OnThisThread returns a context that keeps calls on the caller's thread, which may have
// other rights than the threads of other goroutines. Watch then waits however long it
// takes.
func OnThisThread(ctx context.Context) context.Context {
	return context.WithValue(ctx, onThisThread{}, true)
}

// Watch runs f on its own goroutine and returns nil when f has returned. If f makes no
// progress for Limit, as shown by a counter that it increments (nil for none), the error
// is a Call: f still runs, and owns what it was given until it returns. When ctx ends,
// Watch waits for f only a moment longer.
func Watch(ctx context.Context, what string, progress *atomic.Uint64, f func()) error {
	if ctx.Value(onThisThread{}) != nil {
		f()
		return nil
	}
	c := &Call{Since: time.Now(), what: what, back: make(chan struct{})}
	go func() {
		defer close(c.back)
		f()
	}()
	timer := time.NewTimer(step)
	defer timer.Stop()
	var seen uint64
	left, stop := int(Limit/step), ctx.Done()
	for left > 0 {
		select {
		case <-c.back:
			return nil
		case <-stop:
			stop, c.cause, left = nil, context.Cause(ctx), min(left, grace)
			timer.Reset(step)
			continue
		case <-timer.C:
			timer.Reset(step)
		}
		left--
		if now := load(progress); now != seen || !asleep() {
			seen, left = now, int(Limit/step)
			if stop == nil {
				left = grace
			}
		}
	}
	return c
}

// Do is Watch for a call that cannot show progress.
func Do(ctx context.Context, what string, f func()) error { return Watch(ctx, what, nil, f) }

func load(counter *atomic.Uint64) uint64 {
	if counter == nil {
		return 0
	}
	return counter.Load()
}

// asleep reports whether a thread of this process sleeps uninterruptibly, or whether
// nobody can tell. A kernel that is merely slow works, or waits for a processor.
func asleep() bool {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return true
	}
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%s/stat", task.Name()))
		if err != nil {
			continue // it has ended meanwhile
		}
		// The name is in parentheses and can contain some itself.
		if i := bytes.LastIndexByte(b, ')'); i >= 0 && bytes.HasPrefix(b[i:], []byte(") D ")) {
			return true
		}
	}
	return false
}
