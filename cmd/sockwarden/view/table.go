package view

import (
	"fmt"
	"strings"
)

// table aligns columns to fit the available width; numbers are right-aligned.
type table struct {
	head []string
	rows [][]string
	// asked is how many of the first columns the user has asked for: they stay, whatever
	// they say.
	asked int
	// plain says that the user, perhaps a script, asked for all of them: without a
	// terminal each row is one line, however long.
	plain bool
	// prose says that the last column has sentences, which wrap within the column.
	prose bool
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = Printable(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// rightAligned are the headings of numeric columns.
var rightAligned = map[string]bool{"COUNT": true, "RECV-Q": true, "SEND-Q": true, "RULES": true}

const (
	gap    = 2      // columns between two cells
	margin = "    " // before what stands below a row
)

// write writes the table. If it is too wide, what is the same in all rows goes above it,
// and what does not fit goes below its row.
func (t *table) write(o Out) {
	limit := o.columns()
	if t.plain && !o.Wrap {
		limit = 0
	}
	l := t.layout(limit)
	if len(l.all) > 0 {
		o.say("all: %s", strings.Join(l.all, ", "))
	}
	if len(l.mostly) > 0 {
		o.say("all, unless a row says otherwise: %s", strings.Join(l.mostly, ", "))
	}
	head := make([]string, len(l.columns))
	for i, c := range l.columns {
		head[i] = c.head
	}
	l.line(o, head, false)
	for i := range t.rows {
		row := make([]string, len(l.columns))
		for k, c := range l.columns {
			row[k] = c.cells[i]
		}
		if t.prose {
			l.sentences(o, row)
			continue
		}
		l.line(o, row, o.Color)
		l.rest(o, i)
	}
}

// line writes the part of a row that fits on its line.
func (l *layout) line(o Out, row []string, colored bool) {
	var line strings.Builder
	for i, c := range l.columns {
		text := row[i]
		if width(text) > c.width {
			text = shortened(text, c.width)
		}
		pad := strings.Repeat(" ", max(0, c.width-width(text)))
		if colored {
			text = painted(c.head, text)
		}
		if rightAligned[c.head] {
			text = pad + text
		} else {
			text += pad
		}
		line.WriteString(text + strings.Repeat(" ", gap))
	}
	fmt.Fprintln(o.W, strings.TrimRight(line.String(), " "))
}

// sentences writes a row whose last column takes as many lines as it needs.
func (l *layout) sentences(o Out, row []string) {
	last := len(row) - 1
	for _, text := range wrapped(row[last], l.columns[last].width) {
		row[last] = text
		l.line(o, row, o.Color)
		for i := range last {
			row[i] = ""
		}
	}
}

// rest writes the rest of a row: cells that were cut, and columns that did not fit.
func (l *layout) rest(o Out, row int) {
	var texts []string
	for _, c := range l.columns {
		if width(c.cells[row]) > c.width {
			texts = append(texts, labelled(c.head, c.cells[row]))
		}
	}
	for _, c := range l.below {
		if text := c.cells[row]; text != c.usual && text != "" {
			texts = append(texts, labelled(c.head, text))
		}
	}
	if len(texts) == 0 {
		return
	}
	for _, text := range wrapped(strings.Join(texts, "; "), l.limit-len(margin)) {
		fmt.Fprintln(o.W, margin+text)
	}
}
