package procfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// FS reads a tree such as /proc. It is not safe for concurrent use.
type FS struct {
	recent map[int]recentTable // of HeldLately
	root   string
	users  map[uint32]string
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

// Holders says who holds the sockets that were asked for.
type Holders struct {
	// ByInode lists the owners of each socket that was found, ordered by PID.
	ByInode map[uint32][]collectors.Owner
	// Unreadable counts the processes whose descriptors could not be seen. If
	// it is 0 and a socket is still not found, no process has it in its table:
	// it is in flight between processes, or the kernel's own.
	Unreadable int
}

// add notes an owner in its place, once for each process.
func (h *Holders) add(inode uint32, o collectors.Owner) {
	owners := h.ByInode[inode]
	i, found := slices.BinarySearchFunc(owners, o.PID, func(o collectors.Owner, pid int) int { return o.PID - pid })
	if !found {
		h.ByInode[inode] = slices.Insert(owners, i, o)
	}
}

// Holders searches all processes for the sockets with the given inodes. Seeing
// other users' processes takes CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE.
func (f *FS) Holders(ctx context.Context, inodes map[uint32]bool) (Holders, error) {
	h := Holders{ByInode: make(map[uint32][]collectors.Owner, len(inodes))}
	if len(inodes) == 0 {
		return h, nil
	}
	pids, err := f.pids()
	if err != nil {
		return h, err
	}
	var threaded []int
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return h, err
		}
		threads := f.searchProcess(pid, "fd", inodes, &h)
		if threads > 1 {
			threaded = append(threaded, pid)
		}
	}
	f.searchThreads(ctx, threaded, inodes, &h)
	return h, ctx.Err()
}

func (f *FS) pids() ([]int, error) {
	dir, err := os.Open(f.root)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// searchProcess looks through one descriptor table, described once for all
// sockets in it, and returns how many threads the process has.
func (f *FS) searchProcess(pid int, table string, inodes map[uint32]bool, h *Holders) (threads int) {
	p, err := f.open(pid)
	if err != nil {
		return 0
	}
	defer p.close()
	held, total, err := p.sockets(table, inodes)
	switch {
	case errors.Is(err, fs.ErrPermission):
		if st, err := p.stat(); err != nil || !st.holdsNothing() {
			h.Unreadable++
		}
		return 0
	case err != nil:
		return 0
	}
	if len(held) > 0 {
		var o collectors.Owner
		if f.describe(p, &o) != nil {
			return 0
		}
		o.FDs = total
		o.Known |= collectors.Fields(collectors.FieldFDs)
		for _, s := range held {
			o.FD = s.fd
			h.add(s.inode, o)
		}
	}
	if st, err := p.stat(); err == nil {
		return st.threads
	}
	return 0
}

// searchThreads looks into the tables that threads have of their own
// (CLONE_FILES unshared): there are hardly any. Where that cannot be told, it
// looks into those of all threads, but only for sockets that nobody has so far.
func (f *FS) searchThreads(ctx context.Context, pids []int, inodes map[uint32]bool, h *Holders) {
	if !f.canCompare() {
		missing := make(map[uint32]bool)
		for i := range inodes {
			if _, ok := h.ByInode[i]; !ok {
				missing[i] = true
			}
		}
		if inodes = missing; len(inodes) == 0 {
			return
		}
	}
	for _, pid := range pids {
		for _, table := range f.threadTables(pid) {
			if ctx.Err() != nil {
				return
			}
			f.searchProcess(pid, table, inodes, h)
		}
	}
}

// threadTables returns the descriptor tables of threads that do not certainly
// share the common one, relative to the directory of the process.
func (f *FS) threadTables(pid int) []string {
	tids, err := os.ReadDir(f.path(strconv.Itoa(pid), "task"))
	if err != nil {
		return nil
	}
	compare := f.canCompare()
	var tables []string
	for _, e := range tids {
		tid, err := strconv.Atoi(e.Name())
		if err != nil || tid == pid || (compare && sameTable(pid, tid)) {
			continue
		}
		tables = append(tables, filepath.Join("task", e.Name(), "fd"))
	}
	return tables
}

// canCompare reports whether the numbers in the tree are those that system calls
// of this process take, and the kernel has kcmp(2).
func (f *FS) canCompare() bool {
	self, err := os.Readlink(f.path("self"))
	return err == nil && self == strconv.Itoa(os.Getpid()) && sameTable(os.Getpid(), os.Getpid())
}

const kcmpFiles = 2 // KCMP_FILES (include/uapi/linux/kcmp.h)

// sameTable reports whether two threads certainly share their descriptors.
func sameTable(a, b int) bool {
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
	return errno == 0 && order == 0
}

type descriptor struct {
	fd    int
	inode uint32
}

// sockets returns which of the wanted sockets (nil: all) a descriptor table
// holds, and how many descriptors it has in all.
func (p process) sockets(table string, inodes map[uint32]bool) (held []descriptor, total int, err error) {
	fd, err := unix.Openat(int(p.dir.Fd()), table, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("open %s of process %d: %w", table, p.pid, err)
	}
	dir := os.NewFile(uintptr(fd), table)
	defer func() { _ = dir.Close() }()
	var link [64]byte
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			total++
			n, err := unix.Readlinkat(fd, name, link[:])
			if err != nil {
				if errors.Is(err, unix.EACCES) {
					return nil, 0, fmt.Errorf("read %s of process %d: %w", table, p.pid, err)
				}
				continue // closed meanwhile
			}
			inode, ok := socketInode(link[:n])
			if !ok || inodes != nil && !inodes[inode] {
				continue
			}
			num, err := strconv.Atoi(name)
			if err == nil {
				held = append(held, descriptor{num, inode})
			}
		}
		if err != nil {
			return held, total, nil
		}
	}
}

