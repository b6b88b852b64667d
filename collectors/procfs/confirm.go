package procfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// Confirm turns another source's list of descriptors into what Search would have found.
// It checks one descriptor of each process to make sure that the PID still belongs to
// that process; if the descriptor is no longer the socket, Confirm searches the tables of
// the process.
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

// Complete adds another source's findings about processes that Search could not examine.
// held is what that source found after Search, by process. A process that it visited is
// settled, if it is still the same one. A process that has ended meanwhile took its
// sockets with it.
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

// descriptors counts the descriptors of a process: listing them may be allowed even where
// reading them is not. It is negative if listing is not allowed either.
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

// confirm returns the table of a process that still holds the first of the sockets. Since
// Linux 6.2 the size of the directory is the number of descriptors; before, it is 0.
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
