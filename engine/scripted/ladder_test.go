package scripted_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/news"
	"sockwarden/engine/scripted"
)

// waits reports whether a ladder waits.
func (s *stage) waits() bool {
	_, waits := s.Pending()
	return waits
}

// cycle runs one cycle, with its ladders as far as they get without waiting.
func (s *stage) cycle(text string) *engine.Report {
	s.t.Helper()
	r, err := s.Cycle(s.t.Context(), s.file(text))
	s.must(err)
	return r
}

// deaf makes processes outlive the first signal.
func (s *stage) deaf() {
	s.Outcomes["signal"] = []scripted.Outcome{{Result: actions.StillRunning}, {Result: actions.Ended}}
}

// While a ladder waits, the next cycle leaves its target alone, and the ladder goes on
// step by step.
func TestLadderAcrossCycles(t *testing.T) {
	w := &watcher{}
	s := newStage(t, engine.Options{Live: true, Observers: []news.Observer{w}})
	s.deaf()
	c := s.leak(1, time.Hour)[0]
	text := rule(closeWait, "{signal: TERM, wait: 10s}, {signal: KILL, wait: 5s}")
	r := s.cycle(text)
	s.expectOf(r, c, engine.DecideAct, "", actions.StillRunning)
	s.Step(t.Context())
	s.expectOf(r, c, engine.DecideAct, "", actions.StillRunning)
	if until, waits := s.Pending(); !waits || until.Sub(s.Now()) > 10*time.Second || until.Sub(s.Now()) < 9*time.Second {
		t.Fatalf("waits %t until %s", waits, until)
	}
	s.expectOf(s.cycle(text), c, engine.DecideCooldown, "cool-down 5m, 5m left")
	s.Advance(9 * time.Second)
	s.Step(t.Context())
	if !s.Runs(7) || !s.waits() {
		t.Fatal("it was killed early")
	}
	s.Advance(time.Second)
	s.Step(t.Context()) // begins to kill
	s.Step(t.Context()) // sees that it has ended
	if s.waits() || s.Runs(7) {
		t.Errorf("waits %t, runs %t", s.waits(), s.Runs(7))
	}
	if !slices.Equal(w.outcomes, []actions.Result{actions.StillRunning, actions.Ended}) {
		t.Errorf("outcomes %v", w.outcomes)
	}
}

// While a ladder waits its target is left alone, whatever the cool-down.
func TestLadderUnderWay(t *testing.T) {
	s := newStage(t, live)
	s.Outcomes["signal"] = []scripted.Outcome{{Result: actions.StillRunning}}
	c := s.leak(1, time.Hour)[0]
	text := rule(closeWait, "{signal: TERM, wait: 10s}", "limits: {cooldown: 0}")
	s.cycle(text)
	s.expectOf(s.cycle(text), c, engine.DecideCooldown, "an earlier action on it is still under way")
	s.Advance(10 * time.Second)
	s.Step(t.Context())
	s.expectOf(s.cycle(text), c, engine.DecideAct, "", actions.StillRunning)
	if len(s.Done) != 2 {
		t.Errorf("done: %+v", s.Done)
	}
}

