package view

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine"
)

// sortCount sorts groups by their number of sockets.
const sortCount = "count"

// Grouping says how to group sockets, and which groups to show.
type Grouping struct {
	Fields     []collectors.Field // a group has the same values of these
	Sort       string             // one of SortNames, "" for the largest first
	Descending bool
	Top        int // show only so many groups, 0 for all
	// Report is where the sockets come from, for what could not be seen.
	Report *engine.Report
}

// SortNames returns what groups can be sorted by: every column.
func (g *Grouping) SortNames() []string {
	names := []string{sortCount}
	for _, f := range append(slices.Clone(g.Fields), collectors.FieldAge, collectors.FieldRecvQueue, collectors.FieldSendQueue) {
		if !slices.Contains(names, f.String()) {
			names = append(names, f.String())
		}
	}
	return names
}

// By shows groups of sockets, with their counts, and what could not be seen.
func By(o Out, sockets []*engine.Candidate, by *Grouping) error {
	groups := groupBy(sockets, by.Fields)
	sortGroups(groups, by)
	shown := groups
	if by.Top > 0 {
		shown = groups[:min(by.Top, len(groups))]
	}
	if o.Format != Text {
		only := collectors.Fields(by.Fields...)
		return writeRows(o, len(shown), func(i int) map[string]any {
			return shown[i].json(only, by.ofProcess())
		})
	}
	byTable(shown, by).write(o)
	if more := len(groups) - len(shown); more > 0 {
		o.say("... %s", Count(more, "more group"))
	}
	unreadNote(o, shown)
	listNotes(o, by.Report)
	nextNote(o, len(shown))
	return nil
}

// socketGroup is sockets with the same values of the grouping fields.
type socketGroup struct {
	sockets    []*engine.Candidate
	oldest     collectors.Age // the largest proven age
	recv, send int            // bytes in all queues
	// Some queues are not known, as those of MPTCP.
	noRecv, noSend bool
}

func (g *socketGroup) first() *engine.Candidate { return g.sockets[0] }

// groupBy groups sockets whose fields have the same values, as in JSON.
func groupBy(sockets []*engine.Candidate, by []collectors.Field) []*socketGroup {
	index := map[string]*socketGroup{}
	var groups []*socketGroup
	for _, s := range sockets {
		var key strings.Builder
		for _, f := range by {
			if v := value(s, f); f == collectors.FieldAge {
				fmt.Fprintf(&key, "%s\x00", cell(s, f)) // two sockets hardly ever share one
			} else {
				fmt.Fprintf(&key, "%T %v\x00", v, v)
			}
		}
		g, ok := index[key.String()]
		if !ok {
			g = &socketGroup{oldest: s.Facts.Age}
			index[key.String()] = g
			groups = append(groups, g)
		}
		g.add(s)
	}
	return groups
}

func (g *socketGroup) add(s *engine.Candidate) {
	g.sockets = append(g.sockets, s)
	if s.Facts.Age.Min > g.oldest.Min {
		g.oldest = s.Facts.Age
	}
	g.recv += int(s.Socket.RecvQueue)
	g.send += int(s.Socket.SendQueue)
	g.noRecv = g.noRecv || !s.Socket.Known.Has(collectors.FieldRecvQueue)
	g.noSend = g.noSend || !s.Socket.Known.Has(collectors.FieldSendQueue)
}

// queues shows what is in the queues, where that is known of all.
func (g *socketGroup) queues() (recv, send string) {
	recv, send = strconv.Itoa(g.recv), strconv.Itoa(g.send)
	if g.noRecv {
		recv = "?"
	}
	if g.noSend {
		send = "?"
	}
	return recv, send
}

// sortGroups orders groups; equal ones keep their order.
func sortGroups(groups []*socketGroup, by *Grouping) {
	order := func(a, b *socketGroup) int { return cmp.Compare(len(b.sockets), len(a.sockets)) }
	if by.Sort != "" {
		order = func(a, b *socketGroup) int {
			c := compareValues(a.value(by), b.value(by))
			if by.Descending {
				return -c
			}
			return c
		}
	}
	slices.SortStableFunc(groups, order)
}

