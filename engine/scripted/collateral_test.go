package scripted_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
)

// document is a report as JSON.
func (s *stage) document(r *engine.Report) (doc struct{ Findings []map[string]any }) {
	s.t.Helper()
	b, err := json.Marshal(r)
	s.must(err)
	s.must(json.Unmarshal(b, &doc))
	return doc
}

// crowd is a process with one hung and some healthy connections.
func (s *stage) crowd(pid, healthy int) *scripted.Socket {
	s.sockets(healthy, collectors.Established, time.Hour, pid)
	return s.sockets(1, collectors.CloseWait, time.Hour, pid)[0]
}

// A process that serves more than the rule allows is spared, and the number is reported.
func TestMaxCollateral(t *testing.T) {
	s := newStage(t, engine.Options{})
	const busy, idle = 8, 9
	leaking, alone := s.crowd(busy, 2), s.crowd(idle, 0)
	for _, acts := range []bool{false, true} {
		s.restart(engine.Options{Live: acts})
		r := s.run(s.rules(closeWait, "{signal: TERM, wait: 5s}", "limits: {max_collateral: 0}"))
		s.expectOf(r, leaking, engine.DecideLimited, "max_collateral 0: 2 established connections would die with app[8]")
		if acts {
			s.expectOf(r, alone, engine.DecideAct, "", actions.Ended)
		} else {
			s.expectOf(r, alone, engine.DecideAct, "", actions.Would)
		}
		for _, doc := range s.document(r).Findings {
			pid := doc["socket"].(map[string]any)["pid"]
			if n, ok := doc["collateral"]; pid == float64(busy) && n != float64(2) || pid != float64(busy) && ok {
				t.Errorf("process %v: collateral %v", pid, n)
			}
		}
	}
	if !s.Runs(busy) || s.Runs(idle) || len(s.Done) != 1 {
		t.Errorf("busy %t, idle %t, done %+v", s.Runs(busy), s.Runs(idle), s.Done)
	}
	// Destroying a socket harms no others.
	s.restart(engine.Options{})
	s.expectOf(s.run(s.rules(closeWait, "destroy", "limits: {max_collateral: 0}")), leaking, engine.DecideAct, "", actions.Would)
}

// Within the limit, or without one, the number is reported before and after.
func TestCollateralIsSaid(t *testing.T) {
	for _, limits := range []string{"{max_collateral: 2}", "{cooldown: 5m}"} {
		t.Run(limits, func(t *testing.T) {
			s := newStage(t, engine.Options{})
			c := s.crowd(8, 2)
			p := s.rules(closeWait, "{signal: TERM, wait: 5s}", "limits: "+limits)
			f := s.findingOf(s.run(p), c)
			s.expectFinding(f, engine.DecideAct, "", actions.Would)
			if f.Collateral != 2 || f.Actions[0].Detail != "2 established connections would die with it" {
				t.Errorf("before: %d, %s", f.Collateral, line(f))
			}
			s.restart(live)
			f = s.findingOf(s.run(p), c)
			s.expectFinding(f, engine.DecideAct, "", actions.Ended)
			if f.Actions[0].Detail != "2 established connections died with it" {
				t.Errorf("after: %s", line(f))
			}
		})
	}
}

// Each process has its own count.
func TestCollateralCounts(t *testing.T) {
	s := newStage(t, live)
	c := s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, app(8), app(9))
	s.sockets(1, collectors.Established, time.Hour, 9)
	text := rule(closeWait, "{signal: {signal: TERM, owners: all}, wait: 5s}", "limits: {max_collateral: 0}")
	s.expectOf(s.run(s.file(text)), c, engine.DecideLimited, "max_collateral 0: 1 established connection would die with app[9]")
	f := s.findingOf(s.run(s.file(strings.Replace(text, "collateral: 0", "collateral: 1", 1))), c)
	s.expectFinding(f, engine.DecideAct, "", actions.Ended, actions.Ended)
	details := map[string]int{}
	for _, a := range f.Actions {
		details[a.Detail]++
	}
	if f.Collateral != 1 || details[""] != 1 || details["1 established connection died with it"] != 1 {
		t.Errorf("collateral %d: %s", f.Collateral, line(f))
	}
}

// A connection that another process shares lives on: what died is counted.
func TestCollateralIsCountedAfter(t *testing.T) {
	s := newStage(t, live)
	c := s.crowd(8, 1)
	shared := s.Add(collectors.Socket{State: collectors.Established}, time.Hour, app(8), app(9))
	f := s.findingOf(s.run(s.rules(closeWait, "{signal: TERM, wait: 5s}", "limits: {max_collateral: 2}")), c)
	s.expectFinding(f, engine.DecideAct, "", actions.Ended)
	if f.Collateral != 2 || f.Actions[0].Detail != "1 of its 2 established connections died with it" {
		t.Error(line(f))
	}
	if !s.There(shared) || !s.Runs(9) {
		t.Errorf("other process %t, its connection %t", s.Runs(9), s.There(shared))
	}
}

// What cannot be counted counts as too much.
func TestCollateralUnknown(t *testing.T) {
	s := newStage(t, live)
	c := s.crowd(8, 0)
	s.Fails = func(_ string, q collectors.Query) error {
		if q.States.Has(collectors.SynSent) && !q.States.Has(collectors.TimeWait) { // states in which a process has one
			return errOutOfBuffers
		}
		return nil
	}
	text := rule(closeWait, "{signal: TERM, wait: 5s}", "limits: {max_collateral: 100}")
	s.expectOf(s.run(s.file(text)), c, engine.DecideLimited, "cannot tell how many established connections would die with app[8]: out of buffers")
	if !s.Runs(8) {
		t.Error("it was ended")
	}
	text = strings.Replace(text, "max_collateral: 100", "cooldown: 5m", 1)
	s.expectOf(s.run(s.file(text)), c, engine.DecideAct, "", actions.Ended)
}

// A later rung counts again, as its process is known only then.
func TestCollateralOfLaterRungs(t *testing.T) {
	const then = `destroy, {signal: TERM, wait: 5s, if: result == "fd_still_held"}`
	for most := range 2 {
		s := newStage(t, live)
		s.Outcomes["destroy"] = []scripted.Outcome{{Result: actions.FDStillHeld}}
		c := s.crowd(8, 1)
		f := s.findingOf(s.run(s.rules(closeWait, then, fmt.Sprintf("limits: {max_collateral: %d}", most))), c)
		if most == 0 {
			// Being spared does not make the earlier action a failure.
			s.expectFinding(f, engine.DecideAct, "", actions.FDStillHeld)
			if want := "signal: max_collateral 0: 1 established connection would die with app[8]"; !strings.Contains(f.Last().Detail, want) || !s.Runs(8) {
				t.Errorf("%s, runs %t, want %q", line(f), s.Runs(8), want)
			}
			continue
		}
		s.expectFinding(f, engine.DecideAct, "", actions.FDStillHeld, actions.Ended)
		if f.Last().Detail != "1 established connection died with it" {
			t.Error(line(f))
		}
	}
}

// A finding that one restraint spares does not count for the next: per_cycle is for what
// is really acted on.
func TestSparedDoNotCount(t *testing.T) {
	s := newStage(t, engine.Options{})
	leaking, alone := s.crowd(8, 1), s.crowd(9, 0)
	r := s.run(s.rules(closeWait, "{signal: TERM}", "limits: {max_collateral: 0, per_cycle: 1}"))
	s.expectOf(r, leaking, engine.DecideLimited, "app[8]")
	s.expectOf(r, alone, engine.DecideAct, "", actions.Would)
}
