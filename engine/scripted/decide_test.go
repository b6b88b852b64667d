package scripted_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
)

// Rules are tried in order: the first enforcing one that holds owns the socket, and what
// spares the socket then keeps it from later rules too, even a guard.
func TestOwnership(t *testing.T) {
	one := func(name, when, more string) string {
		return fmt.Sprintf("  - {name: %s, when: %q, then: [destroy]%s}\n", name, when, more)
	}
	// nothing is known about cmdline here.
	const yes, no, unknown = `state == "ESTABLISHED"`, `state == "LISTEN"`, "cmdline == 'x'"
	for name, test := range map[string]struct{ rules, want, guarded string }{
		"first wins":         {one("a", yes, "") + one("b", yes, ""), "a act, b shadowed", "a guarded, b shadowed"},
		"no match":           {one("a", no, "") + one("b", yes, ""), "b act", "b guarded"},
		"unknown is no":      {one("a", unknown, "") + one("b", yes, ""), "b act", "b guarded"},
		"unless looks on":    {one("a", yes, ", unless: 'port > 0'") + one("b", yes, ""), "a unless, b act", "a unless, b guarded"},
		"unknown unless":     {one("a", yes, `, unless: "`+unknown+`"`) + one("b", yes, ""), "a unless, b act", "a unless, b guarded"},
		"pending looks on":   {one("a", yes, ", for: 1h") + one("b", yes, ""), "a pending, b act", "a pending, b guarded"},
		"observe looks on":   {one("a", yes, ", mode: observe") + one("b", yes, ""), "a observe, b act", "a observe, b guarded"},
		"observe behind":     {one("a", yes, "") + one("b", yes, ", mode: observe"), "a act, b observe", "a guarded, b observe"},
		"disabled":           {one("a", yes, ", mode: disabled") + one("b", yes, ""), "b act", "b guarded"},
		"if keeps ownership": {strings.Replace(one("a", yes, ""), "[destroy]", "[{destroy: {udp: true}, if: 'port == 1'}]", 1) + one("b", yes, ""), "a unless, b shadowed", "a guarded, b shadowed"},
		"protect": {
			one("a", yes, "") + one("b", yes, "") + "protect: [{name: p, when: port > 0}]\n",
			"a protected, b shadowed", "a protected, b shadowed",
		},
		"protect unknown": {
			one("a", yes, "") + one("b", yes, "") + `protect: [{name: p, when: "` + unknown + "\"}]\n",
			"a protected, b shadowed", "a protected, b shadowed",
		},
		"protect false": {one("a", yes, "") + "protect: [{name: p, when: process == 'nginx'}]\n", "a act", "a guarded"},
		"limits": {
			one("a", yes, ", limits: {per_cycle: 1}") + one("b", yes, "") + "defaults: {breaker: {count: 1}}\n",
			"a act, b shadowed", "a guarded, b shadowed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, engine.Options{})
			c := s.sockets(1, collectors.Established, time.Hour, 7)[0]
			guarded := s.Add(collectors.Socket{State: collectors.Established}, time.Hour, collectors.Owner{PID: 9, Name: "sshd"})
			r := s.run(s.file("rules:\n" + test.rules))
			s.noErrors(r)
			if got := decisions(r, c); got != test.want {
				t.Errorf("got %s, want %s\n%s", got, test.want, describe(r))
			}
			if got := decisions(r, guarded); got != test.guarded {
				t.Errorf("the guarded one: got %s, want %s", got, test.guarded)
			}
			checkSum(t, r)
		})
	}
}

// What cannot be told spares, and the reason says so.
func TestReasons(t *testing.T) {
	for more, want := range map[string]string{
		"unless: cmdline == 'x'": "unless of r (unknown)",
		"unless: port > 0":       "unless of r",
		"for: 90s":               "r for 1m30s, so far 0s",
		"mode: observe":          "mode observe",
		"limits: {cooldown: 1}":  "",
	} {
		s := newStage(t, engine.Options{})
		c := s.sockets(1, collectors.Established, time.Hour, 7)[0]
		if f := s.findingOf(s.run(s.rules("port > 0", "destroy", more)), c); f.Reason != want {
			t.Errorf("%s: reason %q, want %q", more, f.Reason, want)
		}
	}
}

