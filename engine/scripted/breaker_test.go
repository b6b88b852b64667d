package scripted_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/memory"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
)

// listener is a port that a process listens on.
func (s *stage) listener(port uint16, pid int) {
	s.Add(collectors.Socket{State: collectors.Listen, LocalPort: port}, time.Hour, app(pid))
}

// at adds sockets of a process that came in by a port.
func (s *stage) at(port uint16, n int, state collectors.State, pid int) (all []*scripted.Socket) {
	for range n {
		all = append(all, s.Add(collectors.Socket{State: state, LocalPort: port}, time.Hour, app(pid)))
	}
	return all
}

// close ends sockets.
func (s *stage) close(all ...*scripted.Socket) {
	for _, c := range all {
		s.Remove(c)
	}
}

// If a rule would hit more than its share of one listener's connections, it does nothing
// there; other listeners, and connections without one, are unaffected.
func TestShare(t *testing.T) {
	keep := keeper()
	s := newStage(t, live, keep)
	s.listener(1001, 1)
	s.listener(1002, 1)
	many, few := s.at(1001, 3, collectors.CloseWait, 7), s.at(1002, 1, collectors.CloseWait, 8)
	s.at(1001, 4, collectors.Established, 8)
	s.at(1002, 4, collectors.Established, 8)
	out := s.at(33_000, 1, collectors.CloseWait, 8)
	p := s.rules(closeWait, "keep", "limits: {share: 40%, cooldown: 0}")
	const said = "breaker: would act on 3 of 7 connections of port 1001 by rule r: more than share 40% of port 1001; acted on none. " +
		"If that is right: raise share in the limits of the rule, or sockwarden kill for what you choose"
	for range 2 {
		keep.Applied = nil
		r := s.run(p)
		for _, c := range many {
			s.expectOf(r, c, engine.DecideBreaker, "breaker: more than share 40% of port 1001")
		}
		for _, c := range []*scripted.Socket{few[0], out[0]} {
			s.expectOf(r, c, engine.DecideAct, "", actions.Refused)
		}
		if len(r.Errors) != 1 || r.Errors[0].Error() != said || len(keep.Applied) != 2 {
			t.Errorf("applied %d times, errors %v", len(keep.Applied), r.Errors)
		}
	}
	// At the share it does not trip, and it needs two calm cycles, with or without
	// findings.
	s.close(many...)
	one := s.at(1001, 1, collectors.CloseWait, 8)[0]
	s.expectOf(s.run(p), one, engine.DecideBreaker, "breaker: tripped before (share 40% of port ")
	s.expectOf(s.run(p), one, engine.DecideAct, "", actions.Refused)
}

// After the breaker has tripped for a listener, cycles that find nothing there count as
// calm too.
func TestShareCalmWithoutFindings(t *testing.T) {
	s := newStage(t, engine.Options{}, keeper())
	path := s.state()
	s.restart(engine.Options{Live: true, StateFile: path})
	s.listener(1001, 1)
	first := s.at(1001, 1, collectors.CloseWait, 7)
	p := s.rules(closeWait, "keep", "limits: {share: 50%, cooldown: 0}")
	s.expectOf(s.run(p), first[0], engine.DecideBreaker, "more than share 50% of port ")
	s.close(first...)
	for range memory.CalmCycles {
		if len(s.kept(path).Tripped) == 0 {
			t.Error("reset too early")
		}
		if r := s.run(p); len(r.Findings) != 0 || len(r.Errors) != 0 {
			t.Errorf("%s, errors %v", describe(r), r.Errors)
		}
	}
	if left := s.kept(path).Tripped; len(left) != 0 {
		t.Errorf("tripped %v", left)
	}
	next := s.at(1001, 1, collectors.CloseWait, 7)
	s.at(1001, 1, collectors.Established, 7)
	s.expectOf(s.run(p), next[0], engine.DecideAct, "", actions.Refused)
}

