// Package ownersock opens the socket of another process, for actions that work on it as
// its owner could: pidfd_open(2) and pidfd_getfd(2).
//
// Comes in: an owner and the socket that was decided on. Goes out: a descriptor of the
// same socket, proven by the start time of the process and the cookie of the socket. It
// works in any network namespace without entering it. It needs Linux 5.6 and the right to
// ptrace the process (CAP_SYS_PTRACE).
package ownersock

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/stuck"
)

// Needs are the needs of every action that works on a socket through its owner.
func Needs() []actions.Need {
	return []actions.Need{{Feature: actions.PidfdGetfd}, {Capability: actions.CapSysPtrace}, {Capability: actions.CapDACReadSearch}}
}

// ErrNoOwner says that no process holds the socket.
var ErrNoOwner = errors.New("no process has the socket")

// With calls f with a descriptor of the socket, duplicated from the first owner that it
// can reach, and closes it afterwards. The error is ErrGone if no owner holds the socket
// any more; an owner that we could not examine may still hold it. It is a stuck.Call if f
// does not return because it waits for the lock of the socket: f then still runs, and
// must own what it writes.
func With(ctx context.Context, proc *procfs.FS, s *actions.Sealed, f func(fd int) error) error {
	if len(s.Facts.Owners) == 0 {
		return ErrNoOwner
	}
	var failed error
	for i := range s.Facts.Owners {
		fd, err := duplicate(proc, &s.Facts.Owners[i], &s.Socket)
		if err == nil {
			var failed error
			hung := stuck.Do(ctx, "the socket of "+s.Facts.Owners[i].Name, func() {
				defer func() { _ = unix.Close(fd) }()
				failed = f(fd)
			})
			if hung != nil {
				return hung
			}
			return failed
		}
		if failed == nil || errors.Is(failed, collectors.ErrGone) {
			failed = err
		}
	}
	return failed
}

func duplicate(proc *procfs.FS, o *collectors.Owner, s *collectors.Socket) (int, error) {
	pidfd, err := unix.PidfdOpen(o.PID, 0)
	if err != nil {
		return -1, Classify("open process", err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	theirs, err := proc.Descriptor(o.PID, o.StartTime, s.Inode)
	if err != nil {
		return -1, err
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

// Classify wraps an errno with the matching sentinel error of package collectors.
// EOPNOTSUPP has none: it is about one socket (connect(AF_UNSPEC) where the kernel does
// TLS), not about the host.
func Classify(what string, err error) error {
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EBADF), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTSOCK):
		return fmt.Errorf("%s: %w (%w)", what, collectors.ErrGone, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w (%w)", what, collectors.ErrNotPermitted, err)
	case errors.Is(err, unix.ENOSYS):
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

// Same checks that the socket still has the state and the ends that it had when it was
// decided on: the cookie survives a disconnect and a new connect.
func Same(fd int, s *collectors.Socket) error {
	if err := sameState(fd, s); err != nil {
		return err
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return Classify("address of socket", err)
	}
	remote, err := unix.Getpeername(fd)
	switch {
	case errors.Is(err, unix.ENOTCONN) && s.Protocol == collectors.MPTCP && s.State != collectors.SynSent:
		return fmt.Errorf("socket %x has no peer any more: %w", s.Cookie, collectors.ErrGone)
	case err != nil && !errors.Is(err, unix.ENOTCONN): // as in SYN_SENT
		return Classify("peer of socket", err)
	}
	if !isEnd(local, s.Local, s.LocalPort) || err == nil && !isEnd(remote, s.Remote, s.RemotePort) {
		return fmt.Errorf("socket %x is now another connection: %w", s.Cookie, collectors.ErrGone)
	}
	return nil
}

func sameState(fd int, s *collectors.Socket) error {
	if s.Protocol == collectors.MPTCP {
		return sameMPTCP(fd, s)
	}
	now, err := State(fd)
	if err != nil {
		return err
	}
	if now != s.State {
		return fmt.Errorf("socket %x is now %s: %w", s.Cookie, now, collectors.ErrGone)
	}
	return nil
}

func isEnd(sa unix.Sockaddr, addr collectors.Addr, port uint16) bool {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return collectors.AddrFrom(netip.AddrFrom4(sa.Addr)) == addr && sa.Port == int(port)
	case *unix.SockaddrInet6:
		return sa.Addr == addr && sa.Port == int(port)
	}
	return false
}

// One returns the only socket of a target, which must be a connection of TCP.
func One(t actions.Target, what string) (*actions.Sealed, error) {
	s, err := connection(t, what)
	if err == nil && s.Socket.Protocol != collectors.TCP {
		return nil, fmt.Errorf("%s is for TCP", what)
	}
	return s, err
}

// connection returns the one socket of a target, which must be a connection of TCP or MPTCP.
func connection(t actions.Target, what string) (*actions.Sealed, error) {
	if len(t.Sockets) != 1 {
		return nil, fmt.Errorf("%s is for one socket, not %d", what, len(t.Sockets))
	}
	s := &t.Sockets[0]
	if !s.Socket.Protocol.Connects() {
		return nil, fmt.Errorf("%s is for TCP", what)
	}
	if s.Socket.State == collectors.Listen || s.Socket.State == collectors.Close {
		return nil, fmt.Errorf("%s is for connections, not for %s", what, s.Socket.State)
	}
	return s, nil
}

// Holds checks that the process still holds one of the sockets, or a listener for which
// they wait. The error is ErrGone if it has ended, its PID belongs to another process, or
// it holds none.
func Holds(proc *procfs.FS, process *collectors.Owner, sockets []actions.Sealed) error {
	for i := range sockets {
		for _, inode := range sockets[i].Inodes() {
			held, err := proc.Holds(process.PID, process.StartTime, inode)
			if err != nil {
				return err
			}
			if held {
				return nil
			}
		}
	}
	return fmt.Errorf("process %d no longer holds any of the sockets: %w", process.PID, collectors.ErrGone)
}