// value is what a group is sorted by.
func (g *socketGroup) value(by *Grouping) any {
	switch by.Sort {
	case sortCount:
		return float64(len(g.sockets))
	case collectors.FieldAge.String():
		if g.oldest.Source == collectors.AgeNone || g.oldest.Source == "" {
			return nil
		}
		return g.oldest.Min
	case collectors.FieldRecvQueue.String():
		return float64(g.recv)
	case collectors.FieldSendQueue.String():
		return float64(g.send)
	}
	f, _ := collectors.FieldByName(by.Sort)
	return value(g.first(), f)
}

func byTable(groups []*socketGroup, by *Grouping) *table {
	head := []string{"COUNT"}
	for _, f := range by.Fields {
		head = append(head, strings.ToUpper(f.String()))
	}
	head = append(head, "OLDEST", "RECV-Q", "SEND-Q")
	if by.ofProcess() {
		head = append(head, "FDS/LIMIT")
	}
	t := newTable(append(head, "EXAMPLE PEER")...)
	t.asked = 1 + len(by.Fields)
	for _, g := range groups {
		row := []string{fmt.Sprint(len(g.sockets))}
		for _, f := range by.Fields {
			row = append(row, g.cell(f))
		}
		recv, send := g.queues()
		row = append(row, ageText(g.oldest), recv, send)
		if by.ofProcess() {
			row = append(row, g.fds())
		}
		t.row(append(row, peer(g.first()))...)
	}
	return t
}

// cell shows one of the grouping fields.
func (g *socketGroup) cell(f collectors.Field) string {
	if f == collectors.FieldProcess {
		return processesText(g.sockets)
	}
	return cell(g.first(), f)
}

// ofProcess reports whether the groups are about processes.
func (g *Grouping) ofProcess() bool {
	return slices.Contains(g.Fields, collectors.FieldProcess) || slices.Contains(g.Fields, collectors.FieldPID)
}

// oneProcess reports whether all sockets of the group belong to one process.
func (g *socketGroup) oneProcess() bool {
	return !slices.ContainsFunc(g.sockets, func(s *engine.Candidate) bool { return pidOf(s) != pidOf(g.first()) })
}

// fds shows the descriptors of the process, if all sockets of the group belong to one.
func (g *socketGroup) fds() string {
	if !g.oneProcess() {
		return "-"
	}
	return fdsText(g.first())
}

// json is a row of the table, by the names that groups of rules use.
func (g *socketGroup) json(by collectors.FieldSet, ofProcess bool) map[string]any {
	row := jsonOf(g.first(), by)
	row["count"] = len(g.sockets)
	if g.oldest.Source != collectors.AgeNone && g.oldest.Source != "" {
		row["max_age"] = collectors.Rounded(g.oldest.Min)
	}
	if !g.noRecv {
		row["sum_recv_queue"] = g.recv
	}
	if !g.noSend {
		row["sum_send_queue"] = g.send
	}
	if p := peer(g.first()); p != "-" {
		row["example_peer"] = p
	}
	if owners := g.first().Facts.Owners; ofProcess && len(owners) > 0 && g.oneProcess() {
		row["fds"] = owners[0].FDs
		if owners[0].Known.Has(collectors.FieldFDLimit) {
			row["fd_limit"] = owners[0].FDLimit
		}
	}
	return row
}

// pidOf is the PID of a socket's first owner, 0 for none.
func pidOf(c *engine.Candidate) int {
	if len(c.Facts.Owners) == 0 {
		return 0
	}
	return c.Facts.Owners[0].PID
}

// unreadNote says for how many sockets the program has not even read that the peer has
// closed.
func unreadNote(o Out, groups []*socketGroup) {
	unread := 0
	for _, g := range groups {
		for _, s := range g.sockets {
			if s.Socket.State == collectors.CloseWait && s.Socket.RecvQueue == 1 {
				unread++
			}
		}
	}
	if unread > 0 {
		o.say("note: %d CLOSE_WAIT with EOF unread: the program does not read them (recv_queue 1 = FIN)", unread)
	}
}
