package view

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine"
)

// group is findings that a table shows on one line.
type group struct {
	findings []*engine.Finding
	port     string
}

// groupFindings groups findings of the same kind, rule, state, port, process name and
// place, in the order in which they first appear.
func groupFindings(findings []*engine.Finding, kind func(*engine.Finding) string, port func(*engine.Candidate) string) []*group {
	index := map[string]*group{}
	var groups []*group
	for _, f := range findings {
		c := f.Candidate
		key := fmt.Sprint(kind(f), "\x00", f.Rule.Name, "\x00", c.Socket.Protocol, c.Socket.State, "\x00",
			port(c), "\x00", processName(c), "\x00", where(c))
		g, ok := index[key]
		if !ok {
			g = &group{port: port(c)}
			index[key] = g
			groups = append(groups, g)
		}
		g.findings = append(g.findings, f)
	}
	return groups
}

func (g *group) first() *engine.Finding { return g.findings[0] }

func (g *group) state() string { return stateText(g.first().Candidate) }
func (g *group) where() string { return where(g.first().Candidate) }

// localPort is the port that a rule is about.
func localPort(c *engine.Candidate) string {
	if c.NoSocket() {
		return "-"
	}
	return fmt.Sprint(c.Socket.LocalPort)
}

// servicePort is the port of the service: the peer's if the connection was made from
// here, where the kernel chose the local port.
func servicePort(c *engine.Candidate) string {
	if c.Facts.Known.Has(collectors.FieldDirection) && c.Facts.Direction == "outbound" {
		return fmt.Sprintf("to %d", c.Socket.RemotePort)
	}
	return localPort(c)
}

func (g *group) process() string {
	sockets := make([]*engine.Candidate, len(g.findings))
	for i, f := range g.findings {
		sockets[i] = f.Candidate
	}
	return processesText(sockets)
}

// oldest shows the largest proven age.
func (g *group) oldest() string {
	best := g.first().Facts.Age
	for _, f := range g.findings {
		if f.Facts.Age.Min > best.Min {
			best = f.Facts.Age
		}
	}
	return ageText(best)
}

// idlest shows the longest time without data, if the rule reads it and the ages do not
// say as much.
func (g *group) idlest() string {
	longest, known := 0.0, false
	for _, f := range g.findings {
		if idle, ok := idle(f); ok && !ageCovers(f, idle) {
			longest, known = max(longest, idle), true
		}
	}
	if !known {
		return "-"
	}
	return span(longest)
}

// peers counts the peers' addresses and names the busiest one.
func (g *group) peers() string {
	counts := map[netip.Addr]int{}
	var order []netip.Addr
	for _, f := range g.findings {
		a := f.Socket.Remote.Netip()
		if counts[a] == 0 {
			order = append(order, a)
		}
		counts[a]++
	}
	slices.SortStableFunc(order, func(a, b netip.Addr) int { return counts[b] - counts[a] })
	if len(order) == 1 && len(g.findings) == 1 {
		return peer(g.first().Candidate)
	}
	var names []string
	for _, a := range order[:min(2, len(order))] {
		name := a.String()
		if counts[a] > 1 {
			name += fmt.Sprintf(" x%d", counts[a])
		}
		names = append(names, name)
	}
	text := fmt.Sprintf("%d (%s", len(order), strings.Join(names, ", "))
	if len(order) > 2 {
		text += ", ..."
	}
	return text + ")"
}
