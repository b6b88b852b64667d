// Package shutdown calls shutdown(2) on another process's connection.
//
// Comes in: one TCP connection with an owner. Goes out: that it is shut down. A program
// that blocks in read wakes up with EOF and can close properly; if the sending side is
// shut, the peer gets a FIN, not a RST.
package shutdown

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/ownersock"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	return actions.Plugin{
		Name:    "shutdown",
		Summary: "shuts down the connection (shutdown(2)), which wakes up its program",
		Doc: "read: a program that blocks in read gets EOF. write: the peer gets a FIN. both (default): both. Data that was sent before " +
			"still goes out. After both, data that the peer still sends is answered by a RST. The program keeps the descriptor until it closes it.",
		Needs: ownersock.Needs(),
		Params: []actions.Param{
			{Name: "how", Type: "string", Doc: "read, write or both"},
			actions.ProtectedParam(),
		},
		Main:    "how",
		Scope:   actions.ScopeOwnedSocket,
		Results: []actions.Result{actions.Done, actions.Failed},
		New:     newAction,
	}
}

var ways = map[string]int{"read": unix.SHUT_RD, "write": unix.SHUT_WR, "both": unix.SHUT_RDWR}

func newAction(params map[string]any) (actions.Action, error) {
	how, given := params["how"].(string)
	if !given {
		how = "both"
	}
	way, ok := ways[how]
	if !ok {
		return nil, fmt.Errorf("how is read, write or both, not %q", how)
	}
	return action{how, way, procfs.New("")}, nil
}

type action struct {
	how  string
	way  int
	proc *procfs.FS
}

// Prepare checks that the owner still has the connection in its state.
func (a action) Prepare(ctx context.Context, t actions.Target) (actions.Effect, error) {
	s, err := ownersock.Find(ctx, a.proc, t, "shutdown", 0)
	if err != nil {
		return nil, err
	}
	return &effect{a, s}, nil
}

type effect struct {
	action
	socket *ownersock.Socket
}

func (e *effect) String() string { return "shutdown " + e.how }

// Apply shuts the connection down.
func (e *effect) Apply(ctx context.Context) actions.Outcome {
	err := e.socket.Do(ctx, func(fd int) error {
		err := unix.Shutdown(fd, e.way)
		if errors.Is(err, unix.ENOTCONN) {
			return fmt.Errorf("shut down: %w", collectors.ErrGone)
		}
		if err != nil {
			return ownersock.Classify("shut down", err)
		}
		return nil
	})
	if err != nil {
		return actions.OutcomeOf(err)
	}
	return actions.Outcome{Result: actions.Done}
}

// Verify has nothing to look at: the call has succeeded or failed.
func (e *effect) Verify(context.Context) actions.Outcome {
	return actions.Outcome{Result: actions.Done}
}
