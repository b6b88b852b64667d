package ownersock

import (
	"context"
	"fmt"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// Socket is the connection that an effect works on.
type Socket struct {
	*actions.Sealed
	proc *procfs.FS
}

// Find returns the TCP connection of a target. name is the action's, which accepts
// connections in some states, 0 for any. The error is ErrGone if no owner has the
// connection any more as it was decided on.
func Find(ctx context.Context, proc *procfs.FS, t actions.Target, name string, states collectors.StateMask) (*Socket, error) {
	s, err := of(proc, t, name, states)
	if err != nil {
		return nil, err
	}
	return s.found(ctx)
}

// FindAny is Find for a connection of TCP or MPTCP in any state.
func FindAny(ctx context.Context, proc *procfs.FS, t actions.Target, name string) (*Socket, error) {
	sealed, err := connection(t, name)
	if err != nil {
		return nil, err
	}
	return (&Socket{sealed, proc}).found(ctx)
}

// found is s if its owner still has it.
func (s *Socket) found(ctx context.Context) (*Socket, error) {
	if err := s.Do(ctx, func(int) error { return nil }); err != nil {
		return nil, err
	}
	return s, nil
}

// of is Find without a look.
func of(proc *procfs.FS, t actions.Target, name string, states collectors.StateMask) (*Socket, error) {
	sealed, err := One(t, name)
	if err != nil {
		return nil, err
	}
	if state := sealed.Socket.State; states != 0 && !states.Has(state) {
		return nil, fmt.Errorf("%s is for connections, not for %s", name, state)
	}
	return &Socket{sealed, proc}, nil
}

// Do is With, but only if the socket still has the state and the ends that were decided
// on.
func (s *Socket) Do(ctx context.Context, f func(fd int) error) error {
	return s.Look(ctx, func(fd int) error {
		if err := Same(fd, &s.Socket); err != nil {
			return err
		}
		return f(fd)
	})
}

// Look is With, whatever became of the connection.
func (s *Socket) Look(ctx context.Context, f func(fd int) error) error {
	return With(ctx, s.proc, s.Sealed, f)
}

// Keepers returns the owners that still have a descriptor of the socket.
func (s *Socket) Keepers() (all []collectors.Owner) {
	for i := range s.Facts.Owners {
		o := &s.Facts.Owners[i]
		if held, err := s.proc.Holds(o.PID, o.StartTime, s.Socket.Inode); err == nil && held {
			all = append(all, *o)
		}
	}
	return all
}
