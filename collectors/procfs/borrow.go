package procfs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// Sockets is SocketInodes with one descriptor for each socket; -1 if only threads with
// their own table hold it.
func (d *Descriptors) Sockets(pid int, startTime uint64) ([]Held, error) {
	held, ofThreads, err := d.socketsOf(pid, startTime)
	if err != nil {
		return nil, err
	}
	for _, s := range ofThreads {
		held = append(held, Held{s.Inode, -1})
	}
	slices.SortFunc(held, func(a, b Held) int { return cmp.Or(cmp.Compare(a.Inode, b.Inode), -cmp.Compare(a.FD, b.FD)) })
	return slices.CompactFunc(held, func(a, b Held) bool { return a.Inode == b.Inode }), nil
}

// Borrow calls visit with a duplicate of each given socket of the process pid that
// started at startTime, until visit fails, and closes the duplicate afterwards. It
// duplicates only TCP and MPTCP sockets and skips what the process has closed meanwhile.
// It takes Linux 5.6 and the right to ptrace the process: otherwise the error is
// ErrNotSupported or ErrNotPermitted.
func (d *Descriptors) Borrow(pid int, startTime uint64, held []Held, visit func(h Held, fd int) error) error {
	if len(held) == 0 {
		return nil
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer func() { _ = unix.Close(pidfd) }()
		var p process
		if p, _, err = d.openStarted(pid, startTime); err == nil { // so the pidfd is of this very process
			p.close()
		}
	}
	if isGone(err) || errors.Is(err, collectors.ErrGone) {
		return nil
	}
	for _, h := range held {
		if !d.mayBeTCP(pid, h.FD) {
			continue
		}
		switch {
		case h.FD < 0:
			return fmt.Errorf("only a thread of process %d holds a socket: %w", pid, collectors.ErrNotSupported)
		case err != nil:
			return unborrowed(pid, err)
		}
		fd, err := unix.PidfdGetfd(pidfd, h.FD, 0)
		if isGone(err) || errors.Is(err, unix.EBADF) {
			continue
		}
		if err != nil {
			return unborrowed(pid, err)
		}
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && st.Ino == uint64(h.Inode) {
			err = visit(h, fd)
		}
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

func unborrowed(pid int, err error) error {
	what := fmt.Errorf("open a socket of process %d: %w", pid, err)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", collectors.ErrNotPermitted, what)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: %w", collectors.ErrNotSupported, what)
	}
	return what
}

// mayBeTCP reports whether a descriptor is, or may be, a TCP or MPTCP socket.
func (d *Descriptors) mayBeTCP(pid, fd int) bool {
	if fd < 0 {
		return true
	}
	name := make([]byte, 32)
	n, err := unix.Getxattr(d.path(strconv.Itoa(pid), "fd", strconv.Itoa(fd)), "system.sockprotoname", name)
	if isGone(err) {
		return false
	}
	return err != nil || bytes.Contains(name[:n], []byte("TCP"))
}
