package scripted

import (
	"context"
	"fmt"
	"os"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

type owners struct{ w *World }

func (o owners) Holders(_ context.Context, inodes map[uint32]bool) (world.Ownership, error) {
	found := world.Ownership{Proven: map[uint32]bool{}, Asked: true}
	found.ByInode = map[uint32][]collectors.Owner{}
	for pid := range o.w.Hidden {
		found.Unreadable = append(found.Unreadable, world.Unreadable{PID: pid, Err: os.ErrPermission})
	}
	for _, s := range o.w.sockets {
		if s.Inode == 0 || !inodes[s.Inode] {
			continue
		}
		seen := slices.DeleteFunc(slices.Clone(s.Owners), func(h collectors.Owner) bool { return o.w.Hidden[h.PID] })
		if len(seen) > 0 {
			found.ByInode[s.Inode], found.Proven[s.Inode] = seen, len(seen) == len(s.Owners)
		}
	}
	return found, nil
}

func (owners) Coverage() world.Coverage { return world.Coverage{} }

func (owners) Unexamined(all []world.Unreadable) string {
	return fmt.Sprintf("process %d cannot be examined", all[0].PID)
}

type processes struct{ w *World }

func (p processes) Glance() world.Glance { return glance(p) }

func (p processes) Together(o *collectors.Owner) ([]collectors.Owner, error) {
	var all []collectors.Owner
	p.w.Walks++
	for _, s := range p.w.sockets {
		for _, other := range s.Owners {
			same := func(seen collectors.Owner) bool { return seen.PID == other.PID }
			if other.Container == o.Container && (o.Container != "" || other.Unit == o.Unit) && !slices.ContainsFunc(all, same) {
				all = append(all, other)
			}
		}
	}
	return all, nil
}

func (p processes) Sockets(o *collectors.Owner) ([]world.Held, error) {
	var all []world.Held
	for i, s := range p.w.sockets {
		if s.holds(o) {
			all = append(all, world.Held{Inode: s.Inode, FD: 3 + i})
		}
	}
	return all, nil
}

func (processes) Borrow(*collectors.Owner, []world.Held, func(world.Borrowed) error) error {
	return nil
}

func (processes) Asleep(context.Context) string { return "" }

// Proxies are those of processes that hold sockets.
func (p processes) Proxies(context.Context) (all []collectors.Proxy) {
	for _, s := range p.w.sockets {
		for i := range s.Owners {
			if one, ok := s.Owners[i].Proxy(); ok {
				all = append(all, one)
			}
		}
	}
	return all
}

func (processes) Hanging() []error { return nil }

func (s *Socket) holds(o *collectors.Owner) bool {
	return slices.ContainsFunc(s.Owners, func(h collectors.Owner) bool { return h.PID == o.PID && h.StartTime == o.StartTime })
}

type glance struct{ w *World }

func (g glance) Holders(owners []collectors.Owner, inode uint32) (now []collectors.Owner, unseen int) {
	for _, s := range g.w.sockets {
		for i := range owners {
			if s.Inode == inode && s.holds(&owners[i]) {
				now = append(now, nameless(owners[i]))
			}
		}
	}
	return now, 0
}

// nameless is a process as /proc shows it: without the names that an engine gives its
// container.
func nameless(o collectors.Owner) collectors.Owner {
	if o.Container != "" {
		o.ContainerNames = collectors.ContainerNames{}
		o.Known.Remove(collectors.ContainerFields())
	}
	return o
}

func (g glance) StillHeld(owners []collectors.Owner, inode uint32) bool {
	now, _ := g.Holders(owners, inode)
	return len(now) == len(owners)
}

func (glance) Close() {}
