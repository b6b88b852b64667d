package exec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
)

// remaining returns the sockets that are still what was decided on. The error is ErrGone
// if none is.
func remaining(ctx context.Context, all []actions.Sealed) (there []actions.Sealed, err error) {
	if len(all) == 0 {
		return nil, errors.New("exec needs a socket")
	}
	var gone error
	for i := range all {
		switch err := remains(ctx, &all[i]); {
		case err == nil:
			there = append(there, all[i])
		case errors.Is(err, collectors.ErrGone):
			gone = err
		default:
			return nil, err
		}
	}
	if len(there) == 0 {
		return nil, gone
	}
	return there, nil
}

// anyRemains returns nil if one of the sockets is still what was decided on.
func anyRemains(ctx context.Context, all []actions.Sealed) (err error) {
	for i := range all {
		if err = remains(ctx, &all[i]); !errors.Is(err, collectors.ErrGone) {
			return err
		}
	}
	return err
}

// remains looks up a socket by its cookie, in its namespace.
func remains(ctx context.Context, s *actions.Sealed) error {
	fd := -1
	if s.Open != nil {
		ns, err := s.Open()
		switch {
		case errors.Is(err, fs.ErrNotExist): // and all its sockets are gone with it
			return fmt.Errorf("%w: %w", collectors.ErrGone, err)
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("%w: %w", collectors.ErrNotPermitted, err)
		case err != nil:
			return err
		}
		defer func() { _ = ns.Close() }()
		fd = int(ns.Fd())
	}
	c, err := sockdiag.Dial(fd)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	now, err := c.Get(ctx, &s.Socket)
	if err != nil {
		return err
	}
	now.NetNS = s.Socket.NetNS
	if collectors.KeyOf(&now) != collectors.KeyOf(&s.Socket) {
		return fmt.Errorf("socket %x is now %s: %w", s.Socket.Cookie, now.State, collectors.ErrGone)
	}
	return nil
}
