package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
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

// destroy, TERM for a process that keeps the descriptor, KILL for one that does
// not obey.
func TestLadder(t *testing.T) {
	const then = `destroy, {signal: TERM, wait: 600ms, if: result == "fd_still_held"}, {signal: KILL, wait: 5s}`
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("deaf %t", deaf), func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, IgnoreTerm: deaf})
			start := time.Now()
			r := l.cycle(t, l.rules(t, ruleFile(port(c), then)))
			f := findingOf(t, r, c)
			// Only what was just begun can still be waiting.
			if until, waits := l.Pending(); !waits || until.Before(start) || until.After(time.Now().Add(600*time.Millisecond)) {
				t.Fatalf("waits %t until %s: %s", waits, until, line(f))
			}
			l.Finish(t.Context(), r)
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
			if took := time.Since(start); deaf && took < 600*time.Millisecond {
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

// While a ladder waits, the next cycle leaves its target alone, and the ladder
// goes on by steps.
func TestLadderAcrossCycles(t *testing.T) {
	l := newLab(t, Options{Live: true})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, IgnoreTerm: true})
	p := l.rules(t, ruleFile(port(c), "{signal: TERM, wait: 1s}, {signal: KILL, wait: 5s}"))
	r := l.cycle(t, p)
	expect(t, findingOf(t, r, c), report.DecideAct, "", actions.StillRunning)
	l.Step(t.Context())
	expect(t, findingOf(t, r, c), report.DecideAct, "", actions.StillRunning)
	if _, waits := l.Pending(); !waits {
		t.Fatal("it does not wait")
	}
	expect(t, findingOf(t, l.cycle(t, p), c), report.DecideCooldown, "cool-down 5m, 5m left")
	if !h.Running() {
		t.Fatal("it was killed early")
	}
	socklab.WaitFor(t, "the end of the ladder", func() bool {
		l.Step(t.Context())
		_, waits := l.Pending()
		return !waits
	})
	expect(t, findingOf(t, r, c), report.DecideAct, "", actions.StillRunning, actions.Ended)
	h.Wait(t)
}

// A plain rung climbs only after what failed on this very target. What the
// host refuses ends every ladder, and nothing is ever signalled for it.
func TestClimbs(t *testing.T) {
	deny := errors.New("denied")
	for _, test := range []struct {
		out           actions.Outcome
		plain, asking bool // whether such a rung is started
		endsAll       bool
	}{
		{actions.Outcome{Result: actions.Gone}, false, true, false},
		{actions.Outcome{Result: actions.FDStillHeld}, false, true, false},
		{actions.Outcome{Result: actions.Ended}, false, true, false},
		{actions.Outcome{Result: actions.Done}, false, true, false},
		{actions.Outcome{Result: actions.Changed}, false, false, false},
		{actions.Outcome{Result: actions.Refused}, true, true, false},
		{actions.Outcome{Result: actions.StillRunning}, true, true, false},
		{actions.Outcome{Result: actions.Failed, Err: deny}, true, true, false},
		{actions.Outcome{Result: actions.Unsupported, Err: deny}, false, false, true},
		{actions.Outcome{Result: actions.NotPermitted, Err: deny}, false, false, true},
		{actions.Outcome{Result: actions.Unsupported}, false, false, true},
		{actions.Outcome{Result: actions.NotPermitted}, false, false, true},
	} {
		for _, rung := range []string{"second", `{second: {udp: true}, if: result != "would"}`} {
			t.Run(fmt.Sprint(test.out.Result, test.out.Err, rung), func(t *testing.T) {
				first, second := outcomes("first", test.out), outcomes("second", actions.Outcome{Result: actions.Ended})
				second.onProcess = true
				l := newLab(t, Options{Live: true}, first, second)
				conns := []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv6)}
				holder(t, conns[0])
				holder(t, conns[1])
				p := l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "first, "+rung, "limits: {cooldown: 0}"))
				r := l.run(t, p)
				want := 0
				if test.plain && rung == "second" || test.asking && rung != "second" {
					want = 2
				}
				if len(second.applied) != want || len(second.prepared) != want {
					t.Errorf("the second rung was prepared %d times, applied %d times, not %d", len(second.prepared), len(second.applied), want)
				}
				if !test.endsAll {
					if len(first.applied) != 2 || r.HostError != nil {
						t.Errorf("%d applied, host error %v", len(first.applied), r.HostError)
					}
					return
				}
				if len(first.applied) != 1 || r.HostError == nil {
					t.Fatalf("%d applied, host error %v", len(first.applied), r.HostError)
				}
				// Nothing is tried any more, in later cycles either.
				r = l.run(t, p)
				if len(first.applied) != 1 || r.HostError == nil || r.Summary.Failed != 2 {
					t.Errorf("a cycle later: %d applied, host error %v, summary %+v", len(first.applied), r.HostError, r.Summary)
				}
			})
		}
	}
}

