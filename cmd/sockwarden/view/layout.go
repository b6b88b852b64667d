package view

import (
	"slices"
	"strings"
)

// layout says which columns of a table fit on its lines, and how wide they are.
type layout struct {
	limit   int // available width
	columns []column
	below   []column // columns that rows show on an extra line, unless they have their usual text
	all     []string // what all rows have in common, printed once: "rule leak"
	mostly  []string // the same, where some rows differ and say so below
}

type column struct {
	head    string
	cells   []string
	widths  map[int]int // how many cells have each width
	natural int         // width of the widest cell, or of the heading
	width   int         // as laid out; wider cells continue below
	usual   string      // for a column that is below: the text not to print
	asked   bool
}

// silent is, by heading, the text that says nothing: a column of nothing else is dropped.
var silent = map[string]string{"WHERE": "host", "TIMER": "-", "IDLE": "-"}

// sparse is, by heading, the text that rows may omit if there is no room.
var sparse = map[string]string{"WHERE": "host", "TIMER": "-", "IDLE": "-", "SEND-Q": "0", "RECV-Q": "0"}

// narrowest is how narrow a column may become.
const narrowest = 12

// steps make a table narrower, one after the other until it fits, those that lose least
// first. They name headings.
var steps = []struct {
	step  func(*layout, int)
	heads []string
}{
	{(*layout).once, []string{"ACTION", "WHERE", "PROCESS", "RULE"}},
	{(*layout).sparse, []string{"TIMER", "WHERE", "IDLE"}},
	{(*layout).usually, []string{"ACTION"}},
	{(*layout).cutFew, nil},
	{(*layout).sparse, []string{"SEND-Q", "RECV-Q"}},
	{(*layout).once, []string{"PORT", "STATE"}},
	{(*layout).usually, []string{"RULE", "WHERE", "PROCESS"}},
	{(*layout).toBelow, []string{"EXAMPLE PEER", "ACTION", "TIMER", "WHERE", "IDLE", "PEERS"}},
}

func (t *table) layout(limit int) *layout {
	l := &layout{limit: limit}
	for i, head := range t.head {
		c := column{head: head, cells: make([]string, len(t.rows)), widths: map[int]int{}, natural: width(head), asked: i < t.asked}
		for k, row := range t.rows {
			w := width(row[i])
			c.cells[k], c.natural = row[i], max(c.natural, w)
			c.widths[w]++
		}
		c.width = c.natural
		if text, ok := silent[head]; !c.asked && ok && len(t.rows) > 0 && c.count(text) == len(t.rows) {
			continue
		}
		l.columns = append(l.columns, c)
	}
	switch last := len(l.columns) - 1; {
	case t.prose:
		l.columns[last].width = max(narrowest, l.columns[last].width-max(0, l.over()))
	case limit > 0:
		l.fit()
	}
	return l
}

// fit makes the lines as short as necessary, and gives back width that it need not have
// taken.
func (l *layout) fit() {
	for _, s := range steps {
		if s.heads == nil && l.over() > 0 {
			s.step(l, 0)
		}
		for _, head := range s.heads {
			i := slices.IndexFunc(l.columns, func(c column) bool { return c.head == head && !c.asked })
			if i > 0 && l.over() > 0 {
				s.step(l, i)
			}
		}
	}
	for l.over() > 0 && len(l.columns) > 1 {
		l.toBelow(len(l.columns) - 1)
	}
	l.columns[0].width -= max(0, l.over())
	for i := range l.columns {
		c := &l.columns[i]
		c.width = min(c.natural, c.width+max(0, -l.over()))
	}
}

// over is by how many columns the lines are too long.
func (l *layout) over() int {
	sum := -gap
	for _, c := range l.columns {
		sum += c.width + gap
	}
	return sum - l.limit
}

// once removes a column that is the same in all rows: a line above says it.
func (l *layout) once(i int) {
	c := &l.columns[i]
	if n := len(c.cells); n > 1 && c.count(c.cells[0]) == n {
		l.all = append(l.all, labelled(c.head, c.cells[0]))
		l.columns = slices.Delete(l.columns, i, i+1)
	}
}

// usually does the same for a column that is the same in most rows: the others show
// theirs below.
func (l *layout) usually(i int) {
	c := &l.columns[i]
	text, counts := "", map[string]int{}
	for _, cell := range c.cells {
		counts[cell]++
		if counts[cell] > counts[text] {
			text = cell
		}
	}
	if len(c.cells) > 1 && 2*counts[text] > len(c.cells) {
		l.mostly = append(l.mostly, labelled(c.head, text))
		l.move(i, text)
	}
}

// sparse moves a column below if it says nothing in most rows.
func (l *layout) sparse(i int) {
	c := &l.columns[i]
	if text := sparse[c.head]; 2*c.count(text) >= len(c.cells) {
		l.move(i, text)
	}
}

// toBelow moves a column below in all rows.
func (l *layout) toBelow(i int) {
	l.move(i, "")
}

func (l *layout) move(i int, usual string) {
	c := l.columns[i]
	c.usual = usual
	l.below = append(l.below, c)
	l.columns = slices.Delete(l.columns, i, i+1)
}

// cutFew narrows columns that are wide because of a few cells, the widest first.
func (l *layout) cutFew(int) {
	for l.over() > 0 {
		var widest *column
		to := 0
		for i := range l.columns {
			c := &l.columns[i]
			next := max(narrowest, width(c.head), c.narrower())
			if next < c.width && 2*c.wider(next) <= len(c.cells) && (widest == nil || c.width > widest.width) {
				widest, to = c, next
			}
		}
		if widest == nil {
			return
		}
		widest.width = to
	}
}

// count is how many rows have this text in the column.
func (c *column) count(text string) (n int) {
	for _, cell := range c.cells {
		if cell == text {
			n++
		}
	}
	return n
}

// narrower is the width of the widest cell that is narrower than the column.
func (c *column) narrower() int {
	next := 0
	for w := range c.widths {
		if w < c.width {
			next = max(next, w)
		}
	}
	return next
}

// wider counts the cells that are wider than that.
func (c *column) wider(columns int) (n int) {
	for w, cells := range c.widths {
		if w > columns {
			n += cells
		}
	}
	return n
}

func labelled(head, text string) string { return strings.ToLower(head) + " " + text }
