package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/leash"
)

// stopGrace is how long a stop waits for the killed program to end. That takes
// milliseconds, but a program that waits for a dead disk does not end.
const stopGrace = time.Second

type effect struct {
	what    string
	argv    []string
	timeout time.Duration
	input   []byte
	// proves says whether the target still exists; nil if somebody else checks that.
	proves  func(context.Context) error
	running *leash.Running // nil until started
	output  output
	outcome *actions.Outcome   // nil until known
	status  syscall.WaitStatus // how the program ended, once that is known
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
	// A file rather than a pipe: nobody has to feed it while the program runs.
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
	e.running, err = leash.Start(leash.Program{
		Argv: e.argv, Timeout: e.timeout, Files: [3]uintptr{in.Fd(), uintptr(out), uintptr(out)},
	})
	return err
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

// Verify says whether the program has ended, and how, and takes its output so far. Its
// keeper limits how long it runs, whoever asks.
func (e *effect) Verify(context.Context) actions.Outcome { return e.await(0) }

// Stop ends the program with everything that it started.
func (e *effect) Stop(context.Context) actions.Outcome {
	if e.running != nil && e.outcome == nil {
		e.running.Stop()
	}
	return e.await(stopGrace)
}

// await gives the program some time to end.
func (e *effect) await(grace time.Duration) actions.Outcome {
	switch {
	case e.outcome != nil:
		return *e.outcome
	case e.running == nil:
		return actions.Outcome{Result: actions.Failed, Err: errors.New("not started")}
	}
	e.output.take()
	ending, ended := e.running.Ended(grace)
	if !ended {
		return actions.Outcome{Result: actions.StillRunning, Pending: true}
	}
	e.output.take()
	return e.end(e.judge(ending))
}

func (e *effect) judge(ending leash.Ending) actions.Outcome {
	said, status := e.output.tail(), ending.Status
	e.status = status
	if said != "" {
		said = ": " + said
	}
	failed := func(format string, args ...any) actions.Outcome {
		return actions.Outcome{Result: actions.Failed, Err: fmt.Errorf(format, args...)} //nolint:err113 // for people
	}
	switch {
	case ending.Err != nil:
		return failed("%w%s", ending.Err, said)
	case ending.Reason == leash.TimedOut:
		return actions.Outcome{Result: actions.Timeout, Err: fmt.Errorf("killed after %s%s", e.timeout, said)} //nolint:err113 // for people
	case ending.Reason == leash.Stopped:
		return failed("stopped before its end, with the run or the rule that it was for%s", said)
	case status.Signaled():
		return failed("ended by %s%s", unix.SignalName(status.Signal()), said)
	case status.ExitStatus() != 0:
		return failed("exit code %d%s", status.ExitStatus(), said)
	}
	return actions.Outcome{Result: actions.Done, Detail: e.output.tail()}
}

func (e *effect) end(out actions.Outcome) actions.Outcome {
	e.outcome = &out
	e.output.close()
	return out
}