// A plain rung starts only after a failure on this very target. A refusal by the host
// ends every ladder, and never leads to a signal.
func TestClimbs(t *testing.T) {
	deny := errors.New("denied")
	for _, test := range []struct {
		out           scripted.Outcome
		plain, asking bool // whether such a rung is started
		endsAll       bool
	}{
		{scripted.Outcome{Result: actions.Gone}, false, true, false},
		{scripted.Outcome{Result: actions.FDStillHeld}, false, true, false},
		{scripted.Outcome{Result: actions.Ended}, false, true, false},
		{scripted.Outcome{Result: actions.Done}, false, true, false},
		{scripted.Outcome{Result: actions.Changed}, false, false, false},
		{scripted.Outcome{Result: actions.Refused}, true, true, false},
		{scripted.Outcome{Result: actions.StillRunning}, true, true, false},
		{scripted.Outcome{Result: actions.Failed, Err: deny}, true, true, false},
		{scripted.Outcome{Result: actions.Unsupported, Err: deny}, false, false, true},
		{scripted.Outcome{Result: actions.NotPermitted, Err: deny}, false, false, true},
		{scripted.Outcome{Result: actions.Unsupported, Err: deny, OfTarget: true}, false, true, false},
		{scripted.Outcome{Result: actions.NotPermitted, Err: deny, OfTarget: true}, false, true, false},
		{scripted.Outcome{Result: actions.Unsupported}, false, false, true},
		{scripted.Outcome{Result: actions.NotPermitted}, false, false, true},
	} {
		for _, rung := range []string{"second", `{second: {udp: true}, if: result != "would"}`} {
			t.Run(fmt.Sprint(test.out.Result, test.out.Err, test.out.OfTarget, rung), func(t *testing.T) {
				first, second := scripted.Coming("first", test.out), scripted.Coming("second", scripted.Outcome{Result: actions.Ended})
				second.Scope = actions.ScopeProcess
				s := newStage(t, live, first, second)
				s.sockets(1, collectors.CloseWait, time.Hour, 7)
				s.sockets(1, collectors.CloseWait, time.Hour, 8)
				p := s.rules(closeWait, "first, "+rung, "limits: {cooldown: 0}")
				r := s.run(p)
				want := 0
				if test.plain && rung == "second" || test.asking && rung != "second" {
					want = 2
				}
				if len(second.Applied) != want || len(second.Prepared) != want {
					t.Errorf("the second rung was prepared %d times, applied %d times, not %d", len(second.Prepared), len(second.Applied), want)
				}
				if !test.endsAll {
					if len(first.Applied) != 2 || r.HostError != nil {
						t.Errorf("%d applied, host error %v", len(first.Applied), r.HostError)
					}
					return
				}
				if len(first.Applied) != 1 || r.HostError == nil {
					t.Fatalf("%d applied, host error %v", len(first.Applied), r.HostError)
				}
				// Nothing more is tried, in later cycles either.
				r = s.run(p)
				if len(first.Applied) != 1 || r.HostError == nil || r.Summary.Failed != 2 {
					t.Errorf("a cycle later: %d applied, host error %v, summary %+v", len(first.Applied), r.HostError, r.Summary)
				}
			})
		}
	}
}

// The host can also refuse while an effect is being prepared.
func TestHostRefusesPrepare(t *testing.T) {
	for sentinel, want := range map[error]actions.Result{
		collectors.ErrNotPermitted: actions.NotPermitted, collectors.ErrNotSupported: actions.Unsupported,
	} {
		t.Run(string(want), func(t *testing.T) {
			first, second := scripted.Coming("first", scripted.Outcome{Result: actions.Gone}), scripted.Coming("second", scripted.Outcome{Result: actions.Done})
			first.Refuses = func(actions.Target) error { return fmt.Errorf("prepare: %w", sentinel) }
			s := newStage(t, live, first, second)
			s.leak(2, time.Hour)
			r := s.run(s.rules(closeWait, "first, second"))
			if !errors.Is(r.HostError, sentinel) || len(first.Prepared) != 1 || len(first.Applied)+len(second.Prepared) > 0 {
				t.Errorf("host error %v; %d prepared, second %d", r.HostError, len(first.Prepared), len(second.Prepared))
			}
			if len(r.Findings) != 2 {
				t.Errorf("%d findings", len(r.Findings))
			}
			for _, f := range r.Findings {
				s.expectFinding(f, engine.DecideAct, "", want)
			}
			if len(s.log.lines("msg=acted", "result="+string(want), "prepare: ")) != 1 {
				t.Errorf("log:\n%s", strings.Join(s.log.lines("acted"), "\n"))
			}
		})
	}
}

// A preparation that fails for another reason concerns only its target, and climbs
// nowhere: nothing is known about the target.
func TestPrepareFails(t *testing.T) {
	first, second := scripted.Coming("first", scripted.Outcome{Result: actions.Gone}), scripted.Coming("second", scripted.Outcome{Result: actions.Done})
	first.Refuses = func(actions.Target) error {
		if len(first.Prepared) == 1 {
			return errors.New("too many open files")
		}
		return nil
	}
	s := newStage(t, live, first, second)
	s.leak(2, time.Hour)
	r := s.run(s.rules(closeWait, "first, second"))
	if r.HostError != nil || r.Summary.Failed != 1 || r.Summary.Acted != 1 || len(second.Prepared) > 0 {
		t.Errorf("host error %v, summary %+v, second %d", r.HostError, r.Summary, len(second.Prepared))
	}
	if len(s.log.lines("msg=acted", "result=failed", "too many open files")) != 1 {
		t.Errorf("log:\n%s", strings.Join(s.log.lines("acted"), "\n"))
	}
}