// The host can also refuse when an effect is prepared.
func TestHostRefusesPrepare(t *testing.T) {
	for sentinel, want := range map[error]actions.Result{
		collectors.ErrNotPermitted: actions.NotPermitted, collectors.ErrNotSupported: actions.Unsupported,
	} {
		t.Run(string(want), func(t *testing.T) {
			first, second := outcomes("first", actions.Outcome{Result: actions.Gone}), outcomes("second", actions.Outcome{Result: actions.Done})
			first.prepare = func(actions.Target) error { return fmt.Errorf("prepare: %w", sentinel) }
			l := newLab(t, Options{Live: true}, first, second)
			holder(t, socklab.Many(t, socklab.CloseWait, socklab.IPv4, 2)...)
			r := l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "first, second")))
			if !errors.Is(r.HostError, sentinel) || len(first.prepared) != 1 || len(first.applied)+len(second.prepared) > 0 {
				t.Errorf("host error %v; %d prepared, second %d", r.HostError, len(first.prepared), len(second.prepared))
			}
			for _, f := range r.Findings {
				expect(t, f, report.DecideAct, "", want)
			}
			if len(l.journal.lines("msg=acted", "result="+string(want), "prepare: ")) != 1 {
				t.Errorf("log:\n%s", strings.Join(l.journal.lines("acted"), "\n"))
			}
		})
	}
}

// A preparation that fails for another reason concerns its target only, and
// climbs nowhere: nothing is known about the target.
func TestPrepareFails(t *testing.T) {
	first, second := outcomes("first", actions.Outcome{Result: actions.Gone}), outcomes("second", actions.Outcome{Result: actions.Done})
	first.prepare = func(actions.Target) error {
		if len(first.prepared) == 1 {
			return errors.New("too many open files")
		}
		return nil
	}
	l := newLab(t, Options{Live: true}, first, second)
	holder(t, socklab.Many(t, socklab.CloseWait, socklab.IPv4, 2)...)
	r := l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "first, second")))
	if r.HostError != nil || r.Summary.Failed != 1 || r.Summary.Acted != 1 || len(second.prepared) > 0 {
		t.Errorf("host error %v, summary %+v, second %d", r.HostError, r.Summary, len(second.prepared))
	}
	if len(l.journal.lines("msg=acted", "result=failed", "too many open files")) != 1 {
		t.Errorf("log:\n%s", strings.Join(l.journal.lines("acted"), "\n"))
	}
}

