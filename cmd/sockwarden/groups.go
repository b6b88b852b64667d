package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine"
)

// group is findings that a table shows as one line.
type group struct{ findings []*engine.Finding }

// groupFindings puts findings of the same kind, rule, state, port, process name
// and place together, in the order in which they first appear.
func groupFindings(findings []*engine.Finding, kind func(*engine.Finding) string) []*group {
	index := map[string]*group{}
	var groups []*group
	for _, f := range findings {
		key := fmt.Sprint(kind(f), "\x00", f.Rule.Name, "\x00", f.Socket.Protocol, f.Socket.State, "\x00", servicePort(f.Candidate), "\x00", processName(f.Candidate), "\x00", where(f.Candidate))
		g, ok := index[key]
		if !ok {
			g = &group{}
			index[key] = g
			groups = append(groups, g)
		}
		g.findings = append(g.findings, f)
	}
	return groups
}

func (g *group) first() *engine.Finding { return g.findings[0] }

func (g *group) state() string { return stateText(g.first().Candidate) }
func (g *group) port() string  { return fmt.Sprint(servicePort(g.first().Candidate)) }
func (g *group) where() string { return where(g.first().Candidate) }

func stateText(c *engine.Candidate) string {
	if c.NoSocket() {
		return "(none)"
	}
	if c.Socket.Protocol == collectors.UDP {
		return "udp " + c.Socket.State.String()
	}
	return c.Socket.State.String()
}

// servicePort is the port that a group is about: the local one.
func servicePort(c *engine.Candidate) uint16 { return c.Socket.LocalPort }

// process names the process, or how many of that name there are, and how many others
// hold the sockets, too.
func (g *group) process() string {
	owners := g.first().Facts.Owners
	if len(owners) == 0 {
		return processText(g.first().Candidate)
	}
	alike, others := map[int]bool{}, map[int]bool{}
	for _, f := range g.findings {
		for i := range f.Facts.Owners {
			if o := &f.Facts.Owners[i]; o.Name == owners[0].Name {
				alike[o.PID] = true
			} else {
				others[o.PID] = true
			}
		}
	}
	switch {
	case len(alike) == 1 && len(others) == 0:
		return processText(g.first().Candidate)
	case len(alike) == 1:
		return fmt.Sprintf("%s +%d", &owners[0], len(others))
	case len(others) == 0:
		return fmt.Sprintf("%s (%d)", owners[0].Name, len(alike))
	}
	return fmt.Sprintf("%s (%d) +%d", owners[0].Name, len(alike), len(others))
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

// peers counts the peers' addresses and names the busiest.
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

func processName(c *engine.Candidate) string {
	if len(c.Facts.Owners) > 0 {
		return c.Facts.Owners[0].Name
	}
	return processText(c)
}

// processText shows who has a socket, or why nobody does.
func processText(c *engine.Candidate) string {
	switch {
	case len(c.Facts.Owners) > 1:
		return fmt.Sprintf("%s[%d] +%d", c.Facts.Owners[0].Name, c.Facts.Owners[0].PID, len(c.Facts.Owners)-1)
	case len(c.Facts.Owners) == 1:
		o := &c.Facts.Owners[0]
		return fmt.Sprintf("%s[%d]%s", o.Name, o.PID, proxied(o))
	case c.NoSocket():
		return "-"
	case collectors.Unaccepted(&c.Socket) && c.Facts.ListenerProcess() != "":
		return fmt.Sprintf("(unaccepted by %s[%d])", c.Facts.ListenerProcess(), c.Facts.ListenerOwner.PID)
	case collectors.Unaccepted(&c.Socket):
		return "(unaccepted)"
	case collectors.Orphaned(&c.Socket):
		return "(orphan)"
	case c.Socket.Inode == 0:
		return "-"
	}
	return "(not visible)"
}

// proxied names what stands behind a docker-proxy, by its arguments.
func proxied(o *collectors.Owner) string {
	if o.Name != "docker-proxy" {
		return ""
	}
	args := strings.Fields(o.Cmdline)
	ip, port := "", ""
	for i := 0; i+1 < len(args); i++ {
		switch args[i] {
		case "-container-ip":
			ip = args[i+1]
		case "-container-port":
			port = args[i+1]
		}
	}
	if ip == "" {
		return ""
	}
	return fmt.Sprintf(" for container %s:%s", ip, port)
}

// where shows the namespace, and the container by its short id.
func where(c *engine.Candidate) string {
	place := c.Namespace()
	for i := range c.Facts.Owners {
		if id := c.Facts.Owners[i].Container; id != "" {
			return "container:" + id[:12]
		}
	}
	return place
}

func peer(c *engine.Candidate) string {
	if c.NoSocket() || c.Socket.RemotePort == 0 && c.Socket.Remote.IsZero() {
		return "-"
	}
	return netip.AddrPortFrom(c.Socket.Remote.Netip(), c.Socket.RemotePort).String()
}

func local(c *engine.Candidate) string {
	return netip.AddrPortFrom(c.Socket.Local.Netip(), c.Socket.LocalPort).String()
}