// socketInode reads a link such as socket:[12345].
func socketInode(link []byte) (uint32, bool) {
	s, ok := strings.CutPrefix(string(link), "socket:[")
	if !ok || !strings.HasSuffix(s, "]") {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	return uint32(n), err == nil && n != 0
}

// Holds reports whether the process pid that started at startTime still has the
// socket in a descriptor table. It is ErrGone if that process is no more, and
// ErrNotPermitted if its tables cannot be read.
func (f *FS) Holds(pid int, startTime uint64, inode uint32) (bool, error) {
	p, err := f.open(pid)
	if err != nil {
		return false, classify(err)
	}
	defer p.close()
	st, err := p.stat()
	if err != nil {
		return false, classify(err)
	}
	if st.startTime != startTime {
		return false, fmt.Errorf("process %d of start time %d: %w", pid, startTime, collectors.ErrGone)
	}
	if st.holdsNothing() {
		return false, nil
	}
	wanted := map[uint32]bool{inode: true}
	held, _, err := p.sockets("fd", wanted)
	if err != nil {
		return false, classify(err)
	}
	if len(held) > 0 || st.threads < 2 {
		return len(held) > 0, nil
	}
	for _, table := range f.threadTables(pid) {
		if held, _, err := p.sockets(table, wanted); err == nil && len(held) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// classify adds the sentinel of package collectors that an error stands for.
// Anything else, such as too many open files, says nothing about the process.
func classify(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH):
		return fmt.Errorf("%w: %w", collectors.ErrGone, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", collectors.ErrNotPermitted, err)
	}
	return err
}

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
		o.Known |= collectors.Fields(collectors.FieldFDs)
	}
	return o, nil
}

// IsKernelThread reports whether pid is a thread of the kernel.
func (f *FS) IsKernelThread(pid int) bool {
	p, err := f.open(pid)
	if err != nil {
		return false
	}
	defer p.close()
	st, err := p.stat()
	return err == nil && st.kernel
}

// Running reports whether the process pid that started at startTime is still
// running; one that only waits for its parent (a zombie) is not.
func (f *FS) Running(pid int, startTime uint64) (bool, error) {
	p, err := f.open(pid)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer p.close()
	st, err := p.stat()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
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
