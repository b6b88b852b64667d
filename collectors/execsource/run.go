package execsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/leash"
)

const (
	// maxSaid bounds how much of the program's standard error we quote, in bytes.
	maxSaid = 4 << 10
	// lingering is how long something may hold the output open after the program has
	// ended, and how long a killed program may take to disappear.
	lingering = time.Second
)

// run is a running program.
type run struct {
	program *leash.Running
	timeout time.Duration
	out     *os.File
	said    limited // its standard error
	ended   chan struct{}
	ending  leash.Ending // valid once ended is closed
	drained sync.WaitGroup
}

func start(program string, timeout time.Duration) (*run, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	defer func() { _ = null.Close() }()
	out, outW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	defer func() { _ = outW.Close() }()
	errs, errsW, err := os.Pipe()
	if err != nil {
		_ = out.Close()
		return nil, fmt.Errorf("start: %w", err)
	}
	defer func() { _ = errsW.Close() }()
	p, err := leash.Start(leash.Program{Argv: []string{program}, Timeout: timeout, Files: [3]uintptr{null.Fd(), outW.Fd(), errsW.Fd()}})
	if err != nil {
		_, _ = out.Close(), errs.Close()
		return nil, err
	}
	r := &run{program: p, timeout: timeout, out: out, said: limited{left: maxSaid}, ended: make(chan struct{})}
	r.drained.Go(func() {
		_, _ = io.Copy(&r.said, errs)
		_ = errs.Close()
	})
	go func() {
		for over := false; !over; {
			r.ending, over = p.Ended(time.Hour)
		}
		// What it left behind may hold its output open for ever.
		_, _ = out.SetReadDeadline(time.Now().Add(lingering)), errs.SetReadDeadline(time.Now().Add(lingering))
		close(r.ended)
	}()
	return r, nil
}

// errHeld says that the output does not end.
var errHeld = errors.New("the program has ended, and something that it started holds its output open")

// Read reads the program's output. After the program has ended, each call has its own
// deadline: it can be late in reading what is already there.
func (r *run) Read(b []byte) (int, error) {
	n, err := r.out.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = r.out.SetReadDeadline(time.Now().Add(lingering))
		if n, err = r.out.Read(b); errors.Is(err, os.ErrDeadlineExceeded) {
			err = errHeld
		}
	}
	return n, err
}

// stop ends the program and waits until it has ended.
func (r *run) stop(ctx context.Context) error {
	r.program.Stop()
	return r.failure(ctx, lingering)
}

// failure waits for the program to end, no longer than a stop takes, and returns what
// went wrong; nil if we stopped it and nothing else happened.
func (r *run) failure(ctx context.Context, wait time.Duration) error {
	select {
	case <-r.ended:
	case <-ctx.Done():
		wait = lingering
	case <-time.After(wait):
		wait = 0
	}
	select {
	case <-r.ended:
	case <-time.After(wait):
		return errors.New("killed, but not gone: it waits for the kernel")
	}
	r.drained.Wait()
	said := strings.TrimSpace(r.said.text.String())
	if said != "" {
		said = ": " + said
	}
	switch e := r.ending; {
	case e.Err != nil:
		return e.Err
	case e.Reason == leash.TimedOut:
		return fmt.Errorf("killed after %s%s", r.timeout, said) //nolint:err113 // for people
	case e.Reason == leash.Stopped && ctx.Err() != nil:
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	case e.Reason == leash.Stopped:
		return nil
	case e.Status.Signaled():
		return fmt.Errorf("ended by %s%s", unix.SignalName(e.Status.Signal()), said) //nolint:err113 // for people
	case e.Status.ExitStatus() != 0:
		return fmt.Errorf("exit code %d%s", e.Status.ExitStatus(), said) //nolint:err113 // for people
	}
	return nil
}

// limited keeps the beginning of what is written to it.
type limited struct {
	text strings.Builder
	left int
}

// Write never fails.
func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	l.text.Write(b[:n])
	return len(b), nil
}
