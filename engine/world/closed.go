package world

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/stuck"
)

// A namespace that cannot be entered shows what processes in it hold: their descriptors can
// be borrowed without entering it (pidfd_getfd), and abort works on these. What nobody
// holds does not show, nor do listeners: a look that must be complete fails.

// errSeen ends a walk through descriptors.
var errSeen = errors.New("seen enough")

// heldConnections calls visit, as long as it returns true, with each TCP connection of the
// namespace that a process in it holds.
func heldConnections(ctx context.Context, ns *Namespace, visit func(*collectors.Socket) bool) error {
	proc := procfs.New("")
	pids, err := proc.PIDs()
	if err != nil {
		return err
	}
	seen := map[uint64]bool{}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return fmt.Errorf("look at processes: %w", context.Cause(ctx))
		}
		var st unix.Stat_t
		if unix.Stat(netns.OfProcess(pid), &st) != nil || st.Ino != ns.Inode {
			continue
		}
		err := connectionsOf(proc, pid, func(fd int) error {
			s, err := sockdiag.OfDescriptor(fd)
			if err != nil || seen[s.Cookie] || !isIn(fd, ns.Inode) {
				return nil //nolint:nilerr // it is no connection, or of another namespace
			}
			seen[s.Cookie] = true
			if s.NetNS == 0 {
				s.NetNS = ns.Inode
			}
			if !visit(&s) {
				return errSeen
			}
			return nil
		})
		switch {
		case errors.Is(err, errSeen):
			return nil
		case err != nil && !errors.Is(err, collectors.ErrGone):
			return err
		}
	}
	return nil
}

// connectionsOf calls visit with duplicates of the TCP sockets of a process.
func connectionsOf(proc *procfs.FS, pid int, visit func(fd int) error) error {
	started, err := proc.StartTime(pid)
	if err != nil {
		return err
	}
	held, err := proc.Sockets(pid, started)
	if err != nil {
		return err
	}
	held = slices.DeleteFunc(held, func(h procfs.Held) bool { return h.FD < 0 }) // of a thread alone: it cannot be borrowed
	return proc.Borrow(pid, started, held, func(_ procfs.Held, fd int) error { return visit(fd) })
}

// isIn reports whether a socket is in the namespace: a process can hold some of others.
func isIn(fd int, inode uint64) bool {
	file, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(file) }()
	var st unix.Stat_t
	return unix.Fstat(file, &st) == nil && st.Ino == inode
}

// collectClosed is Collect for a namespace that cannot be entered.
func collectClosed(ctx context.Context, ns *Namespace, source collectors.Plugin, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		states, _ := q.For(collectors.TCP)
		if !source.Actionable || !slices.Contains(q.Protocols, collectors.TCP) || states == collectors.Mask(collectors.Listen) {
			yield(nil, ns.closed)
			return
		}
		more := true
		err := heldConnections(ctx, ns, func(s *collectors.Socket) bool {
			if k := collectors.KeyOf(s); q.Covers(&k) {
				more = yield(s, nil)
			}
			return more
		})
		if err != nil && more {
			yield(nil, errors.Join(ns.closed, err))
		}
	}
}

// lookUpClosed is LookUp for a namespace that cannot be entered. What no process in it
// holds any more is gone.
func lookUpClosed(ctx context.Context, ns *Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error) {
	byCookie := map[uint64]collectors.Socket{}
	var failed error
	if hung := stuck.Do(ctx, "the sockets of "+ns.Name, func() {
		failed = heldConnections(ctx, ns, func(s *collectors.Socket) bool {
			byCookie[s.Cookie] = *s
			return true
		})
	}); hung != nil {
		return nil, nil, hung
	}
	if failed != nil {
		return nil, nil, failed
	}
	now, errs := make([]collectors.Socket, len(socks)), make([]error, len(socks))
	for i, s := range socks {
		found, ok := byCookie[s.Cookie]
		if now[i] = found; !ok {
			errs[i] = fmt.Errorf("no process in namespace %s holds it: %w", ns.Name, collectors.ErrGone)
		}
	}
	return now, errs, nil
}