// A rule acts only after it has matched for that long without a break, and a changed rule
// starts over.
func TestForBreaks(t *testing.T) {
	s := newStage(t, engine.Options{})
	c := s.sockets(1, collectors.Established, time.Hour, 7)[0]
	text := rule("recv_queue == 0", "destroy", "for: 40s")
	pending := func(text string) bool {
		return s.findingOf(s.run(s.file(text)), c).Decision == engine.DecidePending
	}
	held := func() {
		t.Helper()
		if !pending(text) {
			t.Error("it acts at once")
		}
		s.Advance(40*time.Second - time.Millisecond)
		if !pending(text) {
			t.Error("it acts early")
		}
		s.Advance(time.Millisecond)
		if pending(text) {
			t.Error("it does not act in time")
		}
	}
	held()
	// A break: the condition did not hold in one cycle.
	s.Advance(time.Second)
	c.RecvQueue = 1
	if n := len(findingsOf(s.run(s.file(text)), c)); n != 0 {
		t.Fatalf("%d findings", n)
	}
	c.RecvQueue = 0
	held()
	text = strings.Replace(text, "40s", "40.001s", 1)
	if !pending(text) {
		t.Error("a changed rule does not start again")
	}
}

// A condition must hold for each of several owners; one owner is enough to spare; a
// signal must suit all of them.
func TestSeveralOwners(t *testing.T) {
	owners := func(s *stage) *scripted.Socket {
		return s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, collectors.Owner{PID: 7, Name: "alpha"}, collectors.Owner{PID: 8, Name: "beta"})
	}
	for name, test := range map[string]struct{ when, more, then, want string }{
		"each":              {`process in ["alpha", "beta"]`, "", "destroy", "r act"},
		"one only":          {`process == "alpha"`, "", "destroy", ""},
		"not for the other": {`process != "alpha"`, "", "destroy", ""},
		"neither":           {`process != "gamma"`, "", "destroy", "r act"},
		"count":             {"owners == 2", "", "destroy", "r act"},
		"unless one":        {"true", "unless: process == 'beta'", "destroy", "r unless"},
		"unless none":       {"true", "unless: process == 'gamma'", "destroy", "r act"},
		"signal":            {"true", "", "{signal: TERM}", "r guarded"},
		"signal all":        {"true", "", "{signal: {signal: TERM, owners: all}}", "r act"},
		"first if":          {"true", "", `{destroy: {udp: true}, if: process == "alpha"}`, "r unless"},
		"first if each":     {"true", "", `{destroy: {udp: true}, if: process != "x"}`, "r act"},
		"protect alpha":     {"true", "protect alpha", "destroy", "r protected"},
		"protect beta":      {"true", "protect beta", "destroy", "r protected"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, engine.Options{})
			c := owners(s)
			text := rule("port > 0 && "+test.when, test.then)
			if who, ok := strings.CutPrefix(test.more, "protect "); ok {
				text += "protect: [{name: p, when: process == '" + who + "'}]\n"
			} else if test.more != "" {
				text += "    " + test.more + "\n"
			}
			r := s.run(s.file(text))
			if got := decisions(r, c); got != test.want {
				t.Errorf("got %q, want %q\n%s", got, test.want, describe(r))
			}
		})
	}
	s := newStage(t, live)
	c := owners(s)
	s.expectOf(s.run(s.rules(closeWait, "{signal: {signal: TERM, owners: all}, wait: 5s}")), c, engine.DecideAct, "", actions.Ended, actions.Ended)
	if s.Runs(7) || s.Runs(8) {
		t.Error("they run")
	}
}

// What each mode may do, for limits and observation together.
func TestModes(t *testing.T) {
	for mode, want := range map[string]map[engine.Decision]int{
		"disabled": {}, "observe": {engine.DecideObserve: 3}, "enforce": {engine.DecideAct: 3},
	} {
		s := newStage(t, live)
		s.leak(3, time.Hour)
		r := s.run(s.rules(closeWait, "destroy", "mode: "+mode))
		s.expectTally(r, want)
		if mode == "observe" && (r.Summary.Observed != 3 || len(r.Findings[0].Actions) > 0) || len(s.Done) != want[engine.DecideAct] {
			t.Errorf("%s: done %d, %+v", mode, len(s.Done), r.Summary)
		}
		checkSum(t, r)
	}
}
