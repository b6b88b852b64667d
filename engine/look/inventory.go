package look

import (
	"context"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// inventory is what one extra look showed of the TCP sockets of a namespace, to
// count what would die with processes.
type inventory struct {
	netns     uint64              // inode of the nsfs file
	held      map[uint32]uint64   // by inode, the cookies of what is established, 0 for any other state
	queued    []collectors.Socket // established, and nobody has accepted them
	listeners []collectors.Socket
}

// Inventoried are the states in which a process can have a socket of TCP.
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

// around looks at the namespace that a socket of another process is in.
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

// count adds the established connections of who holds the sockets, and those that
// wait to be accepted by one of them. Which of several listeners that fit these
// wait for cannot be told: each has them all.
func (p *inventory) count(own map[uint32]bool, found map[Endpoint]int) {
	for inode := range own {
		if cookie := p.held[inode]; cookie != 0 {
			found[Endpoint{p.netns, cookie}] = 1
		}
	}
	if len(p.queued) == 0 {
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

// countLate adds what is not in the inventory as it came later, or is of MPTCP: an
// established connection, or all that a listener has in its queue.
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
