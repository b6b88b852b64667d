package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// mount is the root of the tree: it lists and opens processes.
type mount struct{ root string }

func (m mount) path(parts ...string) string {
	return filepath.Join(append([]string{m.root}, parts...)...)
}

// PIDs lists the processes.
func (m mount) PIDs() ([]int, error) {
	fd, err := unix.Open(m.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("list processes: open %s: %w", m.root, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var (
		names listing
		pids  []int
	)
	names.start(fd)
	for {
		name, err := names.next()
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		if name == nil {
			return pids, nil
		}
		if pid, ok := number(name); ok {
			pids = append(pids, pid)
		}
	}
}

// Self returns this process's number in the tree. The error is fs.ErrNotExist where the
// tree shows a PID namespace that this process is not in.
func (m mount) Self() (int, error) {
	link, err := os.Readlink(m.path("self"))
	if err != nil {
		return 0, fmt.Errorf("own process: %w", err)
	}
	pid, err := strconv.Atoi(link)
	if err != nil {
		return 0, fmt.Errorf("own process: %w", err)
	}
	return pid, nil
}

func (m mount) open(pid int) (process, error) {
	dir, err := unix.Open(m.path(strconv.Itoa(pid)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return process{pid: pid, dir: dir}, nil
}

// openStarted opens the process pid that started at startTime. The error is ErrGone if
// that process has ended.
func (m mount) openStarted(pid int, startTime uint64) (process, stat, error) {
	p, err := m.open(pid)
	if err != nil {
		return process{}, stat{}, classify(err)
	}
	st, err := p.stat()
	if err == nil && st.startTime != startTime {
		err = fmt.Errorf("process %d of start time %d: %w", pid, startTime, collectors.ErrGone)
	}
	if err != nil {
		p.close()
		return process{}, stat{}, classify(err)
	}
	return p, st, nil
}

// classify adds the sentinel error of package collectors that matches. Any other error,
// such as too many open files, says nothing about the process.
func classify(err error) error {
	switch {
	case isGone(err):
		return fmt.Errorf("%w: %w", collectors.ErrGone, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", collectors.ErrNotPermitted, err)
	}
	return err
}

// isGone reports whether an error on a process's file means that the process, thread or
// descriptor no longer exists.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }
