package procfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// Confirm turns what another source says of the descriptors of processes into
// what Search would have found. By one descriptor of each process it makes sure
// that the PID still is of the process that was meant; where that one is not the
// socket any more, it searches the tables of the process.
func (w *Walk) Confirm(ctx context.Context, held map[int][]Held, inodes map[uint32]bool) (Found, error) {
	s := search{mount: w.mount, inodes: inodes, compare: w.canCompare()}
	for pid, sockets := range held {
		if err := ctx.Err(); err != nil {
			return s.found, err
		}
		slices.SortFunc(sockets, func(a, b Held) int { return a.FD - b.FD })
		t, ok := s.confirm(pid, sockets)
		if !ok {
			s.process(pid)
			continue
		}
		s.found.Tables = append(s.found.Tables, t)
	}
	return s.found, nil
}

// Complete adds what another source says of the descriptors of the processes that
// could not be examined: held is what it found since, by process. Nothing is open of
// those that it visited, if they still are the same. What has ended since takes with
// it what it had.
func (w *Walk) Complete(found *Found, held map[int][]Held, visited map[int]bool) {
	unreadable := found.Unreadable
	found.Unreadable = nil
	told := map[int]bool{}
	for _, u := range unreadable {
		if told[u.PID] {
			continue
		}
		p, st, err := w.openStarted(u.PID, u.StartTime)
		switch {
		case u.Comm != "" && errors.Is(err, collectors.ErrGone):
			continue
		case u.Comm == "" || err != nil:
			found.Unreadable = append(found.Unreadable, u)
			continue
		case !visited[u.PID]:
			p.close()
			found.Unreadable = append(found.Unreadable, u)
			continue
		}
		told[u.PID] = true
		if sockets := held[u.PID]; len(sockets) > 0 {
			found.Tables = append(found.Tables, Table{PID: u.PID, StartTime: st.startTime, FDs: p.descriptors(), Held: sockets, Told: true})
		}
		p.close()
	}
}

// descriptors counts those of a process, whose table may be listed also where it is
// forbidden to see what they are; negative if it may not.
func (p process) descriptors() int {
	fd, err := p.openat("fd", unix.O_DIRECTORY)
	if err != nil {
		return -1
	}
	defer func() { _ = unix.Close(fd) }()
	var names listing
	names.start(fd)
	for total := 0; ; total++ {
		if name, err := names.next(); err != nil {
			return -1
		} else if name == nil {
			return total
		}
	}
}

// confirm returns the table of a process that still has the first of the
// sockets. The size of the directory is the number of descriptors since Linux
// 6.2, before that it is 0.
func (s *search) confirm(pid int, sockets []Held) (Table, bool) {
	p, err := s.open(pid)
	if err != nil {
		return Table{}, false
	}
	defer p.close()
	st, err := p.stat()
	if err != nil {
		return Table{}, false
	}
	link, err := p.readlink(fmt.Sprintf("fd/%d", sockets[0].FD))
	if err != nil || link != fmt.Sprintf("socket:[%d]", sockets[0].Inode) {
		return Table{}, false
	}
	var dir unix.Stat_t
	if err := unix.Fstat(p.dir, &dir); err != nil || dir.Size < int64(len(sockets)) {
		return Table{}, false
	}
	return Table{PID: pid, StartTime: st.startTime, FDs: int(dir.Size), Held: sockets}, true
}
