package engine

import (
	"fmt"

	"sockwarden/collectors"
)

// portUse is how a local TCP port is used.
type portUse struct {
	connections int // whatever their state
	listens     bool
}

// connections returns how the ports of a namespace are used. One look serves a
// whole cycle.
func (t *harms) connections(c *Picture, ns *namespace) (map[uint16]portUse, error) {
	if m, ok := c.extra.ports[ns]; ok {
		return m, nil
	}
	m := map[uint16]portUse{}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates &^ collectors.Mask(collectors.Close)}
	for s, err := range t.dumps.sockets(ns, q) {
		if err != nil {
			return nil, fmt.Errorf("connections of listeners: %w", err)
		}
		p := m[s.LocalPort]
		if s.State == collectors.Listen {
			p.listens = true
		} else {
			p.connections++
		}
		m[s.LocalPort] = p
	}
	if c.extra.ports == nil {
		c.extra.ports = map[*namespace]map[uint16]portUse{}
	}
	c.extra.ports[ns] = m
	return m, nil
}
