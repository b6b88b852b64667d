package engine

import (
	"fmt"
	"strings"
	"testing"

	"sockwarden/collectors/socklab"
	"sockwarden/engine/news"
)

// A message, the log and JSON name the signalled process and all that have the socket.
func TestHoldersNamed(t *testing.T) {
	l := newLab(t, Options{Live: true})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	a := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true, Program: "one"})
	b := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "two"})
	f := findingOf(t, l.run(t, l.rules(t, ruleFile(port(c), "{signal: CONT, owners: all}"))), c)
	both := fmt.Sprintf("one[%d], two[%d]", a.PID, b.PID)
	if len(f.Actions) != 2 {
		t.Fatalf("%+v", f.Actions)
	}
	for i, h := range []*socklab.Holder{a, b} {
		name := []string{"one", "two"}[i]
		r := f.Actions[i]
		if want := fmt.Sprintf("signal CONT %s[%d]", name, h.PID); r.PID != h.PID || r.Process != name || r.Text(f) != want {
			t.Errorf("%+v is not %s", r, want)
		}
		if lines := l.journal.lines("acted", fmt.Sprintf("process=%s pid=%d ", name, h.PID), fmt.Sprintf("holders=%q", both)); len(lines) != 1 {
			t.Errorf("log: %q\n%q", lines, l.journal.lines("acted"))
		}
	}
	last := f.Last()
	if got, want := news.Line(f, "done"), fmt.Sprintf("done: CLOSE_WAIT port %d peer %s %s (%s)", c.Local.Port(), c.Remote, both, last.Text(f)); !strings.HasPrefix(got, want) {
		t.Errorf("message %q, not %q", got, want)
	}

	f = findingOf(t, l.run(t, l.rules(t, ruleFile(port(c), "destroy", "limits: {cooldown: 0}"))), c)
	if last := f.Last(); len(last.Keepers) != 2 || last.Detail != both+" still have the descriptor" {
		t.Errorf("%+v", last)
	}
	if lines := l.journal.lines("acted", "action=destroy", fmt.Sprintf("pid=%d ", a.PID), "fds="); len(lines) != 1 {
		t.Errorf("log: %q", lines)
	}
}
