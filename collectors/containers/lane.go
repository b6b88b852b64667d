package containers

import (
	"context"
	"sync"
	"time"
)

// lane runs one piece of work at a time, in the background.
type lane struct {
	mu sync.Mutex
	// done closes when the running work is done; nil if none is running.
	done chan struct{}
	// silent says that an engine did not answer last time: nobody waits for it until it
	// has answered again.
	silent bool
}

// enter starts the work unless other work is running. It returns whether it did, and a
// channel that closes when the running work ends. The work reports whether everybody
// answered. It may go on after ctx ends, up to its own limit: a cycle may end before an
// answer comes.
func (l *lane) enter(ctx context.Context, limit time.Duration, work func(context.Context) (answered bool)) (mine bool, done <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done != nil {
		return false, l.done
	}
	end := make(chan struct{})
	l.done = end
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		answered := work(ctx)
		l.mu.Lock()
		l.silent, l.done = !answered, nil
		l.mu.Unlock()
		close(end)
	}()
	return true, end
}

// await waits for the work until the deadline, if there is hope, and returns whether it
// is done.
func (l *lane) await(ctx context.Context, done <-chan struct{}, deadline time.Time, hope bool) bool {
	l.mu.Lock()
	hope = hope && !l.silent
	l.mu.Unlock()
	wait := time.Duration(0)
	if hope {
		wait = time.Until(deadline)
	}
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// diskLane reads files on its own goroutine: a disk can hold that for ever, but never a
// second one.
type diskLane struct {
	mu      sync.Mutex
	hanging <-chan struct{}
}

// run waits for f until ctx ends and returns whether f is done. While an earlier f hangs,
// a new one does not start.
func (l *diskLane) run(ctx context.Context, f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hanging != nil {
		select {
		case <-l.hanging:
			l.hanging = nil
		default:
			return false
		}
	}
	if ctx.Err() != nil {
		return false
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		l.hanging = done
		return false
	}
}
