package procfs

import (
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
	// Told says that the process cannot be examined, and that another source reported
	// this. FDs is then negative if the descriptors cannot even be counted.
	Told bool
}

// Found is the result of Search. Add joins several results; Owners takes the whole.
type Found struct {
	// Tables can include several of one process: threads can have their own.
	Tables []Table
	// Unreadable are the processes whose descriptors could not be read. A process can
	// appear once for each of its threads.
	Unreadable []Unreadable
	// Threaded lists the processes with several threads, where it is impossible to tell
	// which of them have their own table (kcmp(2)).
	Threaded []int
}

// Add appends what another search found.
func (f *Found) Add(more Found) {
	f.Tables = append(f.Tables, more.Tables...)
	f.Unreadable = append(f.Unreadable, more.Unreadable...)
	f.Threaded = append(f.Threaded, more.Threaded...)
}

// search is one Search.
type search struct {
	mount   mount
	inodes  map[uint32]bool
	compare bool // kcmp(2) can tell tables of threads from the common one
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

// open opens a process and its descriptor table.
func (s *search) open(pid int) (process, error) {
	dir, err := unix.Open(s.mount.root+"/"+strconv.Itoa(pid)+"/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return process{pid: pid, dir: dir, up: "../"}, nil
}

// threads looks through the tables that threads of a process have to themselves.
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

// table looks through one open table. It reads stat only if the process holds a wanted
// socket: Owners recognizes the process by its start time.
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

// unseen records a process with an unreadable table, unless it is gone or cannot hold
// anything.
func (s *search) unseen(pid int, why error) {
	if isGone(why) {
		return
	}
	u := Unreadable{PID: pid, Err: why}
	p, err := s.mount.open(pid)
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
