package world

import (
	"context"
	"slices"

	"sockwarden/collectors"
	"sockwarden/collectors/bpf"
	"sockwarden/collectors/procfs"
)

// Ownership is what was found out about who holds sockets.
type Ownership struct {
	procfs.Holders
	// Proven are the sockets that nobody else holds, whoever cannot be seen.
	Proven map[uint32]bool
	// Asked says that the kernel was asked, by BPF.
	Asked bool
}

// census is a scan of all descriptors that the kernel shows.
type census struct {
	held    map[int][]procfs.Held // by process, what is wanted
	visited map[int]bool          // processes of which it showed something
	sockets map[uint32]tallied
	sound   bool // what it says of references can be believed
}

// tallied compares the descriptors of a socket that the scan came upon with how many
// there are of it. Where both are the same, no process has it that the scan did not
// show: one that is hidden, or of another PID namespace. More references than
// descriptors do not prove the contrary, as a system call under way has one, too.
type tallied struct {
	first      place
	more       []place
	references int64 // the most that were seen
}

// place is an entry of a descriptor table.
type place struct {
	table uint64
	fd    int
	pid   int // which one of those that share the table does not matter
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
		if h.PID != last { // those of one process come together
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

// proves reports whether all who hold a socket are among its owners. Who had it
// when the scan came by and is not an owner has given it away meanwhile, perhaps
// to somebody who is hidden.
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

// open reports whether there are wanted sockets of which the scan alone does not tell who holds
// them all.
func (s *census) open(wanted map[uint32]bool) bool {
	for inode := range wanted {
		if t, ok := s.sockets[inode]; !ok || !s.sound || int64(1+len(t.more)) != t.references {
			return true
		}
	}
	return false
}
