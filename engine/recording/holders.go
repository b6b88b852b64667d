package recording

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

type owners struct{ w *World }

// Holders finds the owners of sockets.
func (o owners) Holders(_ context.Context, inodes map[uint32]bool) (world.Ownership, error) {
	found := world.Ownership{Proven: map[uint32]bool{}}
	found.ByInode = make(map[uint32][]collectors.Owner, len(inodes))
	if o.w.rec.Sight.Unexamined != "" {
		found.Unreadable = []world.Unreadable{{}}
	}
	for inode := range inodes {
		s := o.w.index.byInode[inode]
		if s == nil || inode == 0 {
			continue
		}
		if len(s.Holders) > 0 {
			found.ByInode[inode] = o.w.ownersOf(s)
		}
		if s.AllHolders {
			found.Proven[inode] = true
		}
	}
	return found, nil
}

// ownersOf are the processes that had a socket, as /proc showed them then.
func (w *World) ownersOf(s *Socket) []collectors.Owner {
	all := make([]collectors.Owner, len(s.Holders))
	for i, h := range s.Holders {
		all[i] = w.owner(h.Process)
		all[i].FD = h.FD
	}
	return all
}

// owner is a process without what an engine says of its container.
func (w *World) owner(i int) collectors.Owner {
	o := w.rec.Processes[i].Owner
	if o.LeadsTo = ""; o.Container != "" {
		o.ContainerNames = collectors.ContainerNames{}
		o.Known.Remove(collectors.ContainerFields())
	}
	if o.Known.Has(collectors.FieldProcessAge) {
		o.Age += w.clock.later().Seconds()
	}
	return o
}

// Coverage says which processes could not be seen. What /proc hid altogether is among
// those that could not be examined.
func (o owners) Coverage() world.Coverage {
	s := &o.w.rec.Sight
	return world.Coverage{Inside: s.Inside, HostInit: s.HostInit, Foreign: s.Foreign}
}

// Unexamined says which processes could not be examined.
func (o owners) Unexamined([]world.Unreadable) string { return o.w.rec.Sight.Unexamined }

type processes struct{ w *World }

// Glance shows who had sockets.
func (p processes) Glance() world.Glance { return glance(p) }

// Together returns the processes of a unit or container.
func (p processes) Together(o *collectors.Owner) (all []collectors.Owner, err error) {
	for _, whole := range p.w.rec.Wholes {
		of := &p.w.rec.Processes[whole.Of]
		if of.Container != o.Container || o.Container == "" && of.Unit != o.Unit {
			continue
		}
		if whole.Err != "" {
			return nil, errors.New(whole.Err)
		}
		for _, m := range whole.Members {
			all = append(all, p.w.owner(m))
		}
		return all, nil
	}
	return nil, errNotRecorded
}

// Sockets returns the sockets that a process had. Of a selection they are not all known.
func (p processes) Sockets(o *collectors.Owner) ([]world.Held, error) {
	i, ok := p.w.index.process[processKey{o.PID, o.StartTime}]
	switch {
	case !ok:
		return nil, collectors.ErrGone
	case p.w.rec.Partial:
		return nil, errNotRecorded
	case p.w.rec.Processes[i].NotExamined != "":
		return nil, errors.New(p.w.rec.Processes[i].NotExamined)
	}
	all := slices.Clone(p.w.index.held[i])
	for k := range p.w.rec.Processes[i].Elsewhere {
		all = append(all, world.Held{Inode: p.w.rec.Processes[i].Elsewhere[k].Inode})
	}
	return all, nil
}

// Borrow shows the sockets of a process in other namespaces.
func (p processes) Borrow(o *collectors.Owner, held []world.Held, visit func(world.Borrowed) error) error {
	i, ok := p.w.index.process[processKey{o.PID, o.StartTime}]
	if !ok {
		return collectors.ErrGone
	}
	for k := range p.w.rec.Processes[i].Elsewhere {
		e := &p.w.rec.Processes[i].Elsewhere[k]
		if !slices.ContainsFunc(held, func(h world.Held) bool { return h.Inode == e.Inode }) {
			continue
		}
		if err := visit(borrowed{e}); err != nil {
			return err
		}
	}
	return nil
}

// Asleep names nobody.
func (processes) Asleep(context.Context) string { return "" }

// Proxies are the docker-proxies that ran.
func (p processes) Proxies(context.Context) []collectors.Proxy {
	all, _ := proxiesOf(p.w.rec.Proxies) // Read has checked them
	return all
}

// Hanging is empty: nothing hangs any more.
func (processes) Hanging() []error { return nil }

type glance struct{ w *World }

// Holders returns those of the owners that had the socket.
func (g glance) Holders(all []collectors.Owner, inode uint32) (now []collectors.Owner, unseen int) {
	s := g.w.index.byInode[inode]
	if s == nil {
		return nil, 0
	}
	for _, o := range g.w.ownersOf(s) {
		if slices.ContainsFunc(all, func(was collectors.Owner) bool { return was.PID == o.PID && was.StartTime == o.StartTime }) {
			now = append(now, o)
		}
	}
	return now, 0
}

// StillHeld reports whether each of the owners had it.
func (g glance) StillHeld(all []collectors.Owner, inode uint32) bool {
	now, _ := g.Holders(all, inode)
	return len(now) == len(all)
}

// Close does nothing.
func (glance) Close() {}

// borrowed is a socket of a process in a namespace that is not in the recording.
type borrowed struct{ e *Elsewhere }

// Inode is its inode.
func (b borrowed) Inode() uint32 { return b.e.Inode }

// State is its state, and what a listener has queued.
func (b borrowed) State() (collectors.State, int, error) {
	state, _ := collectors.ParseState(b.e.State) // Read has checked it
	return state, b.e.Queued, nil
}

// Cookie is its cookie.
func (b borrowed) Cookie() (uint64, error) { return b.e.Cookie, nil }

// Namespace calls use with its namespace, of which nothing else is known.
func (b borrowed) Namespace(use func(*world.Namespace) error) error {
	return use(&world.Namespace{Namespace: collectors.Namespace{Inode: b.e.NetNS}})
}

type containers struct{ w *World }

// Lookup returns what engines said.
func (c containers) Lookup(_ context.Context, groups []string) map[string]world.Container {
	found := maps.Clone(c.w.rec.Containers)
	maps.DeleteFunc(found, func(group string, _ world.Container) bool { return !slices.Contains(groups, group) })
	return found
}

// At names the containers that docker-proxies led to.
func (c containers) At(_ context.Context, ends []netip.AddrPort) (map[netip.AddrPort]string, error) {
	names := map[netip.AddrPort]string{}
	for i := range c.w.rec.Processes {
		o := &c.w.rec.Processes[i].Owner
		if p, ok := o.Proxy(); ok && o.LeadsTo != "" && slices.Contains(ends, p.Container) {
			names[p.Container] = o.LeadsTo
		}
	}
	return names, nil
}
