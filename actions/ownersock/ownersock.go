// Package ownersock opens the socket of another process, so that an action can
// work on it as its owner could: pidfd_open(2) and pidfd_getfd(2).
//
// Comes in: an owner and the socket that was decided on. Goes out: a descriptor
// of the same socket, proven by the start time of the process and the cookie of
// the socket. It works in any network namespace without entering it. It needs
// Linux 5.6 and the right to ptrace the process (CAP_SYS_PTRACE).
package ownersock

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// ErrNoOwner says that no process has the socket.
var ErrNoOwner = errors.New("no process has the socket")

// With calls f with a descriptor of the socket, duplicated from the first of its
// owners that still has it. The descriptor is closed afterwards. The error is
// ErrGone if no owner has it any more.
func With(proc *procfs.FS, s *actions.Sealed, f func(fd int) error) error {
	if len(s.Facts.Owners) == 0 {
		return ErrNoOwner
	}
	var errs error
	for i := range s.Facts.Owners {
		fd, err := duplicate(proc, &s.Facts.Owners[i], &s.Socket)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		defer func() { _ = unix.Close(fd) }()
		return f(fd)
	}
	return errs
}

func duplicate(proc *procfs.FS, o *collectors.Owner, s *collectors.Socket) (int, error) {
	pidfd, err := unix.PidfdOpen(o.PID, 0)
	if err != nil {
		return -1, Classify("open process", err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	theirs, err := proc.Descriptor(o.PID, o.StartTime, s.Inode)
	if err != nil {
		return -1, err //nolint:wrapcheck // ours
	}
	fd, err := unix.PidfdGetfd(pidfd, theirs, 0)
	if err != nil {
		return -1, Classify("duplicate descriptor", err)
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err == nil && cookie == s.Cookie {
		return fd, nil
	}
	_ = unix.Close(fd)
	if err != nil {
		return -1, Classify("cookie of descriptor", err)
	}
	return -1, fmt.Errorf("descriptor %d of process %d is another socket: %w", theirs, o.PID, collectors.ErrGone)
}

// Classify wraps an errno with the sentinel of package collectors that it
// stands for.
func Classify(what string, err error) error {
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EBADF), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTSOCK):
		return fmt.Errorf("%s: %w (%w)", what, collectors.ErrGone, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w (%w)", what, collectors.ErrNotPermitted, err)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%s: %w (%w)", what, collectors.ErrNotSupported, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// State returns the TCP state of a descriptor's socket (TCP_INFO).
func State(fd int) (collectors.State, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, Classify("state of socket", err)
	}
	return collectors.State(info.State), nil
}

// Same checks that the socket is still in the state in which it was decided on.
func Same(fd int, s *collectors.Socket) error {
	now, err := State(fd)
	if err != nil {
		return err
	}
	if now != s.State {
		return fmt.Errorf("socket %x is now %s: %w", s.Cookie, now, collectors.ErrGone)
	}
	return nil
}

// One returns the one socket of a target.
func One(t actions.Target, what string) (*actions.Sealed, error) {
	if len(t.Sockets) != 1 {
		return nil, fmt.Errorf("%s is for one socket, not %d", what, len(t.Sockets))
	}
	if t.Sockets[0].Socket.Protocol != collectors.TCP {
		return nil, fmt.Errorf("%s is for TCP", what)
	}
	return &t.Sockets[0], nil
}

// Holds checks that the process still holds one of the sockets. The error is
// ErrGone if it has ended, its PID belongs to another, or it holds none.
func Holds(proc *procfs.FS, process *collectors.Owner, sockets []actions.Sealed) error {
	for i := range sockets {
		inode := sockets[i].Socket.Inode
		if inode == 0 {
			continue
		}
		held, err := proc.Holds(process.PID, process.StartTime, inode)
		if err != nil {
			return err //nolint:wrapcheck // ours
		}
		if held {
			return nil
		}
	}
	return fmt.Errorf("process %d holds none of the sockets any more: %w", process.PID, collectors.ErrGone)
}
