package look

import (
	"context"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// inventory holds the TCP sockets of a namespace, from one extra look, to count what
// would die with processes.
type inventory struct {
	netns     uint64              // inode of the nsfs file
	held      map[uint32]uint64   // by inode, the cookies of what is established, 0 for any other state
	queued    []collectors.Socket // established, but not accepted yet
	listeners []collectors.Socket
}

// Inventoried are the states of TCP sockets that a process can hold.
var Inventoried = collectors.Mask(collectors.Established, collectors.Listen, collectors.CloseWait, collectors.SynSent,
	collectors.FinWait1, collectors.FinWait2, collectors.Closing, collectors.LastAck)

// inventory looks at a namespace, once in a cycle.
func (t *Harms) inventory(ctx context.Context, c *Picture, ns *Namespace) (*inventory, error) {
	if p, ok := c.Extra.inventories[ns.Inode]; ok {
		return p, nil
	}
	p := &inventory{netns: ns.Inode, held: map[uint32]uint64{}}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: Inventoried}
	for s, err := range t.Dumps.sockets(ctx, ns, q) {
		if err != nil {
			return nil, err
		}
		established := s.State == collectors.Established
		switch {
		case s.Inode == 0 && established:
			p.queued = append(p.queued, *s)
		case s.Inode != 0 && established:
			p.held[s.Inode] = s.Cookie
		case s.Inode != 0:
			p.held[s.Inode] = 0
		}
		if s.State == collectors.Listen {
			p.listeners = append(p.listeners, *s)
		}
	}
	if c.Extra.inventories == nil {
		c.Extra.inventories = map[uint64]*inventory{}
	}
	c.Extra.inventories[ns.Inode] = p
	return p, nil
}

// around looks at the namespace of another process's socket.
func (t *Harms) around(ctx context.Context, c *Picture, s world.Borrowed) (p *inventory, err error) {
	err = s.Namespace(func(ns *world.Namespace) (err error) {
		p, err = t.inventory(ctx, c, &Namespace{Namespace: *ns})
		return err
	})
	return p, err
}

// shows reports whether a socket is in the inventory.
func (p *inventory) shows(inode uint32) bool {
	_, ok := p.held[inode]
	return ok
}

// count adds the established connections among the sockets of a process, and those that
// wait for one of its listeners to accept them. If several listeners fit, nobody can tell
// which one they wait for: each counts them all. With served those that wait do not count.
func (p *inventory) count(own map[uint32]bool, served bool, found map[Endpoint]int) {
	for inode := range own {
		if cookie := p.held[inode]; cookie != 0 {
			found[Endpoint{p.netns, cookie}] = 1
		}
	}
	if served || len(p.queued) == 0 {
		return
	}
	anyDevice := &Namespace{acceptsVRF: true}
	for i := range p.listeners {
		l := &p.listeners[i]
		if !own[l.Inode] {
			continue
		}
		for k := range p.queued {
			if s := &p.queued[k]; listensFor(l, s) && onDevice(l, s, anyDevice) {
				found[Endpoint{p.netns, s.Cookie}] = 1
			}
		}
	}
}

// countLate adds a socket that the inventory lacks because it is newer, or MPTCP: an
// established connection, or everything in the queue of a listener.
func (p *inventory) countLate(s world.Borrowed, state collectors.State, queued int, found map[Endpoint]int) error {
	if state == collectors.Listen {
		if queued > 0 {
			found[Endpoint{p.netns, 0}] += queued
		}
		return nil
	}
	cookie, err := s.Cookie()
	if err != nil {
		return err
	}
	found[Endpoint{p.netns, cookie}] = 1
	return nil
}
