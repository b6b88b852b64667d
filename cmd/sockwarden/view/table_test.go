package view

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/engine"
)

func written(t *table, o Out) string {
	var b bytes.Buffer
	o.W = &b
	t.write(o)
	return b.String()
}

// Whatever a table says fits where it is shown, and nothing is lost.
func TestTablesFit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	heads := []string{"STATE", "LOCAL", "PEER", "PROCESS", "WHERE", "AGE", "RECV-Q", "TIMER", "ACTION"}
	for n := range 500 {
		columns := 1 + r.IntN(len(heads))
		tab := newTable(heads[:columns]...)
		for i := range 1 + r.IntN(6) {
			row := make([]string, columns)
			for k := range row {
				row[k] = strings.Repeat(string(rune('a'+k)), 1+r.IntN(12)) + fmt.Sprint(i*r.IntN(2))
				if r.IntN(8) == 0 {
					row[k] += strings.Repeat(" word", r.IntN(30))
				}
			}
			tab.row(row...)
		}
		const limit = 72
		out := written(tab, Out{Width: limit})
		for line := range strings.Lines(out) {
			if w := width(strings.TrimSuffix(line, "\n")); w > limit && !strings.HasPrefix(line, "all") {
				t.Fatalf("table %d: %d columns\n%s", n, w, out)
			}
		}
		said := strings.Join(strings.Fields(out), " ")
		for _, row := range tab.rows {
			for _, cell := range row {
				if !strings.Contains(said, cell) {
					t.Fatalf("table %d does not say %q\n%s", n, cell, out)
				}
			}
		}
	}
}

// A table measures text as a terminal shows it.
func TestTableWidth(t *testing.T) {
	tab := newTable("NAME", "PORT")
	tab.row("日本", "1")
	tab.row("cafe\u0301", "2")
	if got, want := written(tab, Out{}), "NAME  PORT\n日本  1\ncafe\u0301  2\n"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

// What --columns asks for has its place; where there is no terminal each row is one line,
// as scripts expect.
func TestAskedColumns(t *testing.T) {
	l := &Listing{Sockets: sockets()[:2], Report: &engine.Report{}, Columns: []collectors.Field{
		collectors.FieldState, collectors.FieldProcess, collectors.FieldNetNS, collectors.FieldRemoteAddr, collectors.FieldLocalAddr,
	}}
	lines := func(o Out) []string {
		var b bytes.Buffer
		o.W, o.Format, o.Width = &b, Text, 40
		if err := List(o, l); err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(b.String()), "\n")
	}
	if got := lines(Out{}); len(got) != 3 || len(strings.Fields(got[1])) != 5 {
		t.Errorf("%q", got)
	}
	if got := lines(Out{Wrap: true}); len(got) <= 3 || !strings.Contains(strings.Join(got, " "), "local_addr ?") {
		t.Errorf("%q", got)
	}
}

// On a terminal states and decisions have colours, which take no room, and sentences wrap
// between words.
func TestTerminal(t *testing.T) {
	var b bytes.Buffer
	if err := Report(Out{W: &b, Format: Text, Width: 70, Wrap: true, Color: true}, dryReport(), setting(), Rows{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "report-terminal.txt", b.String())
	plain := strings.NewReplacer("\x1b[33m", "", "\x1b[36m", "", "\x1b[32m", "", "\x1b[0m", "").Replace(b.String())
	for line := range strings.Lines(plain) {
		if width(strings.TrimSuffix(line, "\n")) > 70 || strings.Contains(line, "\x1b") {
			t.Errorf("%q", line)
		}
	}
}

// A socket that two rules match counts once, under what was done about it.
func TestCountedOnce(t *testing.T) {
	c := held(collectors.CloseWait, 80, "app", 5)
	r := &engine.Report{Mode: "dry-run", Findings: []*engine.Finding{
		finding("a", engine.DecideShadowed, "rule b comes first", c), finding("b", engine.DecideAct, "", c, did("would")),
		finding("a", engine.DecideObserve, "", held(collectors.CloseWait, 81, "app", 6)),
		finding("a", engine.DecideAct, "", held(collectors.CloseWait, 82, "app", 7), did("failed")),
	}}
	s := totalsOf(r)
	if s.Matched != 3 || s.WouldAct != 1 || s.Observed != 1 || s.Failed != 1 || s.Skipped != 0 {
		t.Errorf("%+v", s)
	}
}
