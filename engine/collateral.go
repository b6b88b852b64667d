package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sockwarden/actions"
	"sockwarden/collectors"
)

// harm is what dies with a process or unit besides what was decided on.
type harm struct {
	name        string   // of the process or unit
	connections []uint32 // inodes of its established connections
	err         error    // why they could not be counted, nil if they were
}

// exceeds returns why the harm is more than a rule allows, "" if it is not. A
// negative limit is none; what cannot be told is too much for any other.
func (h *harm) exceeds(limit int) string {
	switch {
	case limit < 0:
	case h.err != nil:
		return fmt.Sprintf("max_collateral %d: how many established connections would die with %s cannot be told: %v", limit, h.name, h.err)
	case len(h.connections) > limit:
		return fmt.Sprintf("max_collateral %d: %d established connection(s) would die with %s", limit, len(h.connections), h.name)
	}
	return ""
}

// collateral counts the established connections of a process, or of all
// processes of its unit if the action is for that, in the namespace of the
// socket. One look serves a whole cycle.
func (e *Engine) collateral(c *cycle, cand *Candidate, o *collectors.Owner, plugin *actions.Plugin) harm {
	key := targetKey(o, plugin)
	if h, ok := c.collateral[key]; ok {
		return h
	}
	h := harm{name: fmt.Sprintf("%s[%d]", o.Name, o.PID)}
	var established map[uint32]bool
	if established, h.err = e.established(c, cand.ns); h.err == nil {
		if plugin.OnUnit && o.Unit != "" {
			h.name = o.Unit
			h.connections, h.err = e.ofUnit(established, o.Unit)
		} else {
			h.connections, h.err = e.ofProcess(established, o)
		}
	}
	if h.err != nil {
		e.log.Warn("collateral unknown", "process", o.Name, "pid", o.PID, "error", h.err)
	}
	if c.collateral == nil {
		c.collateral = map[string]harm{}
	}
	c.collateral[key] = h
	return h
}

// ofProcess returns those of the sockets that a process has; of one that is no
// more there are none.
func (e *Engine) ofProcess(sockets map[uint32]bool, o *collectors.Owner) ([]uint32, error) {
	inodes, err := e.proc.SocketInodes(o.PID, o.StartTime)
	if errors.Is(err, collectors.ErrGone) {
		return nil, nil
	}
	slices.Sort(inodes) // a socket can have several descriptors
	return slices.DeleteFunc(slices.Compact(inodes), func(i uint32) bool { return !sockets[i] }), err
}

// ofUnit returns those of the sockets that processes of a unit have.
func (e *Engine) ofUnit(sockets map[uint32]bool, unit string) (inodes []uint32, err error) {
	holders, err := e.holders(context.Background(), sockets)
	if err != nil {
		return nil, fmt.Errorf("owners of sockets: %w", err)
	}
	if holders.Unreadable > 0 {
		return nil, fmt.Errorf("%d process(es) cannot be read: %w", holders.Unreadable, collectors.ErrNotPermitted)
	}
	for inode, owners := range holders.ByInode {
		if slices.ContainsFunc(owners, func(o collectors.Owner) bool { return o.Unit == unit }) {
			inodes = append(inodes, inode)
		}
	}
	return inodes, nil
}

// died says how many of the connections are no longer established now that the
// process of a ladder has ended, "" if it had none. A connection that another
// process has, too, lives on.
func (e *Engine) died(l *ladder) string {
	total := len(l.harm.connections)
	if total == 0 || l.process == nil {
		return ""
	}
	alive, err := e.established(&cycle{}, l.findings[0].ns)
	if err != nil {
		return fmt.Sprintf("how many of its %d established connection(s) died with it cannot be told: %v", total, err)
	}
	dead := 0
	for _, i := range l.harm.connections {
		if !alive[i] {
			dead++
		}
	}
	if dead == total {
		return fmt.Sprintf("%d established connection(s) died with it", dead)
	}
	return fmt.Sprintf("%d of its %d established connection(s) died with it", dead, total)
}

// established returns the inodes of the established TCP connections of a
// namespace.
func (e *Engine) established(c *cycle, ns *namespace) (map[uint32]bool, error) {
	if m, ok := c.established[ns]; ok {
		return m, nil
	}
	m := map[uint32]bool{}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.Established)}
	for s, err := range e.sockets(ns, q) {
		if err != nil {
			return nil, err
		}
		if s.Inode != 0 {
			m[s.Inode] = true
		}
	}
	if c.established == nil {
		c.established = map[*namespace]map[uint32]bool{}
	}
	c.established[ns] = m
	return m, nil
}

// sockets streams an extra look at a namespace.
func (e *Engine) sockets(ns *namespace, q collectors.Query) func(func(*collectors.Socket, error) bool) {
	return func(yield func(*collectors.Socket, error) bool) {
		fd, closeNS, err := openNS(ns)
		if err != nil {
			yield(nil, err)
			return
		}
		defer closeNS()
		for s, err := range e.opts.Sources[0].New(fd).Collect(context.Background(), q) {
			if !yield(s, err) {
				return
			}
		}
	}
}
