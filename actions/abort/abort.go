// Package abort resets another process's connection without SOCK_DESTROY, by calling
// connect(2) with AF_UNSPEC on its socket.
//
// Comes in: one connection of TCP or MPTCP with an owner. Goes out: whether it is
// gone. It works on kernels without CONFIG_INET_DIAG_DESTROY and in namespaces that we
// cannot enter. The program keeps the descriptor of a socket without a connection.
package abort

import (
	"context"
	"errors"
	"fmt"

	"sockwarden/actions"
	"sockwarden/actions/ownersock"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	return actions.Plugin{
		Name:    "abort",
		Summary: "resets the connection on its owner's socket (connect(AF_UNSPEC))",
		Doc: "Like destroy, for kernels without SOCK_DESTROY, for namespaces that cannot be entered, and for MPTCP, of which it ends the whole " +
			"connection with all its subflows. The peer gets a RST where TCP sends " +
			"one, a blocked program wakes up, and the descriptor stays: the result is fd_still_held until the program closes it. " +
			"A program that does not notice can use the socket for a new connection.",
		Needs: ownersock.Needs(),
		Params: []actions.Param{
			actions.ProtectedParam(),
		},
		Scope:   actions.ScopeOwnedSocket,
		MPTCP:   true,
		Results: []actions.Result{actions.Gone, actions.FDStillHeld, actions.Refused, actions.Failed},
		New:     func(map[string]any) (actions.Action, error) { return Action{procfs.New("")}, nil },
	}
}

// Action aborts connections. destroy also uses it as its second way.
type Action struct{ Proc *procfs.FS }

// Prepare checks that the owner still has the connection in its state.
func (a Action) Prepare(ctx context.Context, t actions.Target) (actions.Effect, error) {
	s, err := ownersock.FindAny(ctx, a.Proc, t, "abort")
	if err != nil {
		return nil, err
	}
	return &effect{socket: s}, nil
}

type effect struct {
	socket  *ownersock.Socket
	keepers []collectors.Owner
}

// Keepers are the owners that still keep the descriptor.
func (e *effect) Keepers() []collectors.Owner { return e.keepers }

func (e *effect) String() string { return "abort" }

// Apply disconnects the socket.
func (e *effect) Apply(ctx context.Context) actions.Outcome {
	err := e.socket.Do(ctx, func(fd int) error {
		if err := disconnect(fd); err != nil {
			return ownersock.Classify("connect(AF_UNSPEC)", err)
		}
		return nil
	})
	if err != nil {
		return actions.OutcomeOf(err)
	}
	return actions.Outcome{Result: actions.Gone}
}

// Verify checks whether the owner's socket is still that connection, and whether a
// process still keeps the descriptor.
func (e *effect) Verify(ctx context.Context) actions.Outcome {
	err := e.socket.Do(ctx, func(int) error { return nil })
	switch {
	case err == nil:
		return actions.Outcome{Result: actions.Refused, Detail: fmt.Sprintf("still %s", e.socket.Socket.State)}
	case !errors.Is(err, collectors.ErrGone):
		return actions.OutcomeOf(err)
	}
	e.keepers = e.socket.Keepers()
	return actions.StillHeld(e.keepers, "")
}
