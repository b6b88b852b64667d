package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine"
)

// listReads is what the default columns need.
var listReads = collectors.Fields(collectors.FieldAge, collectors.FieldProcess)

func (a *app) listTable(sockets []*engine.Candidate, columns []collectors.Field, total int, r *engine.Report) error {
	if len(columns) > 0 {
		head := make([]string, len(columns))
		for i, f := range columns {
			head[i] = strings.ToUpper(f.String())
		}
		t := newTable(head...)
		for _, s := range sockets {
			cells := make([]string, len(columns))
			for i, f := range columns {
				cells[i] = cell(s, f)
			}
			t.row(cells...)
		}
		t.write(a.stdout)
	} else {
		t := newTable("STATE", "LOCAL", "PEER", "PROCESS", "WHERE", "AGE", "RECV-Q", "SEND-Q", "TIMER")
		for _, s := range sockets {
			t.row(stateText(s), local(s), peer(s), processText(s), where(s), ageText(s.Facts.Age),
				fmt.Sprint(s.Socket.RecvQueue), fmt.Sprint(s.Socket.SendQueue), timerText(&s.Socket))
		}
		t.write(a.stdout)
	}
	if len(sockets) < total {
		fmt.Fprintf(a.stdout, "... %d more\n", total-len(sockets))
	}
	a.listNotes(r)
	return nil
}

// listNotes says what a listing could not see.
func (a *app) listNotes(r *engine.Report) {
	if r.OwnersHidden > 0 {
		fmt.Fprintf(a.stdout, "note: owners of %d socket%s not visible: %s\n", r.OwnersHidden, plural(r.OwnersHidden), r.HiddenWhy)
	}
	if r.Unseen > 0 {
		fmt.Fprintln(a.stdout, unseenNote(r))
	}
}

func unseenNote(r *engine.Report) string {
	return fmt.Sprintf("note: %d socket%s in %d other network namespace%s not looked at; --netns all shows them", r.Unseen, plural(r.Unseen), r.UnseenNamespaces, plural(r.UnseenNamespaces))
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

// cell shows one field; ? stands for unknown.
func cell(c *engine.Candidate, f collectors.Field) string {
	if f == collectors.FieldAge {
		return ageText(c.Facts.Age)
	}
	switch v := value(c, f).(type) {
	case nil:
		return "?"
	case float64:
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

// socketGroup is sockets with the same values of the --by fields.
type socketGroup struct {
	values  []string
	sockets []*engine.Candidate
}

func groupBy(sockets []*engine.Candidate, by []collectors.Field) []*socketGroup {
	index := map[string]*socketGroup{}
	var groups []*socketGroup
	for _, s := range sockets {
		values := make([]string, len(by))
		for i, f := range by {
			values[i] = cell(s, f)
			if f == collectors.FieldProcess {
				values[i] = processText(s)
			}
		}
		key := strings.Join(values, "\x00")
		g, ok := index[key]
		if !ok {
			g = &socketGroup{values: values}
			index[key] = g
			groups = append(groups, g)
		}
		g.sockets = append(g.sockets, s)
	}
	slices.SortStableFunc(groups, func(a, b *socketGroup) int { return cmp.Compare(len(b.sockets), len(a.sockets)) })
	return groups
}

func (a *app) listBy(sockets []*engine.Candidate, by []collectors.Field, top int) error {
	groups := groupBy(sockets, by)
	shown := groups
	if top > 0 {
		shown = groups[:min(top, len(groups))]
	}
	head := []string{"COUNT"}
	ofProcess := false
	for _, f := range by {
		head = append(head, strings.ToUpper(f.String()))
		ofProcess = ofProcess || f == collectors.FieldProcess || f == collectors.FieldPID
	}
	head = append(head, "OLDEST", "RECV-Q", "SEND-Q")
	if ofProcess {
		head = append(head, "FDS/LIMIT")
	}
	t := newTable(append(head, "EXAMPLE PEER")...)
	unreadEOF := 0
	for _, g := range shown {
		oldest, recv, send := g.sockets[0].Facts.Age, 0, 0
		for _, s := range g.sockets {
			if s.Facts.Age.Min > oldest.Min {
				oldest = s.Facts.Age
			}
			recv += int(s.Socket.RecvQueue)
			send += int(s.Socket.SendQueue)
			if s.Socket.State == collectors.CloseWait && s.Socket.RecvQueue == 1 {
				unreadEOF++
			}
		}
		row := append([]string{fmt.Sprint(len(g.sockets))}, g.values...)
		row = append(row, ageText(oldest), fmt.Sprint(recv), fmt.Sprint(send))
		if ofProcess {
			row = append(row, fdsText(g.sockets[0]))
		}
		t.row(append(row, peer(g.sockets[0]))...)
	}
	t.write(a.stdout)
	if len(shown) < len(groups) {
		fmt.Fprintf(a.stdout, "... %d more groups\n", len(groups)-len(shown))
	}
	if unreadEOF > 0 {
		fmt.Fprintf(a.stdout, "note: %d CLOSE_WAIT with EOF unread: the program does not read them (recv_queue 1 = FIN)\n", unreadEOF)
	}
	return nil
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
