package draft

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
)

// mostNames is how many ports or processes a condition may list: more say that neither is
// what the sockets have in common.
const mostNames = 5

// addAnchors ties the rule to a service, if the selection does not: without a port, a
// process or the like it would be about every program of the host.
func (d *draft) addAnchors() {
	if d.given.Meets(rules.Anchors().AndNot(collectors.Fields(collectors.FieldRemoteAddr))) {
		return
	}
	before := len(d.parts)
	d.addPorts()
	d.add("process", d.processes())
	if len(d.parts) == before {
		d.notes = append(d.notes, "They have no port and no process in common: say what the rule is about.")
	}
}

// addPorts names the port that a service is known by: the local one of its own sockets,
// the remote one of its clients', whose own means nothing.
func (d *draft) addPorts() {
	var local, remote []string
	for _, c := range d.Sockets {
		switch {
		case d.leftOut(c):
		case c.Facts.Known.Has(collectors.FieldDirection) && c.Facts.Direction == "outbound":
			remote = append(remote, strconv.Itoa(int(c.Socket.RemotePort)))
		default:
			local = append(local, strconv.Itoa(int(c.Socket.LocalPort)))
		}
	}
	local, remote = distinct(local), distinct(remote)
	switch {
	case len(local)+len(remote) > mostNames:
	case len(local) > 0 && len(remote) > 0:
		d.parts = append(d.parts, "("+oneOf("port", local)+" or "+oneOf("remote_port", remote)+")")
	default:
		d.add("port", local)
		d.add("remote_port", remote)
	}
}

func distinct(values []string) []string {
	slices.SortFunc(values, func(x, y string) int { return cmp.Or(len(x)-len(y), strings.Compare(x, y)) })
	return slices.Compact(values)
}

// leftOut reports whether a socket was selected, but is not what the rule is about.
func (d *draft) leftOut(c *engine.Candidate) bool { return !d.states.Has(c.Socket.State) }

// processes returns the names of all owners, nil if there are many, or some that nobody
// can see or write down.
func (d *draft) processes() (names []string) {
	for _, c := range d.Sockets {
		if d.leftOut(c) {
			continue
		}
		if len(c.Facts.Owners) == 0 {
			return nil
		}
		for i := range c.Facts.Owners {
			name := c.Facts.Owners[i].Name
			if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
				return nil
			}
			names = append(names, strconv.Quote(name))
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > mostNames {
		return nil
	}
	return names
}