// Ports of two namespaces are two listeners: calm in one does not reset the other.
func TestShareOfNamespaces(t *testing.T) {
	s := newStage(t, live, keeper())
	peer := s.Namespace("peer")
	s.listener(1001, 1)
	calm := s.at(1001, 1, collectors.CloseWait, 7)[0]
	s.at(1001, 2, collectors.Established, 7)
	s.Add(collectors.Socket{State: collectors.Listen, LocalPort: 1001, NetNS: peer}, time.Hour, app(2))
	leaking := s.Add(collectors.Socket{State: collectors.CloseWait, LocalPort: 1001, NetNS: peer}, time.Hour, app(8))
	p := s.file("netns: [host, peer]\n" + rule(closeWait+" && port == 1001", "keep", "limits: {share: 50%, cooldown: 0}"))
	for range 4 {
		r := s.run(p)
		s.expectOf(r, leaking, engine.DecideBreaker, "more than share 50% of port ")
		s.expectOf(r, calm, engine.DecideAct, "", actions.Refused)
	}
}

var errOutOfBuffers = errors.New("out of buffers")

// If the connections of a listener cannot be counted, its share cannot be kept: nothing
// is done.
func TestShareUnknown(t *testing.T) {
	keep := keeper()
	s := newStage(t, live, keep)
	s.listener(1001, 1)
	c := s.at(1001, 1, collectors.CloseWait, 7)[0]
	s.at(1001, 1, collectors.Established, 7)
	s.Fails = func(_ string, q collectors.Query) error {
		if q.States.Has(collectors.TimeWait) { // the only query for all states
			return errOutOfBuffers
		}
		return nil
	}
	r := s.run(s.rules(closeWait, "keep", "limits: {share: 90%}"))
	s.expectOf(r, c, engine.DecideLimited, "share 90%: connections of listeners: out of buffers")
	if len(r.Errors) != 1 || !errors.Is(r.Errors[0], errOutOfBuffers) || len(keep.Applied) > 0 {
		t.Errorf("applied %d times, errors %v", len(keep.Applied), r.Errors)
	}
}

// The breaker is about all rules together and counts living sockets. If it trips nothing
// is done, and the message names the limit and the ways on.
func TestBreakerLimits(t *testing.T) {
	for breaker, limit := range map[string]string{
		"{count: 59}":               "count 59 and share 30%",
		"{count: 59, share: 100%}":  "count 59",
		"{count: 60}":               "share 30%", // more than 50, and more than 30%
		"{count: 60, share: 100%}":  "",
		"{count: 1000, share: 99%}": "share 99%",
		// What is left for later cycles counts.
		"{count: 59}, limits: {per_cycle: 1}":                   "count 59 and share 30%",
		"{count: 59}, limits: {per_cycle: 1000, per_minute: 3}": "count 59 and share 30%",
	} {
		t.Run(breaker, func(t *testing.T) {
			s := newStage(t, engine.Options{})
			all := s.leak(60, time.Second)
			if !strings.Contains(breaker, "limits") {
				breaker += ", limits: {per_cycle: 1000}"
			}
			p := s.file("defaults: {breaker: " + breaker + "}\nrules:\n" +
				fmt.Sprintf("  - {name: low, when: remote_port < %d, then: [destroy]}\n", all[30].RemotePort) +
				"  - {name: high, when: 'port > 0 && state == \"CLOSE_WAIT\"', then: [destroy]}\n" +
				"  - {name: watch, when: 'state == \"CLOSE_WAIT\"', mode: observe}\n")
			r := s.run(p)
			for _, f := range r.Findings {
				if f.Decision == engine.DecideBreaker && f.Reason != "breaker: more than "+limit {
					t.Errorf("reason %q", f.Reason)
				}
			}
			checkSum(t, r)
			if limit == "" {
				s.expectTally(r, map[engine.Decision]int{engine.DecideAct: 60, engine.DecideShadowed: 30, engine.DecideObserve: 60})
				s.noErrors(r)
				return
			}
			said := "breaker: would act on 60 living targets (30 for rule low) of 60 sockets: more than " + limit +
				"; acted on none. If that is right: --breaker 100, or sockwarden kill for what you choose"
			s.expectTally(r, map[engine.Decision]int{engine.DecideBreaker: 60, engine.DecideShadowed: 30, engine.DecideObserve: 60})
			if len(r.Errors) != 1 || r.Errors[0].Error() != said {
				t.Errorf("errors %v", r.Errors)
			}
			path := s.state()
			s.restart(engine.Options{Live: true, StateFile: path})
			r = s.run(p)
			if r.Summary.Acted+r.Summary.Failed != 0 || len(s.Done) != 0 || len(s.kept(path).Cooldowns) > 0 {
				t.Errorf("live: %+v", r.Summary)
			}
		})
	}
}

