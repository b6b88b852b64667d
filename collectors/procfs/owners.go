package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// FS reads a tree such as /proc. Of its methods only PIDs and Search are safe
// for concurrent use.
type FS struct {
	recent map[int]recentTable // of HeldLately
	root   string
	users  map[uint32]string
	hung   map[int]hungRead // by PID
}

// New returns an FS for the tree at root, "" for /proc.
func New(root string) *FS {
	if root == "" {
		root = "/proc"
	}
	return &FS{root: root}
}

func (f *FS) path(parts ...string) string {
	return filepath.Join(append([]string{f.root}, parts...)...)
}

// Holds reports whether the process pid that started at startTime still has the
// socket in a descriptor table. It is ErrGone if that process is no more, and
// ErrNotPermitted if its tables cannot be read.
func (f *FS) Holds(pid int, startTime uint64, inode uint32) (bool, error) {
	p, st, err := f.openStarted(pid, startTime)
	if err != nil {
		return false, err
	}
	defer p.close()
	if st.holdsNothing() {
		return false, nil
	}
	wanted := map[uint32]bool{inode: true}
	held, _, err := p.sockets("fd", wanted)
	if err != nil {
		return false, classify(err)
	}
	return len(held) > 0 || len(f.ofThreads(p, &st, wanted)) > 0, nil
}

// classify adds the sentinel of package collectors that an error stands for.
// Anything else, such as too many open files, says nothing about the process.
func classify(err error) error {
	switch {
	case isGone(err):
		return fmt.Errorf("%w: %w", collectors.ErrGone, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", collectors.ErrNotPermitted, err)
	}
	return err
}

// isGone reports whether an error of a file of a process means that there is no
// such process, thread or descriptor any more.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// Describe returns what is known about one process; its descriptors are counted
// if they can be listed. The error is ErrGone if there is no such process.
func (f *FS) Describe(pid int) (collectors.Owner, error) {
	p, err := f.open(pid)
	if err != nil {
		return collectors.Owner{}, classify(err)
	}
	defer p.close()
	var o collectors.Owner
	if err := f.describe(p, &o); err != nil {
		return collectors.Owner{}, classify(err)
	}
	if _, total, err := p.sockets("fd", nil); err == nil {
		o.FDs = total
		o.Known.Add(collectors.Fields(collectors.FieldFDs))
	}
	return o, nil
}

// Running reports whether the process pid that started at startTime is still
// running; one that only waits for its parent (a zombie) is not.
func (f *FS) Running(pid int, startTime uint64) (bool, error) {
	p, err := f.open(pid)
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer p.close()
	st, err := p.stat()
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return st.startTime == startTime && !st.ended(), nil
}

// Parent returns the PID of the parent of a process.
func (f *FS) Parent(pid int) (int, error) {
	p, err := f.open(pid)
	if err != nil {
		return 0, err
	}
	defer p.close()
	st, err := p.stat()
	return st.parent, err
}
