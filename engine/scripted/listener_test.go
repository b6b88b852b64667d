package scripted_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
)

const (
	full       = `state == "LISTEN" and recv_queue > send_queue`
	waitsLong  = `unaccepted and age > 30`
	termFor    = "{signal: TERM, listener: true}"
	restartFor = "{restart: {listener: true}}"
)

// queue is a listener of some processes with connections in its queue, which holds four.
func (s *stage) queue(port uint16, waiting int, owners ...collectors.Owner) (listener *scripted.Socket, queued []*scripted.Socket) {
	listener = s.Add(collectors.Socket{State: collectors.Listen, LocalPort: port, RecvQueue: uint32(waiting), SendQueue: 4}, time.Hour, owners...)
	for range waiting {
		queued = append(queued, s.Add(collectors.Socket{State: collectors.Established, LocalPort: port}, time.Minute))
	}
	return listener, queued
}

// twice runs a cycle, and another if it takes a second look.
func (s *stage) twice(text string) *engine.Report {
	s.t.Helper()
	p := s.file(text)
	r := s.run(p)
	if !slices.ContainsFunc(r.Findings, func(f *engine.Finding) bool { return f.Decision == engine.DecidePending }) {
		return r
	}
	s.Advance(2 * time.Second)
	return s.run(p)
}

func worker(pid int, unit string) collectors.Owner {
	return collectors.Owner{PID: pid, Name: "worker", Unit: unit}
}

// A listener with a full queue leads to its process if the rule opts in, and to that one
// only: not to sockets that share its port, nor to another listener.
func TestFullQueue(t *testing.T) {
	for then, needs := range map[string]string{
		"{signal: TERM}": "listener: needs {signal: TERM, listener: true}",
		"restart":        "listener: needs {restart: {listener: true}}",
		termFor:          "", restartFor: "",
	} {
		t.Run(then, func(t *testing.T) {
			s := newStage(t, live)
			stuck, _ := s.queue(80, 5, worker(8, "stuck.service"))
			s.queue(80, 4, worker(9, "sibling.service"))
			s.queue(81, 0, worker(10, "other.service"))
			r := s.twice(rule(full, then))
			s.noErrors(r)
			if needs != "" {
				s.expectOf(r, stuck, engine.DecideGuarded, needs)
			} else {
				s.expectOf(r, stuck, engine.DecideAct, "", actions.Ended)
			}
			if len(r.Findings) != 1 || s.Runs(8) != (needs != "") || !s.Runs(9) || !s.Runs(10) {
				t.Errorf("%t %t %t\n%s", s.Runs(8), s.Runs(9), s.Runs(10), describe(r))
			}
		})
	}
}

// A burst fills a queue for a moment: before it leads to a process it must be seen twice,
// at least a second apart and without a break, whatever else the rule says.
func TestFullQueueIsSeenTwice(t *testing.T) {
	for when, more := range map[string]string{full: "mode: enforce", full + " and age > 60": "for: 1ms", "unaccepted": "mode: enforce"} {
		t.Run(when, func(t *testing.T) {
			s := newStage(t, live)
			listener, queued := s.queue(80, 5, app(8))
			p := s.file(rule(when, termFor, more))
			decided := func(want engine.Decision) {
				t.Helper()
				r := s.run(p)
				if len(r.Findings) == 0 || slices.ContainsFunc(r.Findings, func(f *engine.Finding) bool { return f.Decision != want }) {
					t.Errorf("not all are %s:\n%s", want, describe(r))
				}
			}
			decided(engine.DecidePending)
			s.Advance(500 * time.Millisecond)
			decided(engine.DecidePending)
			// It accepts, then is busy again.
			listener.RecvQueue = 0
			for _, c := range queued {
				s.Remove(c)
			}
			s.Advance(100 * time.Millisecond)
			s.run(p)
			listener.RecvQueue = 5
			for range 5 {
				s.Add(collectors.Socket{State: collectors.Established, LocalPort: 80}, 0)
			}
			s.Advance(time.Second)
			decided(engine.DecidePending)
			s.Advance(time.Second)
			decided(engine.DecideAct)
			if s.Runs(8) {
				t.Error("it runs on")
			}
		})
	}
}

