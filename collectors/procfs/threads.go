package procfs

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// threads returns how many threads the process has, 0 if it is gone. The kernel counts
// them in the link count of the directory task, which is cheaper to read than stat; a
// tree that the kernel did not make need not do so.
func (p process) threads() int {
	var task unix.Stat_t
	if unix.Fstatat(p.dir, p.up+"task", &task, 0) == nil && task.Nlink > 2 {
		return int(task.Nlink) - 2
	}
	st, err := p.stat()
	if err != nil {
		return 0
	}
	return st.threads
}

// threadTables returns the descriptor tables of threads that may not share the common one
// (CLONE_FILES unshared), relative to the directory of the process. There are hardly any.
// Without compare every thread may have its own. It lists the threads through names.
func (p process) threadTables(names *listing, compare bool) (tables []string) {
	fd, err := p.openat("task", unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	names.start(fd)
	for {
		name, err := names.next()
		if err != nil || name == nil {
			return tables
		}
		tid, ok := number(name)
		if !ok || tid == p.pid || (compare && sameTable(p.pid, tid)) {
			continue
		}
		tables = append(tables, "task/"+strconv.Itoa(tid)+"/fd")
	}
}

// ofThreads returns the wanted sockets (nil: all) that threads of a process hold in their
// own tables; it skips tables that cannot be read.
func (m mount) ofThreads(p process, st *stat, inodes map[uint32]bool) (held []Held) {
	if st.threads < 2 {
		return nil
	}
	for _, table := range p.threadTables(&listing{}, m.canCompare()) {
		if more, _, err := p.sockets(table, inodes); err == nil {
			held = append(held, more...)
		}
	}
	return held
}

// canCompare reports whether the tree's numbers are those of this process's system calls,
// and the kernel has kcmp(2).
func (m mount) canCompare() bool {
	self, err := os.Readlink(m.path("self"))
	return err == nil && self == strconv.Itoa(os.Getpid()) && sameTable(os.Getpid(), os.Getpid())
}

const kcmpFiles = 2 // KCMP_FILES (include/uapi/linux/kcmp.h)

// sameTable reports whether two threads certainly share their descriptors.
func sameTable(a, b int) bool {
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
	return errno == 0 && order == 0
}