// The next rung is only for a target that still matches when looked up afresh, even if
// the rung asks for the result.
func TestNextRungLooksAgain(t *testing.T) {
	established := rule("state == 'ESTABLISHED'", "THEN")
	queue := func(_ *stage, c *scripted.Socket) { c.RecvQueue = 1 }
	for name, change := range map[string]struct {
		text string
		do   func(s *stage, c *scripted.Socket)
		want bool
	}{
		"nothing changed": {established, func(*stage, *scripted.Socket) {}, true},
		"closed":          {established, func(s *stage, c *scripted.Socket) { s.Remove(c) }, false},
		"state": {
			rule("state in ['ESTABLISHED', 'CLOSE_WAIT']", "THEN"),
			func(s *stage, c *scripted.Socket) { s.Enter(c, collectors.CloseWait) }, false,
		},
		"given away": {established, func(_ *stage, c *scripted.Socket) { c.Owners = nil }, false},
		"when":       {rule("state == 'ESTABLISHED' && recv_queue == 0", "THEN"), queue, false},
		"unless":     {rule("state == 'ESTABLISHED'", "THEN", "unless: recv_queue > 0"), queue, false},
		"protect":    {"protect: [{name: p, when: recv_queue > 0}]\n" + established, queue, false},
	} {
		for _, rung := range []string{"second", `{second: {udp: true}, if: result == "refused"}`, `{signal: KILL}`, `{signal: KILL, if: result == "refused"}`} {
			if name == "given away" && !strings.Contains(rung, "KILL") {
				continue // it is as it was
			}
			t.Run(name+" "+rung, func(t *testing.T) {
				first, second := scripted.Coming("first"), scripted.Coming("second", scripted.Outcome{Result: actions.Done})
				s := newStage(t, live, first, second)
				c := s.sockets(1, collectors.Established, time.Hour, 7)[0]
				other := s.sockets(1, collectors.Listen, time.Hour, 7)[0] // its process lives on
				first.Does = func(actions.Target) scripted.Outcome {
					change.do(s, c)
					return scripted.Outcome{Result: actions.Refused}
				}
				r := s.run(s.file(strings.Replace(change.text, "THEN", "first, "+rung, 1)))
				f := s.findingOf(r, c)
				started := len(f.Actions) == 2 && f.Last().Result.Succeeded()
				if started != change.want || len(first.Applied) != 1 || len(second.Applied)+len(s.Done) != map[bool]int{true: 1}[change.want] {
					t.Errorf("the second rung was started: %t, want %t: %s", started, change.want, line(f))
				}
				if strings.Contains(rung, "KILL") && s.There(other) == change.want {
					t.Errorf("the process runs: %t", s.There(other))
				}
			})
		}
	}
}

// A process is still the target as long as one of its sockets matches.
func TestProcessWithSocketsLeft(t *testing.T) {
	for _, left := range []int{1, 0} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			poke := poker()
			s := newStage(t, live, poke)
			all := s.leak(3, time.Hour)
			s.sockets(1, collectors.Listen, time.Hour, 7)
			poke.Does = func(actions.Target) scripted.Outcome {
				s.close(all[:len(all)-left]...)
				return scripted.Outcome{Result: actions.Refused}
			}
			r := s.run(s.rules(closeWait, "poke, {signal: KILL}"))
			if len(poke.Applied) != 1 || len(poke.Applied[0].Sockets) != 3 {
				t.Fatalf("applied %+v", poke.Applied)
			}
			if s.Runs(7) != (left == 0) {
				t.Errorf("%d sockets left, runs %t\n%s", left, s.Runs(7), describe(r))
			}
		})
	}
}

