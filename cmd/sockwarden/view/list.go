package view

import (
	"cmp"
	"fmt"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine"
)

// ListReads are the fields that the default columns of a list must know.
var ListReads = collectors.Fields(collectors.FieldAge, collectors.FieldProcess)

// PlaceReads are the fields that the column WHERE shows if they are known.
var PlaceReads = collectors.Fields(collectors.FieldContainer, collectors.FieldComposeService)

// HoldersColumn is the column of all processes that hold a socket, by its JSON name.
const HoldersColumn = "owner_processes"

// Listing is sockets to list.
type Listing struct {
	Sockets []*engine.Candidate
	Columns []collectors.Field // nil for the default ones; in JSON for all
	Holders bool               // add HoldersColumn as the last one
	Top     int                // show only so many, 0 for all
	Report  *engine.Report     // where they come from, for what could not be seen
}

// List shows sockets one by one, and what could not be seen.
func List(o Out, l *Listing) error {
	shown := l.Sockets
	if l.Top > 0 {
		shown = shown[:min(l.Top, len(shown))]
	}
	if o.Format != Text {
		only := collectors.Fields(l.Columns...)
		return writeRows(o, len(shown), func(i int) map[string]any { return l.json(shown[i], only) })
	}
	l.table(shown).write(o)
	if len(shown) < len(l.Sockets) {
		o.say("... %d more", len(l.Sockets)-len(shown))
	}
	listNotes(o, l.Report)
	if len(l.Columns) == 0 && !l.Holders {
		nextNote(o, len(shown))
	}
	return nil
}

// nextNote says on a terminal what to ask about so many sockets or groups. Piped output
// stays a list.
func nextNote(o Out, shown int) {
	if o.Wrap && shown > 0 {
		o.say("next: rules explain with the same selection says which rules take them, and why others do not")
	}
}

// json is the row of a socket: all fields, or those that were asked for.
func (l *Listing) json(c *engine.Candidate, only collectors.FieldSet) map[string]any {
	if !l.Holders {
		return jsonOf(c, only)
	}
	row := map[string]any{}
	if len(l.Columns) > 0 {
		row = jsonOf(c, only)
	}
	if len(c.Facts.Owners) > 0 {
		row[HoldersColumn] = collectors.OwnerList(c.Facts.Owners)
	}
	return row
}

// queueText is the length of a queue, if it is known.
func queueText(s *engine.Candidate, f collectors.Field, n uint32) string {
	if !s.Socket.Known.Has(f) {
		return "?"
	}
	return fmt.Sprint(n)
}

func (l *Listing) table(sockets []*engine.Candidate) *table {
	if len(l.Columns) == 0 && !l.Holders {
		t := newTable("STATE", "LOCAL", "PEER", "PROCESS", "WHERE", "AGE", "RECV-Q", "SEND-Q", "TIMER")
		for _, s := range sockets {
			t.row(stateText(s), local(s), peer(s), processText(s), where(s), ageText(s.Facts.Age),
				queueText(s, collectors.FieldRecvQueue, s.Socket.RecvQueue), queueText(s, collectors.FieldSendQueue, s.Socket.SendQueue), timerText(&s.Socket))
		}
		return t
	}
	var head []string
	for _, f := range l.Columns {
		head = append(head, strings.ToUpper(f.String()))
	}
	if l.Holders {
		head = append(head, strings.ToUpper(HoldersColumn))
	}
	t := newTable(head...)
	t.plain, t.asked = true, len(head)
	for _, s := range sockets {
		var cells []string
		for _, f := range l.Columns {
			cells = append(cells, cell(s, f))
		}
		if l.Holders {
			cells = append(cells, cmp.Or(collectors.OwnerNames(s.Facts.Owners), processText(s)))
		}
		t.row(cells...)
	}
	return t
}

// listNotes says what a listing could not see.
func listNotes(o Out, r *engine.Report) {
	if r.OwnersHidden > 0 {
		o.say("note: owners of %s not visible: %s", Count(r.OwnersHidden, "socket"), r.HiddenWhy)
	}
	if r.Unseen > 0 {
		o.say("%s", unseenNote(r))
	}
}

func unseenNote(r *engine.Report) string {
	return fmt.Sprintf("note: %s in %s not looked at; --netns all shows them", Count(r.Unseen, "socket"), Count(r.UnseenNamespaces, "other network namespace"))
}

// jsonOf returns the fields of a socket: those in only, or all if that is empty.
func jsonOf(c *engine.Candidate, only collectors.FieldSet) map[string]any {
	r := c.Record()
	if only.Empty() {
		return collectors.Map(&r)
	}
	r.Known = r.Known.And(only)
	row := collectors.Map(&r)
	delete(row, "owner_processes")
	return row
}