// The next rung is only for a target that still matches, freshly looked up,
// also if the rung asks for the result.
func TestNextRungLooksAgain(t *testing.T) {
	c, h := (*socklab.Conn)(nil), (*socklab.Holder)(nil)
	for name, change := range map[string]struct {
		text string
		do   func(t *testing.T)
		want bool
	}{
		"nothing changed": {ruleFile("state == 'ESTABLISHED'", "THEN"), func(*testing.T) {}, true},
		"closed":          {ruleFile("state == 'ESTABLISHED'", "THEN"), func(t *testing.T) { h.CloseSockets(t) }, false},
		"state": {ruleFile("state in ['ESTABLISHED', 'CLOSE_WAIT']", "THEN"), func(t *testing.T) {
			must(t, "shutdown", unix.Shutdown(c.Peer, unix.SHUT_WR))
			socklab.WaitFor(t, "CLOSE_WAIT", func() bool { s, _ := procState(t, c); return s == collectors.CloseWait })
		}, false},
		"when":    {ruleFile("state == 'ESTABLISHED' && recv_queue == 0", "THEN"), send(&c), false},
		"unless":  {ruleFile("state == 'ESTABLISHED'", "THEN", "unless: recv_queue > 0"), send(&c), false},
		"protect": {"protect: [{name: p, when: recv_queue > 0}]\n" + ruleFile("state == 'ESTABLISHED'", "THEN"), send(&c), false},
	} {
		for _, rung := range []string{"second", `{second: {udp: true}, if: result == "refused"}`, `{signal: KILL}`, `{signal: KILL, if: result == "refused"}`} {
			t.Run(name+" "+rung, func(t *testing.T) {
				c = socklab.Make(t, socklab.Established, socklab.IPv4)
				h = holder(t, c)
				first, second := outcomes("first", actions.Outcome{Result: actions.Refused}), outcomes("second", actions.Outcome{Result: actions.Done})
				first.verify = nil // nothing to verify after a refusal
				apply := first.apply
				first.apply = func(target actions.Target) actions.Outcome {
					change.do(t)
					return apply(target)
				}
				l := newLab(t, Options{Live: true}, first, second)
				r := l.run(t, l.rules(t, strings.Replace(change.text, "THEN", "first, "+rung, 1)))
				f := findingOf(t, r, c)
				if started := len(f.Actions) == 2; started != change.want || len(first.applied) != 1 {
					t.Errorf("the second rung was started: %t, want %t: %s", started, change.want, line(f))
				}
				if change.want == h.Running() && strings.Contains(rung, "KILL") {
					t.Errorf("the process runs: %t", h.Running())
				}
			})
		}
	}
}

func send(c **socklab.Conn) func(t *testing.T) {
	return func(t *testing.T) {
		_, err := unix.Write((*c).Peer, []byte("x"))
		must(t, "write", err)
		socklab.WaitFor(t, "data", func() bool {
			for _, s := range sockets(t) {
				if l, r := ends(&s); l == (*c).Local && r == (*c).Remote {
					return s.RecvQueue == 1
				}
			}
			return false
		})
	}
}

// A process is still the target as long as one of its sockets matches.
func TestProcessWithSocketsLeft(t *testing.T) {
	for _, left := range []int{1, 0} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			poke := &script{name: "poke", onProcess: true}
			l := newLab(t, Options{Live: true}, poke)
			conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 3)
			h := holder(t, conns...)
			poke.apply = func(target actions.Target) actions.Outcome {
				nl, err := sockdiag.Dial(-1)
				must(t, "dial", err)
				defer nl.Close()
				for _, s := range target.Sockets[:len(target.Sockets)-left] {
					must(t, "destroy", nl.Destroy(t.Context(), &s.Socket))
				}
				return actions.Outcome{Result: actions.Refused}
			}
			r := l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "poke, {signal: KILL}")))
			if len(poke.applied) != 1 || len(poke.applied[0].Sockets) != 3 {
				t.Fatalf("applied %+v", poke.applied)
			}
			if h.Running() && left == 1 || !h.Running() && left == 0 {
				t.Errorf("%d sockets left, runs %t\n%s", left, h.Running(), describe(r))
			}
		})
	}
}

