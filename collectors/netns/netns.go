// Package netns finds the network namespaces of this host, names them, and runs a
// function inside one.
//
// Comes in: /proc and /run/netns. Goes out: handles to open. An open handle pins its
// namespace, so this package keeps none open.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// HostName is the name of the namespace that this process runs in.
const HostName = "host"

// Handle is a network namespace that was found.
type Handle struct {
	// Name is the first of its names, or net:[inode] where it has none.
	Name string
	// Others are its further names.
	Others []string
	Inode  uint64 // of the nsfs file; reused after the namespace is gone
	PID    int    // a process in it, 0 if none was looked for
	path   string
	socket bool // path is a socket in it
}

// Named reports whether it is one of the names of the namespace.
func (h Handle) Named(name string) bool { return h.Name == name || slices.Contains(h.Others, name) }

// Open opens the nsfs file of the namespace. The process by which it was found
// may be gone since, or be another one: then it is searched again, by its
// inode. The error is fs.ErrNotExist if it is not found.
func (h Handle) Open() (*os.File, error) {
	f, err := h.open()
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	all, listErr := List()
	if listErr != nil {
		return nil, listErr
	}
	i := slices.IndexFunc(all, func(other Handle) bool { return other.Inode == h.Inode })
	if i < 0 {
		return nil, err
	}
	h.path, h.socket = all[i].path, false
	return h.open()
}

func (h Handle) open() (*os.File, error) {
	open := os.Open
	if h.socket {
		open = openBySocket
	}
	f, err := open(h.path)
	if errors.Is(err, fs.ErrPermission) && ended(h.path) {
		err = errors.Join(fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", h.Name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != h.Inode {
		_ = f.Close()
		return nil, fmt.Errorf("open network namespace %s: %s is another one now: %w", h.Name, h.path, errors.Join(fs.ErrNotExist, err))
	}
	return f, nil
}

// ended reports whether a path led through a process that is gone. If a process ends while
// the kernel walks its path, the kernel answers EACCES (proc_ns_get_link in
// fs/proc/namespaces.c).
func ended(path string) bool {
	dir, inProc := strings.CutPrefix(path, "/proc/")
	if !inProc {
		return false
	}
	pid, _, _ := strings.Cut(dir, "/")
	_, err := os.Stat(filepath.Join("/proc", pid))
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// Host returns the namespace of this process.
func Host() (Handle, error) {
	h := Handle{Name: HostName, path: "/proc/thread-self/ns/net"}
	var st unix.Stat_t
	if err := unix.Stat(h.path, &st); err != nil {
		return Handle{}, fmt.Errorf("stat %s: %w", h.path, err)
	}
	h.Inode = st.Ino
	return h, nil
}

// Tour calls visit in each of n namespaces, one after the other, on one thread that goes
// from each to the next, which takes half as long as Do for each. If a namespace cannot be
// opened or entered, visit gets the error, and runs somewhere else.
func Tour(n int, open func(i int) (*os.File, error), visit func(i int, err error)) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer func() { _ = home.Close() }()
		for i := range n {
			visit(i, enter(i, open))
		}
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- nil
	}()
	return <-done
}

// enter takes the thread into a namespace.
func enter(i int, open func(i int) (*os.File, error)) error {
	f, err := open(i)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// Do runs f on a thread that is in the namespace of the open nsfs file. A thread
// that cannot come back is not used again.
func Do(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer func() { _ = home.Close() }()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
