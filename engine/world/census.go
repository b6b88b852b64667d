package world

import (
	"context"
	"slices"

	"sockwarden/collectors"
	"sockwarden/collectors/bpf"
	"sockwarden/collectors/procfs"
)

// Ownership is what we know about who holds sockets.
type Ownership struct {
	procfs.Holders
	// Proven are the sockets of which we know all holders, whoever else is invisible.
	Proven map[uint32]bool
	// Asked says that we asked the kernel, through BPF.
	Asked bool
}

// census is the result of a scan of all descriptors that the kernel shows.
type census struct {
	held    map[int][]procfs.Held // the wanted sockets, by process
	visited map[int]bool          // processes that the scan saw
	sockets map[uint32]tallied
	sound   bool // its reference counts can be trusted
}

// tallied compares the number of a socket's descriptors that the scan saw with the number
// that exist. If they are equal, no process that the scan did not show holds it: neither
// a hidden one nor one in another PID namespace. More references than descriptors do not
// prove the opposite: a running system call has a reference, too.
type tallied struct {
	first      place
	more       []place
	references int64 // the highest count seen
}

// place is an entry of a descriptor table.
type place struct {
	table uint64
	fd    int
	pid   int // any of those that share the table
}

func (t *tallied) add(h bpf.Holder) {
	t.references = max(t.references, h.References)
	p := place{h.Table, h.FD, h.PID}
	same := func(q place) bool { return q.table == p.table && q.fd == p.fd }
	switch {
	case t.first == place{}:
		t.first = p
	case !same(t.first) && !slices.ContainsFunc(t.more, same):
		t.more = append(t.more, p)
	}
}

// takeCensus scans all descriptors for the wanted sockets.
func takeCensus(ctx context.Context, by *bpf.Owners, wanted map[uint32]bool) (*census, error) {
	s := &census{held: map[int][]procfs.Held{}, visited: map[int]bool{}, sockets: make(map[uint32]tallied, len(wanted))}
	last := 0
	err := by.Scan(ctx, func(h bpf.Holder) bool {
		if h.PID != last { // those of one process come in a row
			s.visited[h.PID], last = true, h.PID
		}
		if h.Inode != 0 && wanted[h.Inode] {
			s.held[h.PID] = append(s.held[h.PID], procfs.Held{Inode: h.Inode, FD: h.FD})
			t := s.sockets[h.Inode]
			t.add(h)
			s.sockets[h.Inode] = t
		}
		return true
	})
	s.sound = by.Sound()
	return s, err
}

// proves reports whether the socket's owners are all of its holders. A holder that the
// scan saw and that is no owner now has passed the socket on meanwhile, perhaps to a
// hidden process.
func (s *census) proves(inode uint32, owners []collectors.Owner) bool {
	t, ok := s.sockets[inode]
	if !ok || !s.sound || int64(1+len(t.more)) != t.references {
		return false
	}
	isOwner := func(p place) bool {
		return slices.ContainsFunc(owners, func(o collectors.Owner) bool { return o.PID == p.pid })
	}
	return isOwner(t.first) && !slices.ContainsFunc(t.more, func(p place) bool { return !isOwner(p) })
}

// open reports whether the scan alone leaves open who holds some of the wanted sockets.
func (s *census) open(wanted map[uint32]bool) bool {
	for inode := range wanted {
		if t, ok := s.sockets[inode]; !ok || !s.sound || int64(1+len(t.more)) != t.references {
			return true
		}
	}
	return false
}