// The condition of a first rung counts, and an unknown one does not hold.
func TestFirstRungIf(t *testing.T) {
	for cond, want := range map[string]engine.Decision{
		"recv_queue == 0": engine.DecideAct, "recv_queue > 0": engine.DecideUnless, `container == "x" || rto > 0`: engine.DecideAct,
		"age > '3h'": engine.DecideUnless, "1 == 2": engine.DecideUnless, "cmdline == 'x'": engine.DecideUnless,
	} {
		t.Run(cond, func(t *testing.T) {
			s := newStage(t, engine.Options{Live: true, Events: engine.EventsOff})
			c := s.Add(collectors.Socket{State: collectors.CloseWait, Info: collectors.TCPInfo{RTO: 200_000}}, time.Hour, app(7))
			r := s.run(s.rules(closeWait, "{destroy: {udp: true}, if: '"+strings.ReplaceAll(cond, "'", "''")+"'}, {signal: KILL}"))
			f := s.findingOf(r, c)
			if f.Decision != want || s.There(c) == (want == engine.DecideAct) || len(s.Done) > 1 {
				t.Errorf("%s; want %s", line(f), want)
			}
			if want == engine.DecideUnless && !strings.HasPrefix(f.Reason, "if of r") {
				t.Errorf("reason %q", f.Reason)
			}
		})
	}
}

// A harmless first action does not exempt a rule from limits, cool-downs, guards and the
// breaker.
func TestHarmlessFirst(t *testing.T) {
	const then = `log, {destroy: {udp: true}, if: result == "done"}`
	s := newStage(t, live)
	s.leak(60, time.Second)
	own := s.Add(collectors.Socket{State: collectors.CloseWait}, time.Second, collectors.Owner{PID: 9, Name: "sshd"})
	r := s.run(s.file("defaults: {breaker: {share: 100%}}\n" + rule(closeWait, then, "limits: {per_cycle: 5}")))
	s.expectOf(r, own, engine.DecideGuarded, "sshd")
	s.expectTally(r, map[engine.Decision]int{engine.DecideAct: 5, engine.DecideLimited: 55, engine.DecideGuarded: 1})
	if len(s.Done) != 10 || s.There(own) != true {
		t.Errorf("done: %d", len(s.Done))
	}
	r = s.run(s.rules(closeWait, then, "limits: {per_cycle: 1000}"))
	s.expectTally(r, map[engine.Decision]int{engine.DecideBreaker: 55, engine.DecideGuarded: 1})
}

// A rule that only logs needs no guard and trips no breaker, but limits hold for it. It
// logs a lasting finding once, and again if the finding comes back after its cool-down.
func TestLogOnce(t *testing.T) {
	s := newStage(t, live)
	s.leak(12, time.Second)
	p := s.rules(closeWait, "log", "limits: {per_cycle: 5, cooldown: 1m}")
	for i, want := range []int{5, 5, 2, 0, 0} {
		r := s.run(p)
		if r.Summary.Acted != want || len(r.Errors) > 0 || len(s.Done) != min(12, 5*(i+1)) {
			t.Errorf("cycle %d: %+v, errors %v, %d done", i, r.Summary, r.Errors, len(s.Done))
		}
		s.Advance(10 * time.Second)
	}
	for range 30 {
		if r := s.run(p); r.Summary.Acted != 0 {
			t.Errorf("again: %+v", r.Summary)
		}
		s.Advance(10 * time.Second)
	}
	s.run(s.rules("port == 1", "log")) // another rule r: the findings of the first have ended
	if r := s.run(p); r.Summary.Acted != 5 {
		t.Errorf("come back: %+v", r.Summary)
	}
}

// A later rung cannot target several processes, and says so.
func TestLaterRungSeveralOwners(t *testing.T) {
	s := newStage(t, live, scripted.Coming("first", scripted.Outcome{Result: actions.Refused}))
	c := s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, app(7), app(8))
	for _, owners := range []string{"", ", owners: all"} {
		f := s.findingOf(s.run(s.rules(closeWait, "first, {signal: {signal: KILL"+owners+"}}", "limits: {cooldown: 0}")), c)
		if !strings.Contains(f.Last().Error, "2 processes hold it") || !s.Runs(7) || !s.Runs(8) {
			t.Error(line(f))
		}
	}
}

