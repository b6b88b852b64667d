package view

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules/lang"
)

func stateText(c *engine.Candidate) string {
	if c.NoSocket() {
		return "(none)"
	}
	if p := c.Socket.Protocol; p != collectors.TCP {
		return p.String() + " " + c.Socket.State.String()
	}
	return c.Socket.State.String()
}

func processName(c *engine.Candidate) string {
	if len(c.Facts.Owners) > 0 {
		return c.Facts.Owners[0].Name
	}
	return processText(c)
}

// processText shows who holds a socket, or why nobody does.
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

// processesText names the process that holds sockets, or says how many of that name there
// are, and how many others hold them, too. The first owners all have the same name.
func processesText(sockets []*engine.Candidate) string {
	first := sockets[0]
	owners := first.Facts.Owners
	if len(owners) == 0 {
		return nobodyText(sockets)
	}
	alike, others := map[int]bool{}, map[int]bool{}
	for _, c := range sockets {
		for i := range c.Facts.Owners {
			if o := &c.Facts.Owners[i]; o.Name == owners[0].Name {
				alike[o.PID] = true
			} else {
				others[o.PID] = true
			}
		}
	}
	switch {
	case len(alike) == 1 && len(others) == 0:
		return processText(first)
	case len(alike) == 1:
		return fmt.Sprintf("%s +%d", &owners[0], len(others))
	case len(others) == 0:
		return fmt.Sprintf("%s (%d)", owners[0].Name, len(alike))
	}
	return fmt.Sprintf("%s (%d) +%d", owners[0].Name, len(alike), len(others))
}

// nobodyText says why nobody holds the sockets, if the reason is the same for all.
func nobodyText(sockets []*engine.Candidate) string {
	text := processText(sockets[0])
	for _, c := range sockets {
		if processText(c) != text {
			return "(none)"
		}
	}
	return text
}

// proxied names the destination of a docker-proxy, from its arguments.
func proxied(o *collectors.Owner) string {
	if p, ok := o.Proxy(); ok {
		return fmt.Sprintf(" for container %s", p.Container)
	}
	return ""
}

// where shows the container that has the socket, or that is behind its docker-proxy, or the
// namespace.
func where(c *engine.Candidate) string {
	if name := collectors.Behind(c.Facts.Owners); name != "" {
		return "for " + name
	}
	if name := collectors.ContainerOf(c.Facts.Owners); name != "" {
		return name + service(c.Facts.Owners)
	}
	return c.Namespace()
}

// service is the service of Compose behind the name of its container, in brackets, where
// that name does not tell: Compose's own does (rustdesk-hbbs-1).
func service(owners []collectors.Owner) string {
	for i := range owners {
		o := &owners[i]
		if o.Container == "" {
			continue
		}
		if !o.Known.Has(collectors.FieldComposeService) || strings.Contains(o.ContainerName, o.ComposeService) {
			return ""
		}
		return " (" + o.ComposeService + ")"
	}
	return ""
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

func timerText(s *collectors.Socket) string {
	if s.Timer == collectors.TimerNone {
		return "-"
	}
	text := fmt.Sprintf("%s %s", s.Timer, span(float64(s.TimerExpires)/1000))
	if s.Retransmits > 0 {
		text += fmt.Sprintf(" (%d)", s.Retransmits)
	}
	return text
}

func fdsText(c *engine.Candidate) string {
	if len(c.Facts.Owners) == 0 {
		return "-"
	}
	o := &c.Facts.Owners[0]
	if !o.Known.Has(collectors.FieldFDLimit) {
		return fmt.Sprint(o.FDs)
	}
	return fmt.Sprintf("%d/%d", o.FDs, o.FDLimit)
}

// cell shows one field; ? means unknown.
func cell(c *engine.Candidate, f collectors.Field) string {
	if f == collectors.FieldAge {
		return ageText(c.Facts.Age)
	}
	switch v := value(c, f).(type) {
	case nil:
		return "?"
	case float64:
		if f != collectors.FieldRTT {
			v = collectors.Rounded(v)
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	case string:
		if v == "" {
			return "-"
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// value returns a field as in JSON, nil if it is unknown.
func value(c *engine.Candidate, f collectors.Field) any {
	r := c.Record()
	v, _ := collectors.Value(f, &r)
	return v
}

// ageText shows an age: 3h12m if it is exact, >=3h12m for a lower bound, ? if nothing is
// known.
func ageText(a collectors.Age) string {
	const exact = 1.0 // seconds between the bounds
	switch {
	case a.Source == collectors.AgeNone || a.Source == "":
		return "?"
	case a.Bounded && a.Max-a.Min <= exact:
		return span(a.Min)
	}
	return ">=" + span(a.Min)
}

// idle is the idle time that the rule went by: the shortest of those that its condition
// reads. It is false if the condition reads none, or none is known.
func idle(f *engine.Finding) (seconds float64, known bool) {
	if f.Rule.When == nil || f.NoSocket() {
		return 0, false
	}
	for asked := range f.Rule.When.Reads.And(lang.IdleFields()).Each {
		if v, ok := value(f.Candidate, asked).(float64); ok && (!known || v < seconds) {
			seconds, known = v, true
		}
	}
	return seconds, known
}

func idleText(f *engine.Finding) string {
	seconds, ok := idle(f)
	if !ok || ageCovers(f, seconds) {
		return "-"
	}
	return span(seconds)
}

// ageCovers reports whether the age says as much: data stopped moving no later than the
// socket is proven to have entered its state.
func ageCovers(f *engine.Finding, idle float64) bool {
	return f.Facts.Age.Min > 0 && idle >= f.Facts.Age.Min
}

// span shows seconds in the two largest units.
func span(seconds float64) string {
	s := int(math.Floor(seconds))
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%dh", s/86400, s/3600%24)
}
