package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

func results(f *report.Finding) []actions.Result {
	var all []actions.Result
	for _, a := range f.Actions {
		all = append(all, a.Result)
	}
	return all
}

// destroy, TERM for a process that keeps the descriptor, KILL for one that does not obey.
func TestLadder(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for deaf, wait := range map[bool]time.Duration{false: time.Minute, true: 600 * time.Millisecond} { // who obeys may take its time
		t.Run(fmt.Sprintf("deaf %t", deaf), func(t *testing.T) {
			then := fmt.Sprintf(`destroy, {signal: TERM, wait: %s, if: result == "fd_still_held"}, {signal: KILL, wait: 1m}`, wait)
			l := newLab(t, Options{Live: true})
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, IgnoreTerm: deaf})
			start := time.Now()
			r := l.cycle(t, l.rules(t, ruleFile(port(c), then)))
			f := findingOf(t, r, c)
			// Only what has just begun can still be waiting.
			if until, waits := l.Pending(); !waits || until.Before(start) || until.After(time.Now().Add(wait)) {
				t.Fatalf("waits %t until %s: %s", waits, until, line(f))
			}
			l.Finish(t.Context(), r)
			f = findingOf(t, r, c)
			want, by := []actions.Result{actions.FDStillHeld, actions.Ended}, unix.SIGTERM
			if deaf {
				want, by = append(want[:1:1], actions.StillRunning, actions.Ended), unix.SIGKILL
			}
			if !slices.Equal(results(f), want) {
				t.Errorf("%s, want %v", line(f), want)
			}
			if ws := h.Wait(t); ws.Signal() != by {
				t.Errorf("ended by %v, not %v", ws.Signal(), by)
			}
			if took := time.Since(start); deaf && took < wait {
				t.Errorf("KILL after %s: it did not wait", took)
			}
			if _, waits := l.Pending(); waits || r.Summary.Acted != 1 || r.Summary.Failed != 0 {
				t.Errorf("waits %t, summary %+v", waits, r.Summary)
			}
			for _, action := range []string{"action=destroy result=fd_still_held", `action="signal TERM"`, "process=" + program()} {
				if len(l.journal.lines("msg=acted rule=r", action)) == 0 {
					t.Errorf("no line with %s in\n%s", action, strings.Join(l.journal.lines(), "\n"))
				}
			}
		})
	}
}

// survives reports whether a socket that a process holds is still in its state.
func survives(t *testing.T, c *socklab.Conn) bool {
	t.Helper()
	s, ok := procState(t, c)
	return ok && s == c.Kind.State()
}