// If one of several processes lives on, that is a failure, whichever is the last.
func TestOneOfSeveralFails(t *testing.T) {
	for _, first := range []bool{true, false} {
		s := newStage(t, live)
		s.Outcomes["signal"] = []scripted.Outcome{{Result: actions.StillRunning}, {Result: actions.Ended}}
		if !first {
			s.Outcomes["signal"] = []scripted.Outcome{{Result: actions.Ended}, {Result: actions.StillRunning}}
		}
		c := s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, app(7), app(8))
		r := s.run(s.rules(closeWait, "{signal: {signal: TERM, owners: all}, wait: 200ms}"))
		f := s.findingOf(r, c)
		if len(f.Actions) != 2 || f.Last().Result != actions.StillRunning || !r.Failed() || r.Summary.Acted != 0 {
			t.Errorf("%s, summary %+v", line(f), r.Summary)
		}
		if s.Runs(7) != first || s.Runs(8) == first {
			t.Errorf("first runs %t, second %t", s.Runs(7), s.Runs(8))
		}
	}
}

// A ladder ends when its rule is changed or gone; under an unchanged rule it goes on,
// with the protection of the new generation.
func TestCancelLadders(t *testing.T) {
	text := rule(closeWait, "{signal: TERM, wait: 10s}, {signal: KILL, wait: 5s}", "limits: {cooldown: 1h}")
	for name, test := range map[string]struct {
		reloaded      string
		waits, killed bool
	}{
		"unchanged":            {text + "    description: other words\n", true, true},
		"changed":              {strings.Replace(text, "wait: 5s", "wait: 6s", 1), false, false},
		"removed":              {strings.Replace(text, "name: r", "name: s", 1), false, false},
		"disabled":             {text + "    mode: disabled\n", false, false},
		"protected now":        {text + "protect: [{name: p, when: port > 0}]\n", true, false},
		"protected by another": {text + "protect: [{name: p, when: port == 1}]\n", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, live)
			s.deaf()
			c := s.leak(1, time.Hour)[0]
			s.expectOf(s.cycle(text), c, engine.DecideAct, "", actions.StillRunning)
			s.cycle(test.reloaded)
			if s.waits() != test.waits {
				t.Errorf("waits %t", s.waits())
			}
			if cancelled := len(s.log.lines("ladder cancelled, its rule changed", "rule=r")); (cancelled == 1) == test.waits {
				t.Errorf("%d lines", cancelled)
			}
			for range 100 { // more than both rungs may take
				s.Advance(200 * time.Millisecond)
				s.Step(t.Context())
			}
			if s.waits() || s.Runs(7) == test.killed {
				t.Errorf("waits %t, runs %t", s.waits(), s.Runs(7))
			}
		})
	}
}

// Finish gives up when it is told to stop, and the report says what is true.
func TestFinishCancelled(t *testing.T) {
	s := newStage(t, live)
	s.deaf()
	c := s.leak(1, time.Hour)[0]
	r := s.cycle(rule(closeWait, "{signal: TERM, wait: 1h}, {signal: KILL}"))
	ended, stop := context.WithCancel(t.Context())
	stop()
	s.Finish(ended, r)
	if s.waits() || r.Summary.Failed != 1 || !s.Runs(7) || len(s.Done) != 1 {
		t.Errorf("waits %t, summary %+v", s.waits(), r.Summary)
	}
	s.expectOf(r, c, engine.DecideAct, "", actions.StillRunning)
}

// A later rung does not begin after the window of its rule, whatever the ladder is about.
func TestWindowEndsLadder(t *testing.T) {
	s := newStage(t, live)
	s.deaf()
	c := s.leak(1, time.Hour)[0]
	text := rule(closeWait, "{signal: TERM, wait: 10s}, {signal: KILL, wait: 5s}", `during: ["12:00-12:01"]`)
	s.Advance(55 * time.Second)
	s.expectOf(s.cycle(text), c, engine.DecideAct, "", actions.StillRunning)
	s.Advance(11 * time.Second)
	s.Step(t.Context())
	if s.waits() || !s.Runs(7) || len(s.Done) != 1 {
		t.Errorf("waits %t, runs %t, done %+v", s.waits(), s.Runs(7), s.Done)
	}
}
