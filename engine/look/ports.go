package look

import (
	"context"
	"fmt"

	"sockwarden/collectors"
)

// portUse is how a local TCP port is used.
type portUse struct {
	Connections int // whatever their state
	Listens     bool
}

// Connections returns the use of each local port of a namespace. One look serves a whole
// cycle.
func (t *Harms) Connections(ctx context.Context, c *Picture, ns *Namespace) (map[uint16]portUse, error) {
	if m, ok := c.Extra.Ports[ns]; ok {
		return m, nil
	}
	m := map[uint16]portUse{}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates &^ collectors.Mask(collectors.Close)}
	for s, err := range t.Dumps.sockets(ctx, ns, q) {
		if err != nil {
			return nil, fmt.Errorf("connections of listeners: %w", err)
		}
		p := m[s.LocalPort]
		if s.State == collectors.Listen {
			p.Listens = true
		} else {
			p.Connections++
		}
		m[s.LocalPort] = p
	}
	if c.Extra.Ports == nil {
		c.Extra.Ports = map[*Namespace]map[uint16]portUse{}
	}
	c.Extra.Ports[ns] = m
	return m, nil
}