// Connections that wait to be accepted lead to the process of their listener, once,
// however many wait.
func TestUnacceptedLeadsToListener(t *testing.T) {
	s := newStage(t, live)
	_, queued := s.queue(80, 5, app(8))
	s.queue(81, 0, app(9))
	r := s.twice(rule(waitsLong, "{signal: TERM}"))
	s.expectOf(r, queued[0], engine.DecideGuarded, "waits to be accepted: no process has it yet, for that of its listener write {signal: TERM, listener: true}")
	r = s.twice(rule(waitsLong, termFor, "limits: {per_cycle: 1}"))
	s.expectTally(r, map[engine.Decision]int{engine.DecideAct: 5})
	if f := r.Findings[0]; f.Actions[0].Text(f) != "signal TERM app[8]" {
		t.Errorf("it says %q", f.Actions[0].Text(f))
	}
	if s.Runs(8) || !s.Runs(9) || len(s.Done) != 1 || s.Done[0].PID != 8 || len(s.Done[0].Cookies) != 5 {
		t.Errorf("%t %t, done %+v", s.Runs(8), s.Runs(9), s.Done)
	}
}

// A canary takes a share of the processes, not of the connections that wait for them.
func TestCanaryOfListeners(t *testing.T) {
	s := newStage(t, engine.Options{})
	const servers, waiting = 16, 4
	var all [][]*scripted.Socket
	for i := range servers {
		_, queued := s.queue(uint16(8000+i), waiting, app(100+i))
		all = append(all, queued)
	}
	r := s.twice(rule(waitsLong, termFor, "canary: 50%"))
	acted := 0
	for i, queued := range all {
		first := s.findingOf(r, queued[0]).Decision
		for _, c := range queued {
			if f := s.findingOf(r, c); f.Decision != first {
				t.Errorf("server %d: %s, not %s", i, line(f), first)
			}
		}
		if first == engine.DecideAct {
			acted++
		} else if first != engine.DecideCanary {
			t.Errorf("server %d: %s", i, first)
		}
	}
	if acted == 0 || acted == servers {
		t.Errorf("%d of %d", acted, servers)
	}
}

// If several listeners fit, those with an empty queue are ruled out; among the rest
// nobody can tell, and there is no action unless all lead to the same process.
func TestWhoseQueueItIs(t *testing.T) {
	one, two := worker(8, "web.service"), worker(9, "web.service")
	const unsure = "waits to be accepted: it can be in the queue of 2 listeners of several processes"
	for name, test := range map[string]struct {
		queued       int // at the other listener
		first, other []collectors.Owner
		then, spared string
		done         int
	}{
		"empty":             {0, []collectors.Owner{one}, []collectors.Owner{two}, termFor, "", 1},
		"not empty":         {1, []collectors.Owner{one}, []collectors.Owner{two}, termFor, unsure, 0},
		"for all of them":   {1, []collectors.Owner{one}, []collectors.Owner{two}, "{signal: {signal: TERM, listener: true, owners: all}}", unsure, 0},
		"one process":       {1, []collectors.Owner{one}, []collectors.Owner{one}, termFor, "", 1},
		"one unit":          {1, []collectors.Owner{one}, []collectors.Owner{two}, restartFor, "", 1},
		"two units":         {1, []collectors.Owner{one}, []collectors.Owner{worker(9, "api.service")}, restartFor, unsure, 0},
		"prefork":           {0, []collectors.Owner{one, two}, []collectors.Owner{app(7)}, termFor, "2 processes hold it, and the rung does not say owners: all", 0},
		"prefork, all":      {0, []collectors.Owner{one, two}, []collectors.Owner{app(7)}, "{signal: {signal: TERM, listener: true, owners: all}}", "", 2},
		"prefork, restart":  {0, []collectors.Owner{one, two}, []collectors.Owner{app(7)}, restartFor, "", 1},
		"protected sibling": {0, []collectors.Owner{one}, []collectors.Owner{{PID: 9, Name: "sshd"}}, termFor, "waits to be accepted: protected process sshd", 0},
		"PID 1 has it, too": {0, []collectors.Owner{one, {PID: 1, Name: "systemd"}}, []collectors.Owner{app(7)}, restartFor, "held by PID 1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, live)
			_, queued := s.queue(80, 3, test.first...)
			s.queue(80, test.queued, test.other...)
			r := s.twice(rule(waitsLong, test.then))
			f := s.findingOf(r, queued[0])
			if test.spared != "" {
				s.expectFinding(f, engine.DecideGuarded, test.spared)
			} else if f.Decision != engine.DecideAct {
				t.Error(line(f))
			}
			if len(s.Done) != test.done {
				t.Errorf("done %+v\n%s", s.Done, describe(r))
			}
		})
	}
}

