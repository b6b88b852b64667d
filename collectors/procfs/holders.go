package procfs

import (
	"cmp"
	"context"
	"slices"

	"sockwarden/collectors"
)

// Holders says who holds the wanted sockets.
type Holders struct {
	// ByInode lists the owners of each socket that was found, ordered by PID.
	ByInode map[uint32][]collectors.Owner
	// Unreadable are the processes whose descriptors could not be read. If there are none
	// and a socket still has no owner here, no process has it in its table: it is in
	// flight between processes, or belongs to the kernel.
	Unreadable []Unreadable
}

// Holders searches all processes for the sockets with the given inodes. Other users'
// processes take CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE. It is PIDs, Search and Owners in
// one.
func (w *Walk) Holders(ctx context.Context, inodes map[uint32]bool) (Holders, error) {
	h := Holders{ByInode: map[uint32][]collectors.Owner{}}
	if len(inodes) == 0 {
		return h, nil
	}
	pids, err := w.PIDs()
	if err != nil {
		return h, err
	}
	found, err := w.Search(ctx, pids, inodes)
	if err != nil {
		return h, err
	}
	return w.Owners(ctx, inodes, found)
}

// Owners describes the processes in whose tables Search found the sockets with the given
// inodes, each once. It leaves out processes that have ended since.
func (w *Walk) Owners(ctx context.Context, inodes map[uint32]bool, found Found) (Holders, error) {
	tables := slices.Clone(found.Tables)
	more, err := w.searchThreads(ctx, inodes, &found)
	tables = append(tables, more.Tables...)
	slices.SortStableFunc(tables, func(a, b Table) int { return cmp.Compare(a.PID, b.PID) })
	n := 0
	for i := range tables {
		n += len(tables[i].Held)
	}
	h := Holders{ByInode: make(map[uint32][]collectors.Owner, min(n, len(inodes))), Unreadable: slices.Concat(found.Unreadable, more.Unreadable)}
	if err != nil {
		return h, err
	}
	var (
		o     collectors.Owner
		known bool
	)
	for i := range tables {
		t := &tables[i]
		if i == 0 || t.PID != tables[i-1].PID {
			if err := ctx.Err(); err != nil {
				return h, err
			}
			o, known = w.owner(t.PID, &h)
		}
		if known && o.StartTime == t.StartTime {
			h.add(t, &o)
		}
	}
	return h, nil
}

// owner describes a process for Owners, if it still exists.
func (w *Walk) owner(pid int, h *Holders) (o collectors.Owner, known bool) {
	p, err := w.open(pid)
	if err == nil {
		err = w.processes.describe(p, &o)
		p.close()
	}
	if err != nil && !isGone(err) {
		h.Unreadable = append(h.Unreadable, Unreadable{PID: pid, Err: err})
	}
	return o, err == nil
}

// perBlock is how many owners share a block of memory: large enough to save allocations,
// small enough that keeping one owner does not keep all.
const perBlock = 64

// add records the process of a table as an owner of each socket in it, once per socket.
// Tables come in the order of PIDs.
func (h *Holders) add(t *Table, o *collectors.Owner) {
	var block []collectors.Owner
	o.FDs, o.Told = max(0, t.FDs), t.Told
	o.Known.Remove(collectors.Fields(collectors.FieldFDs))
	if t.FDs >= 0 {
		o.Known.Add(collectors.Fields(collectors.FieldFDs))
	}
	for i, s := range t.Held {
		o.FD = s.FD
		owners := h.ByInode[s.Inode]
		switch n := len(owners); {
		case n > 0 && owners[n-1].PID == o.PID:
		case n > 0:
			h.ByInode[s.Inode] = append(owners, *o)
		default:
			if len(block) == 0 {
				block = make([]collectors.Owner, min(perBlock, len(t.Held)-i))
			}
			block[0] = *o
			h.ByInode[s.Inode], block = block[:1:1], block[1:]
		}
	}
}

// searchThreads looks into the tables of all threads where nobody can tell which of them
// have their own, but only for sockets that have no owner so far.
func (w *Walk) searchThreads(ctx context.Context, inodes map[uint32]bool, found *Found) (Found, error) {
	if len(found.Threaded) == 0 {
		return Found{}, ctx.Err()
	}
	missing := make(map[uint32]bool)
	for i := range inodes {
		missing[i] = true
	}
	for i := range found.Tables {
		for _, s := range found.Tables[i].Held {
			delete(missing, s.Inode)
		}
	}
	s := search{mount: w.mount, inodes: missing}
	for _, pid := range found.Threaded {
		if err := ctx.Err(); err != nil || len(missing) == 0 {
			return s.found, err
		}
		p, err := s.open(pid)
		if err != nil {
			s.unseen(pid, err)
			continue
		}
		s.threads(p)
		p.close()
	}
	return s.found, nil
}