// The share counts only above a handful of sockets.
func TestBreakerShareOfFew(t *testing.T) {
	s := newStage(t, engine.Options{})
	all := s.leak(60, time.Second)
	r := s.run(s.rules(fmt.Sprintf("remote_port < %d", all[50].RemotePort), "destroy"))
	if r.Summary.WouldAct != 50 {
		t.Errorf("50 of 60: %+v %v", r.Summary, r.Errors)
	}
}

// After a trip it acts again only in the second calm cycle, in any engine, and no dry run
// or incomplete look counts as calm.
func TestBreakerStaysTripped(t *testing.T) {
	s := newStage(t, engine.Options{}, keeper())
	path := s.state()
	acting := engine.Options{Live: true, StateFile: path}
	three := s.sockets(3, collectors.CloseWait, time.Second, 7)
	one := s.sockets(1, collectors.CloseWait, time.Second, 8)[0]
	broken := false
	s.Fails = func(_ string, q collectors.Query) error {
		if broken && slices.Contains(q.Protocols, collectors.UDP) {
			return errOutOfBuffers
		}
		return nil
	}
	text := "defaults: {breaker: {count: 3}, limits: {cooldown: 0}}\n" + rule(closeWait+` && protocol in ["tcp", "udp"]`, "keep")
	s.restart(acting)
	r := s.run(s.file(text))
	s.expectTally(r, map[engine.Decision]int{engine.DecideBreaker: 4})
	if len(r.Errors) != 1 || !strings.HasPrefix(r.Errors[0].Error(), "breaker: would act on 4 living targets (4 for rule r) of ") {
		t.Errorf("errors %v", r.Errors)
	}
	if kept := s.kept(path); kept.Tripped["breaker 3/30%"] != memory.CalmCycles {
		t.Errorf("kept %+v", kept.Tripped)
	}
	s.close(three...)
	s.restart(engine.Options{StateFile: path})
	for range 3 {
		s.run(s.rules("port == 1", "keep"))
	}
	const again = "breaker: tripped before (limit 3/30%), 1 calm cycle to go"
	s.restart(acting)
	s.expectOf(s.run(s.file(text)), one, engine.DecideBreaker, again)
	s.restart(acting)
	broken = true
	s.expectOf(s.run(s.file(text)), one, engine.DecideBreaker, again)
	broken = false
	before := len(s.log.lines("breaker reset")) // of the dry engine, for itself
	r = s.run(s.file(text))
	s.expectOf(r, one, engine.DecideAct, "", actions.Refused)
	s.noErrors(r)
	if len(s.log.lines("breaker reset")) != before+1 {
		t.Error("the reset is not logged")
	}
	if kept := s.kept(path); len(kept.Tripped) != 0 {
		t.Errorf("kept %+v", kept.Tripped)
	}
}

// A leak is cured, per_cycle sockets at a time, once it is proven to be one; even by a
// rule that asks for no age.
func TestLeakIsCured(t *testing.T) {
	s := newStage(t, live)
	s.leak(14, 30*time.Second)
	p := s.file("defaults: {breaker: {count: 1}}\n" + rule(closeWait, "destroy", "limits: {per_cycle: 5}"))
	r := s.run(p)
	s.expectTally(r, map[engine.Decision]int{engine.DecideBreaker: 14})
	s.Advance(29 * time.Second)
	if r := s.run(p); r.Summary.Acted > 0 {
		t.Errorf("acted after 59 s:\n%s", describe(r))
	}
	s.Advance(time.Second)
	var acted []int
	for range 6 {
		acted = append(acted, s.run(p).Summary.Acted)
	}
	// The second calm cycle is the first one to act.
	if want := []int{0, 5, 5, 4, 0, 0}; !slices.Equal(acted, want) {
		t.Errorf("acted on %v, not %v", acted, want)
	}
}

