package procfs

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// threads returns how many threads the process has, 0 if it is gone. The kernel
// adds them to the links of the directory task, which is cheaper to ask for than
// stat; a tree that is not of the kernel need not.
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

// threadTables returns the descriptor tables of threads that do not certainly
// share the common one (CLONE_FILES unshared), relative to the directory of the
// process: there are hardly any. Without compare that cannot be told of any. It
// lists the threads by names.
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

// ofThreads returns which of the wanted sockets (nil: all) threads of a process
// hold in tables of their own; those that cannot be read are left out.
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

// canCompare reports whether the numbers in the tree are those that system calls
// of this process take, and the kernel has kcmp(2).
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