// The condition of a first rung counts, and what is unknown does not hold.
func TestFirstRungIf(t *testing.T) {
	for cond, want := range map[string]report.Decision{
		"recv_queue == 0": report.DecideAct, "recv_queue > 0": report.DecideUnless, `container == "x" || rto > 0`: report.DecideAct, "age > 1h": report.DecideUnless, "1 == 2": report.DecideUnless,
	} {
		t.Run(cond, func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			h := holder(t, c)
			cond := strings.Replace(cond, "1h", `'1h'`, 1)
			r := l.run(t, l.rules(t, ruleFile(port(c), "{destroy: {udp: true}, if: '"+strings.ReplaceAll(cond, "'", "''")+"'}, {signal: KILL}")))
			f := findingOf(t, r, c)
			if f.Decision != want || survives(t, c) == (want == report.DecideAct) || !h.Running() {
				t.Errorf("%s; want %s", line(f), want)
			}
			if want == report.DecideUnless && !strings.HasPrefix(f.Reason, "if of r") {
				t.Errorf("reason %q", f.Reason)
			}
		})
	}
}

// survives reports whether a socket that a holder has is still in its state.
func survives(t *testing.T, c *socklab.Conn) bool {
	t.Helper()
	s, ok := procState(t, c)
	return ok && s == c.Kind.State()
}

// A harmless first action does not take a rule out of limits, cool-downs, guards
// and the breaker.
func TestHarmlessFirst(t *testing.T) {
	const then = `log, {destroy: {udp: true}, if: result == "done"}`
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 60)
	own := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, conns...)
	l := newLab(t, Options{Live: true})
	calm := "defaults: {breaker: {share: 100%}}\n"
	r := l.run(t, l.rules(t, calm+ruleFile(`state == "CLOSE_WAIT"`, then, "limits: {per_cycle: 5}")))
	expect(t, findingOf(t, r, own), report.DecideGuarded, "sockwarden's own")
	n := map[report.Decision]int{}
	for _, f := range r.Findings {
		n[f.Decision]++
	}
	if n[report.DecideAct] != 5 || n[report.DecideLimited] != 55 || len(l.journal.lines("msg=finding")) != 5 {
		t.Errorf("decisions %v", n)
	}
	r = l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, then, "limits: {per_cycle: 1000}")))
	n = map[report.Decision]int{}
	for _, f := range r.Findings {
		n[f.Decision]++
	}
	if n[report.DecideBreaker] != 55 || n[report.DecideAct] != 0 {
		t.Errorf("decisions %v", n)
	}
	// A rule that only logs needs no guard and trips no breaker, but limits hold for it, and
	// what stands is logged once.
	p := l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "log", "limits: {per_cycle: 5}"))
	logged := len(l.journal.lines("msg=finding"))
	for _, want := range []int{5, 5, 5} {
		if r = l.run(t, p); r.Summary.Acted != want || len(r.Errors) > 0 {
			t.Errorf("summary %+v, errors %v", r.Summary, r.Errors)
		}
	}
	if got := len(l.journal.lines("msg=finding")) - logged; got != 15 {
		t.Errorf("%d lines", got)
	}
	said := map[string]bool{}
	for _, line := range l.journal.lines("msg=finding")[logged:] {
		said[line[strings.Index(line, "port="):]] = true
	}
	if len(said) != 15 {
		t.Errorf("%d sockets of 15 lines", len(said))
	}
	r = l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "log", "limits: {per_cycle: 1000}")))
	if r.Summary.Acted != 56-15 {
		t.Errorf("the rest: %+v", r.Summary)
	}
	for range 2 {
		if r = l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "log", "limits: {per_cycle: 1000}"))); r.Summary.Acted != 0 || len(findingsWith(r, report.DecideCooldown)) < 56 {
			t.Errorf("again: %+v", r.Summary)
		}
	}
}

func findingsWith(r *report.Report, d report.Decision) (found []*report.Finding) {
	for _, f := range r.Findings {
		if f.Decision == d {
			found = append(found, f)
		}
	}
	return found
}