// A prefork server's listener has several owners: its unit is one target, hit once.
func TestPreforkListener(t *testing.T) {
	s := newStage(t, live)
	owners := []collectors.Owner{worker(8, "web.service"), worker(9, "web.service"), worker(10, "web.service")}
	stuck, _ := s.queue(80, 5, owners...)
	s.expectOf(s.twice(rule(full, termFor)), stuck, engine.DecideGuarded, "3 processes hold it, and the rung does not say owners: all")
	r := s.twice(rule(full, restartFor, "limits: {per_cycle: 1}"))
	s.expectOf(r, stuck, engine.DecideAct, "", actions.Ended)
	if len(s.Done) != 1 || s.Done[0].Action != "restart" {
		t.Errorf("done %+v", s.Done)
	}
	other := newStage(t, live)
	stuck, _ = other.queue(80, 5, worker(8, "web.service"), worker(9, "api.service"))
	other.expectOf(other.twice(rule(full, restartFor)), stuck, engine.DecideGuarded, "2 processes hold it, and restart is for one")
}

// What a process serves counts as collateral and for the breaker. Connections in a queue
// that nobody empties do not count: otherwise such a process could never be acted on.
func TestCollateralOfListener(t *testing.T) {
	for when, sockets := range map[string]int{full: 1, waitsLong: 5} {
		t.Run(when, func(t *testing.T) {
			s := newStage(t, live)
			s.queue(80, 5, app(8))
			s.at(80, 2, collectors.Established, 8)
			const limits = "limits: {max_collateral: MOST}"
			text := "defaults: {breaker: {count: 3, share: 100%}}\n" + rule(when, termFor, limits)
			r := s.twice(strings.Replace(text, "MOST", "1", 1))
			for _, f := range r.Findings {
				s.expectFinding(f, engine.DecideLimited, "max_collateral 1: 2 established connections would die with app[8]")
			}
			r = s.twice(strings.Replace(text, "MOST", "2", 1))
			s.noErrors(r) // the breaker counts the process and what it serves
			s.expectTally(r, map[engine.Decision]int{engine.DecideAct: sockets})
			if f := r.Findings[0]; s.Runs(8) || f.Collateral != 2 || f.Last().Detail != "2 established connections died with it" {
				t.Error(line(f))
			}
		})
	}
	// For any other action they die with the process, as before.
	s := newStage(t, live)
	s.queue(80, 5, app(8))
	hung := s.at(81, 1, collectors.CloseWait, 8)[0]
	s.expectOf(s.run(s.rules(closeWait, termFor, "limits: {max_collateral: 4}")), hung, engine.DecideLimited,
		"max_collateral 4: 5 established connections would die with app[8]")
}

// Sockets that belong to one listener are a group, by the address where it listens.
func TestGroupByListener(t *testing.T) {
	s := newStage(t, engine.Options{})
	s.queue(80, 3, app(8))
	s.at(80, 4, collectors.CloseWait, 8)
	s.at(81, 2, collectors.CloseWait, 9) // which no longer listens
	keys := func(when string) string {
		var all []string
		for _, g := range s.groupsOf(s.run(s.file(groupRule(when, "listener", "count > 0", "log")))) {
			all = append(all, fmt.Sprint(g["key"], " ", g["count"]))
		}
		slices.Sort(all)
		return strings.Join(all, ", ")
	}
	for when, want := range map[string]string{
		"unaccepted": "map[listener:192.0.2.1:80] 3", closeWait: "map[listener:192.0.2.1:80] 4",
		"port == 80": "map[listener:192.0.2.1:80] 8",
	} {
		if got := keys(when); got != want {
			t.Errorf("%s: %s, not %s", when, got, want)
		}
	}
	// Sockets that share the port by SO_REUSEPORT listen at the same place; where several
	// fit, nobody knows which it was, and only the listeners themselves are certain.
	s.queue(80, 0, app(10))
	if got := keys("port == 80"); got != "map[listener:192.0.2.1:80] 9" {
		t.Errorf("with a sibling: %s", got)
	}
	everywhere := s.Add(collectors.Socket{State: collectors.Listen, LocalPort: 80, Local: collectors.Addr{10: 0xff, 11: 0xff}}, time.Hour, app(11))
	everywhere.Local = collectors.Addr{10: 0xff, 11: 0xff}
	if got := keys("port == 80"); got != "map[listener:0.0.0.0:80] 1, map[listener:192.0.2.1:80] 2" {
		t.Errorf("with one for all addresses: %s", got)
	}
}
