package procfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Table is a descriptor table in which wanted sockets were found.
type Table struct {
	PID       int
	StartTime uint64 // of the process: field 22 of /proc/PID/stat
	FDs       int    // how many descriptors it has in all
	Held      []Held // in the order of descriptors
	// Told says that the process cannot be examined, and another source told this.
	// FDs is negative then if descriptors cannot even be counted.
	Told bool
}

// Unreadable is a process of which it could not be seen what it holds.
type Unreadable struct {
	PID  int
	Comm string // "" if not even that can be read
	// StartTime is field 22 of /proc/PID/stat, if Comm could be read.
	StartTime uint64
	Err       error
}

// Found is what Search came upon. That of several searches is put together with
// Add and understood by Owners.
type Found struct {
	// Tables can be several of one process: threads can have their own.
	Tables []Table
	// Unreadable are the processes whose descriptors could not be seen. One can be
	// in it for each of its threads.
	Unreadable []Unreadable
	// Threaded lists the processes with several threads, if it cannot be told
	// here which of these have a table of their own (kcmp(2)).
	Threaded []int
}

// Add puts what another search found behind what is there.
func (f *Found) Add(more Found) {
	f.Tables = append(f.Tables, more.Tables...)
	f.Unreadable = append(f.Unreadable, more.Unreadable...)
	f.Threaded = append(f.Threaded, more.Threaded...)
}

// PIDs lists the processes that there are.
func (f *FS) PIDs() ([]int, error) {
	fd, err := unix.Open(f.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("list processes: open %s: %w", f.root, err)
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

// Search looks through the descriptor tables of some processes for the sockets
// with the given inodes. Several can run at the same time, each with a part of
// PIDs: they write nothing in common, and only read the inodes. It describes
// nobody; Owners does.
func (f *FS) Search(ctx context.Context, pids []int, inodes map[uint32]bool) (Found, error) {
	s := search{fs: f, inodes: inodes}
	if len(inodes) == 0 {
		return s.found, ctx.Err()
	}
	s.compare = f.canCompare()
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return s.found, err
		}
		s.process(pid)
	}
	return s.found, nil
}

// Unreadable returns the processes that cannot be examined, whatever they hold: it
// takes much less time than Search, as it looks at one descriptor of each.
func (f *FS) Unreadable(ctx context.Context) ([]Unreadable, error) {
	pids, err := f.PIDs()
	if err != nil {
		return nil, err
	}
	s := search{fs: f}
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

// examinable tries whether it may be seen what a descriptor of the open table is.
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

// search is one Search.
type search struct {
	fs      *FS
	inodes  map[uint32]bool
	compare bool // tables of threads can be told from the common one
	reader  tableReader
	found   Found
}

// process looks through the tables of one process.
func (s *search) process(pid int) {
	p, err := s.open(pid)
	if err != nil {
		s.unseen(pid, err)
		return
	}
	defer p.close()
	st, err := s.table(p, p.dir)
	if err != nil {
		s.unseen(pid, err)
		return
	}
	threads := st.threads
	if threads == 0 {
		threads = p.threads()
	}
	switch {
	case threads < 2:
	case s.compare:
		s.threads(p)
	default:
		s.found.Threaded = append(s.found.Threaded, pid)
	}
}

// open opens the table of a process, and with it the process.
func (s *search) open(pid int) (process, error) {
	dir, err := unix.Open(s.fs.root+"/"+strconv.Itoa(pid)+"/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return process{pid: pid, dir: dir, up: "../"}, nil
}

// threads looks through the tables that threads of a process have of their own.
func (s *search) threads(p process) {
	for _, table := range p.threadTables(&s.reader.names, s.compare) {
		fd, err := p.openat(table, unix.O_DIRECTORY)
		if err == nil {
			_, err = s.table(p, fd)
			_ = unix.Close(fd)
		}
		if err != nil {
			s.unseen(p.pid, err)
		}
	}
}

// table looks through one open table. Only of a process that holds a wanted
// socket it reads stat: by its start time Owners knows it again.
func (s *search) table(p process, fd int) (stat, error) {
	total, err := s.reader.read(fd, s.inodes)
	if err != nil || len(s.reader.held) == 0 {
		return stat{}, err
	}
	st, err := p.stat()
	if err != nil {
		return stat{}, err
	}
	s.found.Tables = append(s.found.Tables, Table{PID: p.pid, StartTime: st.startTime, FDs: total, Held: slices.Clone(s.reader.held)})
	return st, nil
}

// unseen notes a process of which a table could not be read, unless it is gone
// or cannot hold anything.
func (s *search) unseen(pid int, why error) {
	if isGone(why) {
		return
	}
	u := Unreadable{PID: pid, Err: why}
	p, err := s.fs.open(pid)
	var st stat
	if err == nil {
		st, err = p.stat()
		p.close()
	}
	if isGone(err) || err == nil && st.holdsNothing() {
		return
	}
	if err == nil {
		u.Comm, u.StartTime = st.comm, st.startTime
	}
	s.found.Unreadable = append(s.found.Unreadable, u)
}
