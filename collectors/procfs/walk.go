package procfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Walk looks at all processes: which of them hold sockets, and which cannot be examined.
type Walk struct {
	mount
	processes *Processes // describes the owners
}

// Unreadable is a process whose descriptors we could not read.
type Unreadable struct {
	PID  int
	Comm string // "" if not even that can be read
	// StartTime is field 22 of /proc/PID/stat, if Comm could be read.
	StartTime uint64
	Err       error
}

// Search looks through the descriptor tables of some processes for the sockets with the
// given inodes. Several searches can run at the same time, each with a part of the PIDs:
// they share nothing but the inodes, which they only read. Search describes nobody;
// Owners does.
func (w *Walk) Search(ctx context.Context, pids []int, inodes map[uint32]bool) (Found, error) {
	s := search{mount: w.mount, inodes: inodes}
	if len(inodes) == 0 {
		return s.found, ctx.Err()
	}
	s.compare = w.canCompare()
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return s.found, err
		}
		s.process(pid)
	}
	return s.found, nil
}

// Unreadable returns the processes that cannot be examined, whatever they hold. It is
// much faster than Search: it looks at one descriptor of each process.
func (w *Walk) Unreadable(ctx context.Context) ([]Unreadable, error) {
	pids, err := w.PIDs()
	if err != nil {
		return nil, err
	}
	s := search{mount: w.mount}
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, err := s.open(pid)
		if err == nil {
			err = p.examinable(&s.reader.names)
			p.close()
		}
		if err != nil {
			s.unseen(pid, err)
		}
	}
	return s.found.Unreadable, nil
}

// examinable tries to read what one descriptor of the open table is.
func (p process) examinable(names *listing) error {
	names.start(p.dir)
	name, err := names.next()
	if err != nil || name == nil {
		return err
	}
	var link [64]byte
	if _, err = unix.Readlinkat(p.dir, string(name), link[:]); errors.Is(err, unix.EACCES) {
		return fmt.Errorf("readlink: %w", err)
	}
	return nil
}

// OpenFiles returns how many files are open on this machine (/proc/sys/fs/file-nr), 0 if
// unknown.
func (w *Walk) OpenFiles() int {
	b, err := os.ReadFile(w.path("sys", "fs", "file-nr"))
	fields := strings.Fields(string(b))
	if err != nil || len(fields) == 0 {
		return 0
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		return 0
	}
	return n
}
