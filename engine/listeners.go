package engine

import (
	"context"
	"fmt"

	"sockwarden/collectors"
)

// findListeners fills in direction and listener_process where they are read,
// and the listeners of sockets that wait to be accepted.
func (e *Engine) findListeners(ctx context.Context, c *cycle) {
	reads := c.program.Reads&collectors.ListenerFields() != 0
	for _, cand := range c.candidates {
		if !reads && !collectors.Unaccepted(&cand.Socket) {
			continue
		}
		e.loadListeners(ctx, c, cand.ns)
		setDirection(cand)
	}
}

func (e *Engine) loadListeners(ctx context.Context, c *cycle, ns *namespace) {
	if ns.asked {
		return
	}
	ns.asked = true
	err := inside(ns, func() (err error) {
		ns.PortLow, ns.PortHigh, err = e.proc.EphemeralPorts()
		return err
	})
	if err != nil {
		e.log.Debug("ephemeral ports unknown", "netns", ns.Name, "error", err)
	}
	fd, closeNS, err := openNS(ns)
	if err != nil {
		c.fail(err)
		return
	}
	defer closeNS()
	for _, source := range e.opts.Sources {
		var found []collectors.Socket
		if found, err = listeners(ctx, source.New(fd)); err == nil {
			ns.listeners, ns.listening = found, true
			return
		}
	}
	c.fail(fmt.Errorf("listeners of namespace %s: %w", ns.Name, err))
}

func listeners(ctx context.Context, source collectors.Collector) (all []collectors.Socket, err error) {
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.Listen)}
	for s, err := range source.Collect(ctx, q) {
		if err != nil {
			return nil, err
		}
		all = append(all, *s)
	}
	return all, nil
}

// listenerOf returns the listener that a connection came in by, the one with
// its address before the one for all.
func listenerOf(cand *Candidate) *collectors.Socket {
	s := &cand.Socket
	var any *collectors.Socket
	for i := range cand.ns.listeners {
		l := &cand.ns.listeners[i]
		if l.LocalPort != s.LocalPort || l.Family != s.Family {
			continue
		}
		switch {
		case l.Local == s.Local:
			return l
		case l.Local.IsZero():
			any = l
		}
	}
	return any
}

func setDirection(cand *Candidate) {
	s := &cand.Socket
	if s.Protocol != collectors.TCP || s.State == collectors.Listen || s.RemotePort == 0 || !cand.ns.listening {
		return
	}
	switch l := listenerOf(cand); {
	case l != nil:
		cand.Facts.Direction = "inbound"
	case cand.ns.PortHigh > 0 && s.LocalPort >= cand.ns.PortLow && s.LocalPort <= cand.ns.PortHigh:
		cand.Facts.Direction = "outbound"
	default:
		return
	}
	cand.Facts.Known |= collectors.Fields(collectors.FieldDirection)
}

func (e *Engine) listenerWanted(c *cycle, cand *Candidate) *collectors.Socket {
	if !c.program.Reads.Has(collectors.FieldListenerProcess) && !collectors.Unaccepted(&cand.Socket) {
		return nil
	}
	return listenerOf(cand)
}
