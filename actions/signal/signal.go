// Package signal sends a signal to the process that holds a socket.
//
// Comes in: a process by PID and start time, and the sockets that are the reason. Goes
// out: whether it has ended. A pidfd proves that the process is the one that was decided
// on, and that it still holds one of the sockets; a reused PID never gets a signal.
package signal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	return actions.Plugin{
		Name:    "signal",
		Summary: "sends a signal to the process that holds the socket",
		Doc: "Through a pidfd, after proving by its start time that it is the same process and still holds the socket. One " +
			"signal per process and cycle. TERM, KILL, INT, QUIT and ABRT should end it: the result is ended or still_running; others are done when sent.",
		Needs: []actions.Need{
			{Feature: actions.PidfdOpen},
			{Capability: actions.CapKill, For: "for other users' processes", Use: "signalling other users' processes"},
			{Capability: actions.CapSysPtrace, For: "to see what they hold"},
			{Capability: actions.CapDACReadSearch, For: "to see what they hold"},
		},
		Params: []actions.Param{
			{Name: "signal", Type: "string", Doc: "name of the signal, such as TERM or SIGTERM"},
			{
				Name: "owners", Type: "string", Allows: actions.AllowAllOwners, AllowsBy: "all",
				Doc: "all: if several processes hold the socket, signal each of them",
			},
			actions.ListenerParam(),
		},
		Main:    "signal",
		Scope:   actions.ScopeProcess,
		Results: []actions.Result{actions.Ended, actions.StillRunning, actions.Done, actions.Failed},
		New:     newAction,
	}
}

// ending are the signals that people send to end a process.
var ending = []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT}

// stopping are the signals that stop a process unless it prevents that.
var stopping = []unix.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}

func newAction(params map[string]any) (actions.Action, error) {
	name, _ := params["signal"].(string)
	if name == "" {
		return nil, errors.New("which signal? write {signal: TERM}")
	}
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "SIG") {
		full = "SIG" + full
	}
	num := unix.SignalNum(full)
	if n, err := strconv.Atoi(name); err == nil && unix.SignalName(unix.Signal(n)) != "" {
		return nil, fmt.Errorf("signals are written by name: write %s for %d", strings.TrimPrefix(unix.SignalName(unix.Signal(n)), "SIG"), n)
	}
	if num == 0 {
		return nil, fmt.Errorf("unknown signal %q: write a name such as TERM, KILL or HUP", name)
	}
	if slices.Contains(stopping, num) {
		return nil, fmt.Errorf("%s would only stop the process and leave its sockets hanging: write TERM to end it", full)
	}
	if owners, given := params["owners"].(string); given && owners != "all" {
		return nil, fmt.Errorf("owners is all, not %q", owners)
	}
	return action{num: num, name: strings.TrimPrefix(full, "SIG"), proc: procfs.New("")}, nil
}

type action struct {
	num  unix.Signal
	name string
	proc *procfs.FS
}

// Prepare checks that the process still exists and holds one of the sockets.
func (a action) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	switch {
	case t.Process == nil || t.Process.PID < 1:
		return nil, errors.New("signal needs a process that holds the socket")
	case t.Process.PID == 1 && a.proc.Coverage().HostInit: // in a container, PID 1 is the application
		return nil, errors.New("PID 1 of the machine is never signalled")
	}
	e := &effect{action: a, process: *t.Process}
	for i := range t.Sockets {
		e.inodes = append(e.inodes, t.Sockets[i].Inodes()...)
	}
	if err := e.proves(); err != nil {
		return nil, err
	}
	return e, nil
}

type effect struct {
	action
	process collectors.Owner
	inodes  []uint32
}

func (e *effect) String() string { return "signal " + e.name }

// proves checks that the process with that start time holds one of the sockets.
func (e *effect) proves() error {
	for _, inode := range e.inodes {
		held, err := e.proc.Holds(e.process.PID, e.process.StartTime, inode)
		if err != nil {
			return err
		}
		if held {
			return nil
		}
	}
	return fmt.Errorf("process %d no longer holds any of the sockets: %w", e.process.PID, collectors.ErrGone)
}

// Apply opens a pidfd, proves through /proc that its process is the right one, and sends
// the signal through the pidfd: if the PID had passed to another process in between, the
// pidfd would be dead.
func (e *effect) Apply(context.Context) actions.Outcome {
	fd, err := unix.PidfdOpen(e.process.PID, 0)
	if err != nil {
		return actions.OutcomeOf(classify("open pidfd", err))
	}
	defer func() { _ = unix.Close(fd) }()
	if err := e.proves(); err != nil {
		return actions.OutcomeOf(err)
	}
	if err := unix.PidfdSendSignal(fd, e.num, nil, 0); err != nil {
		return actions.OutcomeOf(classify("signal process", err))
	}
	if !slices.Contains(ending, e.num) {
		return actions.Outcome{Result: actions.Done}
	}
	return actions.Outcome{Result: actions.Ended}
}

// Verify checks whether the process still exists; a zombie has ended.
func (e *effect) Verify(context.Context) actions.Outcome {
	if !slices.Contains(ending, e.num) {
		return actions.Outcome{Result: actions.Done}
	}
	running, err := e.proc.Running(e.process.PID, e.process.StartTime)
	switch {
	case err != nil:
		return actions.Outcome{Result: actions.Failed, Err: err}
	case running:
		return actions.Outcome{Result: actions.StillRunning}
	}
	return actions.Outcome{Result: actions.Ended}
}

func classify(what string, err error) error {
	switch {
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("%s: %w (%w)", what, collectors.ErrGone, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w (%w)", what, collectors.ErrNotPermitted, err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%s: %w (%w)", what, collectors.ErrNotSupported, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