// Living sockets that a rule takes by mistake trip the breaker, however old they are and
// however many dead ones are among them.
func TestLivingTripAmongDead(t *testing.T) {
	s := newStage(t, live, keeper())
	s.leak(20, time.Hour)
	s.sockets(6, collectors.Established, time.Hour, 7)
	text := func(when string) string {
		return "defaults: {breaker: {count: 5}}\n" + rule(when, "keep", "limits: {cooldown: 0}")
	}
	s.expect(s.file(text(closeWait)), "20 act keep refused")
	r := s.run(s.file(text(`state in ["CLOSE_WAIT", "ESTABLISHED"]`)))
	s.expectTally(r, map[engine.Decision]int{engine.DecideBreaker: 26})
	if len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Error(), "would act on 6 living targets (6 for rule r) besides 20 dead of ") {
		t.Errorf("errors %v", r.Errors)
	}
}

// An action on a process counts once, plus what would die with it. A process that a later
// rung targets counts if its socket is dead, unless the rung cannot be reached.
func TestProcessCountsOnce(t *testing.T) {
	s := newStage(t, engine.Options{})
	leak := s.leak(20, time.Hour)
	healthy, busy := s.sockets(4, collectors.Established, time.Hour, 8), s.sockets(1, collectors.CloseWait, time.Hour, 8)[0]
	for _, c := range []struct {
		when, then string
		living     int
	}{
		{peers(leak...), "{signal: TERM}", 1},
		{peers(leak...), `log, {signal: TERM, if: result == "done"}`, 1},
		{peers(busy), "{signal: TERM}", 1 + len(healthy)},
		{closeWait, "{signal: TERM}", 2 + len(healthy)},
		// A healthy connection that a rule itself takes does not count twice.
		{peers(append(healthy, busy)...), "{signal: TERM}", 1 + len(healthy)},
		// The sockets are dead; the processes behind them are not.
		{peers(leak...), "destroy", 0},
		{peers(leak...), "destroy, {signal: TERM}, {signal: KILL}", 1},
		{peers(busy), "destroy, {signal: TERM}", 1},
		{peers(busy), `destroy, {signal: KILL, if: result == "fd_still_held"}`, 1 + len(healthy)},
		{peers(append(healthy[:1:1], busy)...), "destroy, {signal: TERM}", 2},
		{peers(healthy[:2]...), "destroy, {signal: TERM}", 2},
		{peers(healthy[:2]...), `destroy, {signal: KILL, if: result == "fd_still_held"}`, len(healthy)},
		{peers(busy), `destroy, {signal: KILL, if: "1 == 2"}`, 0},
		{peers(busy), `destroy, {signal: KILL, if: "1 == 2 and result == \"fd_still_held\""}`, 0},
	} {
		t.Run(c.then, func(t *testing.T) {
			p := func(count int) *rules.Program {
				return s.file(fmt.Sprintf("defaults: {breaker: {count: %d}}\n", count) + rule(c.when, c.then))
			}
			if r := s.beside(engine.Options{}).run(p(max(1, c.living))); r.Summary.WouldAct == 0 {
				t.Errorf("at the limit: %v\n%s", r.Errors, describe(r))
			}
			if c.living < 2 {
				return
			}
			r := s.beside(engine.Options{}).run(p(c.living - 1))
			var tripped *engine.TrippedError
			if len(r.Errors) != 1 || !errors.As(r.Errors[0], &tripped) || tripped.Living != c.living || r.Summary.WouldAct != 0 {
				t.Errorf("errors %v, would act on %d; want %d living", r.Errors, r.Summary.WouldAct, c.living)
			}
		})
	}
}

// Limits that a person sets take effect at once: a trip under other limits says nothing
// about them.
func TestOtherLimitsAtOnce(t *testing.T) {
	s := newStage(t, engine.Options{}, keeper())
	path := s.state()
	s.restart(engine.Options{Live: true, StateFile: path})
	all := s.sockets(60, collectors.Established, time.Hour, 7)
	p := s.rules(peers(all...), "keep", "limits: {cooldown: 0}")
	s.expectTally(s.run(p), map[engine.Decision]int{engine.DecideBreaker: 60})
	for _, text := range []string{"60", "59", "60/100%", "off"} {
		var err error
		p.Breaker, err = rules.ParseBreaker(text)
		s.must(err)
		want := map[engine.Decision]int{engine.DecideAct: 60}
		if text == "59" {
			want = map[engine.Decision]int{engine.DecideBreaker: 60}
		}
		s.expectTally(s.run(p), want)
	}
	if left := s.kept(path).Tripped; len(left) > 0 {
		t.Errorf("tripped %v", left)
	}
}
