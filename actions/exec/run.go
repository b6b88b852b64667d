package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
)

// killGrace is how long a killed program may take to end before it is asked for
// again: one that waits for a dead disk does not end.
const killGrace = 100 * time.Millisecond

type effect struct {
	what    string
	argv    []string
	timeout time.Duration
	input   []byte
	// proves says whether the target is still there; nil if that is done elsewhere.
	proves   func(context.Context) error
	pid      int // 0 before it is started
	output   output
	deadline time.Time
	killed   error            // why, nil if it was not
	outcome  *actions.Outcome // once it is known
}

func (e *effect) String() string { return e.what }

// Apply starts the program and does not wait for it.
func (e *effect) Apply(ctx context.Context) actions.Outcome {
	if e.proves != nil {
		if err := e.proves(ctx); err != nil {
			return e.end(actions.OutcomeOf(err))
		}
	}
	if err := e.start(); err != nil {
		return e.end(actions.Outcome{Result: actions.Failed, Err: err})
	}
	return actions.Outcome{Result: actions.Done}
}

func (e *effect) start() error {
	// A file rather than a pipe: nobody has to write while it runs.
	in, err := memory(e.input)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := e.output.open()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(out) }()
	// What Go opens is closed in other programs, but not what it was started with.
	// Before Linux 5.11 that is handed on.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	pid, err := syscall.ForkExec(e.argv[0], e.argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=" + searchPath, "LANG=C"},
		Files: []uintptr{in.Fd(), uintptr(out), uintptr(out)},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", e.argv[0], err)
	}
	e.pid, e.deadline = pid, time.Now().Add(e.timeout)
	return nil
}

func memory(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("sockwarden-input", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "input")
	_, err = f.Write(content)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("memory file: %w", err)
	}
	return f, nil
}

// Verify says whether the program has ended, and how. It takes what the program
// has printed, and kills one whose time is over.
func (e *effect) Verify(ctx context.Context) actions.Outcome {
	switch {
	case e.outcome != nil:
		return *e.outcome
	case e.pid == 0: // and no other child is waited for, or killed
		return actions.Outcome{Result: actions.Failed, Err: errors.New("not started")}
	}
	e.output.take()
	status, ended, err := e.reap()
	if !ended && err == nil {
		if e.killed == nil {
			e.killed = e.over(ctx)
		}
		if e.killed == nil {
			return actions.Outcome{Result: actions.StillRunning, Pending: true}
		}
		// It is not reaped yet: the number is that of its process group.
		_ = unix.Kill(-e.pid, unix.SIGKILL)
		e.awaitEnd()
		if status, ended, err = e.reap(); !ended && err == nil {
			return actions.Outcome{Result: actions.StillRunning, Pending: true}
		}
	}
	e.output.take()
	return e.end(e.judge(status, err))
}

// over returns why the program may not run any longer, nil if it may.
func (e *effect) over(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("killed: %w", context.Cause(ctx))
	case time.Now().After(e.deadline):
		return fmt.Errorf("killed after %s", e.timeout) //nolint:err113 // for people
	}
	return nil
}

func (e *effect) reap() (status unix.WaitStatus, ended bool, err error) {
	for {
		pid, err := unix.Wait4(e.pid, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return status, false, fmt.Errorf("wait for program: %w", err)
		default:
			return status, pid == e.pid, nil
		}
	}
}

// awaitEnd waits for the end of a killed program, which takes microseconds.
func (e *effect) awaitEnd() {
	fd, err := unix.PidfdOpen(e.pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	until := time.Now().Add(killGrace)
	for err = unix.EINTR; errors.Is(err, unix.EINTR) && time.Now().Before(until); {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(killGrace/time.Millisecond))
	}
}

func (e *effect) judge(status unix.WaitStatus, err error) actions.Outcome {
	said := e.output.tail()
	if said != "" {
		said = ": " + said
	}
	switch {
	case err != nil:
		return actions.Outcome{Result: actions.Failed, Err: err}
	case e.killed != nil:
		return actions.Outcome{Result: actions.Timeout, Err: fmt.Errorf("%w%s", e.killed, said)}
	case status.Signaled():
		return actions.Outcome{Result: actions.Failed, Err: fmt.Errorf("ended by %s%s", unix.SignalName(status.Signal()), said)} //nolint:err113 // for people
	case status.ExitStatus() != 0:
		return actions.Outcome{Result: actions.Failed, Err: fmt.Errorf("exit code %d%s", status.ExitStatus(), said)} //nolint:err113 // for people
	}
	return actions.Outcome{Result: actions.Done, Detail: e.output.tail()}
}

func (e *effect) end(out actions.Outcome) actions.Outcome {
	e.outcome = &out
	e.output.close()
	return out
}
