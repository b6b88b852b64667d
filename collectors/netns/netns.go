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
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// HostName is the name of the namespace that this process runs in.
const HostName = "host"

// dirs are where ip-netns(8) and docker mount named namespaces.
var dirs = [...]string{"/run/netns", "/run/docker/netns"}

// Handle is a network namespace.
type Handle struct {
	Name  string
	Inode uint64 // of the nsfs file; the kernel reuses it after the namespace is gone
	PID   int    // a process in it, 0 if nobody looked for one
	path  string
}

// Open opens the nsfs file of the namespace. The process through which it was found may
// have ended, or its PID may belong to another one: then Open searches again, by inode.
// The error is fs.ErrNotExist if the namespace is not found.
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
	h.path = all[i].path
	return h.open()
}

func (h Handle) open() (*os.File, error) {
	f, err := os.Open(h.path)
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

// List returns the namespace of this process and all others that have a name or a
// process, the host's first and the rest sorted by name. It cannot find a namespace that
// only an open file or socket keeps alive, and leaves out those of processes that cannot
// be examined.
func List() ([]Handle, error) {
	found, _, err := scan()
	return found, err
}

// Every is List that fails with ErrNotPermitted if there may be others, of processes that
// cannot be examined.
func Every() ([]Handle, error) {
	found, unseen, err := scan()
	if err == nil && unseen > 0 {
		err = fmt.Errorf("network namespaces of %d processes: %w", unseen, collectors.ErrNotPermitted)
	}
	return found, err
}

// scan counts the processes that cannot be examined.
func scan() (all []Handle, unseen int, err error) {
	host, err := Host()
	if err != nil {
		return nil, 0, err
	}
	seen := map[uint64]bool{host.Inode: true}
	var found []Handle
	add := func(name, path string, pid int) {
		var st unix.Stat_t
		err := unix.Stat(path, &st)
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			unseen++
		}
		if err != nil || !isNSFS(path) {
			return
		}
		if seen[st.Ino] {
			if i := slices.IndexFunc(found, func(h Handle) bool { return h.Inode == st.Ino }); i >= 0 && found[i].PID == 0 {
				found[i].PID = pid
			}
			return
		}
		seen[st.Ino] = true
		if name == "" {
			name = fmt.Sprintf("net:[%d]", st.Ino)
		}
		found = append(found, Handle{name, st.Ino, pid, path})
	}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			add(e.Name(), filepath.Join(dir, e.Name()), 0)
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, unseen, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			add("", filepath.Join("/proc", e.Name(), "ns/net"), pid)
		}
	}
	slices.SortFunc(found, func(a, b Handle) int { return strings.Compare(a.Name, b.Name) })
	return append([]Handle{host}, found...), unseen, nil
}

// nsfsMagic is NSFS_MAGIC (include/uapi/linux/magic.h). Until a namespace is mounted on
// it, a file under /run/netns is an empty regular file.
const nsfsMagic = 0x6e736673

func isNSFS(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == nsfsMagic
}

// Select returns the namespaces that a specification names: "host" (also for ""), "all",
// or names separated by commas. For an unknown name the error is a *MissingError.
func Select(spec string) ([]Handle, error) {
	if spec == "" || spec == HostName {
		h, err := Host()
		return []Handle{h}, err
	}
	all, err := List()
	if err != nil || spec == "all" {
		return all, err
	}
	var selected []Handle
	for name := range strings.SplitSeq(spec, ",") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(all, func(h Handle) bool { return h.Name == name })
		if i < 0 {
			i = byOtherName(all, name)
		}
		if i < 0 {
			return nil, missing(name, all)
		}
		if !slices.ContainsFunc(selected, func(h Handle) bool { return h.Inode == all[i].Inode }) {
			selected = append(selected, all[i])
		}
	}
	return selected, nil
}

// byOtherName finds a namespace by a second name, which List does not show; -1 for none.
func byOtherName(all []Handle, name string) int {
	if name != filepath.Base(name) {
		return -1
	}
	for _, dir := range dirs {
		var st unix.Stat_t
		path := filepath.Join(dir, name)
		if unix.Stat(path, &st) != nil || !isNSFS(path) {
			continue
		}
		return slices.IndexFunc(all, func(h Handle) bool { return h.Inode == st.Ino })
	}
	return -1
}

// Do runs f on a thread in the namespace of the open nsfs file. A thread that cannot
// return to its own namespace is never reused.
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