// A later rung cannot be for several processes, and says so.
func TestLaterRungSeveralOwners(t *testing.T) {
	first := outcomes("first", actions.Outcome{Result: actions.Refused})
	l := newLab(t, Options{Live: true}, first)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	a := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
	b := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}})
	for _, owners := range []string{"", ", owners: all"} {
		r := l.run(t, l.rules(t, ruleFile(port(c), "first, {signal: {signal: KILL"+owners+"}}", "limits: {cooldown: 0}")))
		f := findingOf(t, r, c)
		if !strings.Contains(f.Last().Error, "2 processes hold it") || !a.Running() || !b.Running() {
			t.Error(line(f))
		}
	}
}

// That one of several processes goes on is a failure, whichever is the last.
func TestOneOfSeveralFails(t *testing.T) {
	for _, first := range []bool{true, false} {
		l := newLab(t, Options{Live: true})
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		a := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true, IgnoreTerm: first})
		b := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, IgnoreTerm: !first})
		r := l.run(t, l.rules(t, ruleFile(port(c), "{signal: TERM, owners: all, wait: 200ms}")))
		f := findingOf(t, r, c)
		if len(f.Actions) != 2 || f.Last().Result != actions.StillRunning || !r.Failed() || r.Summary.Acted != 0 {
			t.Errorf("%s, summary %+v", line(f), r.Summary)
		}
		if a.Running() != first || b.Running() == first {
			t.Errorf("first runs %t, second %t", a.Running(), b.Running())
		}
	}
}

// A ladder ends when its rule is changed or gone; under an unchanged rule it
// goes on, with the protection of the new generation.
func TestCancelLadders(t *testing.T) {
	text := ruleFile("state == 'CLOSE_WAIT'", "{signal: TERM, wait: 300ms}, {signal: KILL, wait: 5s}", "limits: {cooldown: 1h}")
	for name, test := range map[string]struct {
		reloaded string
		killed   bool
	}{
		"unchanged":     {text + "    description: other words\n", true},
		"changed":       {strings.Replace(text, "wait: 5s", "wait: 6s", 1), false},
		"removed":       {strings.Replace(text, "name: r", "name: s", 1), false},
		"disabled":      {text + "    mode: disabled\n", false},
		"protected now": {text + "protect: [{name: p, when: port > 0}]\n", false},
		"protected by another": {
			text + "protect: [{name: p, when: port == 1}]\n", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, IgnoreTerm: true})
			expect(t, findingOf(t, l.cycle(t, l.rules(t, text)), c), report.DecideAct, "", actions.StillRunning)
			l.cycle(t, l.rules(t, test.reloaded))
			if _, waits := l.Pending(); waits != (test.killed || strings.HasPrefix(name, "protected")) {
				t.Errorf("waits %t", waits)
			}
			if cancelled := len(l.journal.lines("ladder cancelled, its rule changed", "rule=r")); cancelled == 1 == (test.killed || strings.HasPrefix(name, "protected")) {
				t.Errorf("%d lines", cancelled)
			}
			socklab.WaitFor(t, "the end of the ladder", func() bool {
				l.Step(t.Context())
				_, waits := l.Pending()
				return !waits
			})
			if test.killed {
				h.Wait(t)
			} else if !h.Running() {
				t.Error("it was killed")
			}
		})
	}
}

// Finish gives up when it is asked to stop, and the report says what is true.
func TestFinishCancelled(t *testing.T) {
	l := newLab(t, Options{Live: true})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, IgnoreTerm: true})
	r := l.cycle(t, l.rules(t, ruleFile(port(c), "{signal: TERM, wait: 1h}, {signal: KILL}")))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	l.Finish(ctx, r)
	if _, waits := l.Pending(); waits || r.Summary.Failed != 1 || !h.Running() {
		t.Errorf("waits %t, summary %+v", waits, r.Summary)
	}
	expect(t, findingOf(t, r, c), report.DecideAct, "", actions.StillRunning)
}
