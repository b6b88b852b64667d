package containers

import (
	"context"
	"sync"
	"time"
)

// lane runs one piece of work at a time, beside its callers.
type lane struct {
	mu sync.Mutex
	// done is closed when what is under way is done; nil if nothing is.
	done chan struct{}
	// silent says that an engine kept its answer back at last: nobody waits for it
	// again until it has answered.
	silent bool
}

// enter starts the work, unless other work is under way, and returns whether it
// did, and what is closed at the end of either. The work says whether everybody
// answered. It may go on when ctx ends, until its own limit: a cycle ends sooner
// than an answer comes.
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

// await waits for the end of work until a time, if there is hope. It returns
// whether the work is done.
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

// diskLane reads files on a goroutine of its own: a disk can keep it forever, and
// then it is the only one.
type diskLane struct {
	mu      sync.Mutex
	hanging <-chan struct{}
}

// run waits for f until ctx ends, and returns whether f is done. While an earlier
// one hangs f does not even begin.
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
