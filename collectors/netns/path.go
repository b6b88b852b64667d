package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// atPath returns the namespace that a path leads to: a file on which a namespace is mounted,
// the namespace of a process (/proc/PID/ns/net), or one that a process only holds
// (/proc/PID/fd/N), by its file or by a socket in it.
func atPath(all []Handle, path string) (Handle, error) {
	h := Handle{path: filepath.Clean(path)}
	var st unix.Stat_t
	if err := unix.Stat(h.path, &st); err != nil {
		if errors.Is(err, fs.ErrNotExist) || ended(h.path) {
			return h, missing(path, all)
		}
		return h, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	h.socket = st.Mode&unix.S_IFMT == unix.S_IFSOCK
	if !h.socket && !isNSFS(h.path) {
		return h, missing(path, all)
	}
	open := os.Open
	if h.socket {
		open = openBySocket
	}
	f, err := open(h.path)
	if err != nil {
		return h, fmt.Errorf("network namespace %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err == nil && kind != unix.CLONE_NEWNET { // Linux 4.11
		return h, missing(path, all)
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return h, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if i := slices.IndexFunc(all, func(o Handle) bool { return o.Inode == st.Ino }); i >= 0 {
		return all[i], nil
	}
	h.Inode, h.Name = st.Ino, nameless(st.Ino)
	return h, nil
}

// ProcessOf returns the process that a path leads through, 0 for none: later on, the number
// in the path may belong to another process.
func ProcessOf(path string) int {
	rest, inProc := strings.CutPrefix(filepath.Clean(path), "/proc/")
	number, _, below := strings.Cut(rest, "/")
	pid, err := strconv.Atoi(number)
	if !inProc || !below || err != nil || pid < 1 {
		return 0
	}
	return pid
}

// OfProcess returns the path of the namespace that a process is in.
func OfProcess(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

// openBySocket opens the namespace of a socket that a process holds, by the path of its
// descriptor. It takes Linux 5.6, the right to ptrace the process and CAP_NET_ADMIN.
func openBySocket(path string) (*os.File, error) {
	pid, number := ProcessOf(path), filepath.Base(path)
	theirs, err := strconv.Atoi(number)
	if pid == 0 || err != nil || filepath.Base(filepath.Dir(path)) != "fd" {
		return nil, fmt.Errorf("%s is a socket, and not one that a process holds (/proc/PID/fd/N): %w", path, fs.ErrNotExist)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, classed(err))
	}
	defer func() { _ = unix.Close(pidfd) }()
	fd, err := unix.PidfdGetfd(pidfd, theirs, 0)
	if err != nil {
		return nil, fmt.Errorf("open descriptor %d of process %d: %w", theirs, pid, classed(err))
	}
	defer func() { _ = unix.Close(fd) }()
	ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return nil, fmt.Errorf("network namespace of descriptor %d of process %d: %w", theirs, pid, classed(err))
	}
	return os.NewFile(uintptr(ns), path), nil
}

// classed makes the error fs.ErrNotExist if the process or file is gone.
func classed(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOTTY) {
		return errors.Join(fs.ErrNotExist, err)
	}
	return err
}
