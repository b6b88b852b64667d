package scripted_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
)

// An age grows with the clock, and decides once it exceeds the limit.
func TestAge(t *testing.T) {
	s := newStage(t, live)
	c := s.leak(1, 50*time.Second)[0]
	p := s.rules(hung, "destroy")
	s.expect(p, "")
	s.Advance(9 * time.Second)
	s.expect(p, "")
	s.Advance(2 * time.Second)
	s.expect(p, "1 act destroy gone")
	if s.There(c) {
		t.Error("it is still there")
	}
}

// A rule must match without a break.
func TestFor(t *testing.T) {
	s := newStage(t, live)
	c := s.leak(1, time.Hour)[0]
	p := s.rules(hung, "destroy", "for: 20s")
	s.expect(p, "1 pending")
	s.Advance(19 * time.Second)
	s.expect(p, "1 pending")
	s.Advance(time.Second / 2)
	s.Enter(c, collectors.Established)
	s.expect(p, "")
	s.Enter(c, collectors.CloseWait)
	s.Advance(61 * time.Second)
	s.expect(p, "1 pending")
	s.Advance(20 * time.Second)
	s.expect(p, "1 act destroy gone")
}

// A refused target is left alone for the cool-down.
func TestCooldown(t *testing.T) {
	s := newStage(t, live)
	s.leak(1, time.Hour)
	s.Outcomes["destroy"] = []scripted.Outcome{{Result: actions.Refused}, {Result: actions.Gone}}
	p := s.rules(hung, "destroy", "limits: {cooldown: 5m}")
	s.expect(p, "1 act destroy refused")
	s.Advance(4 * time.Minute)
	s.expect(p, "1 cooldown")
	s.Advance(time.Minute)
	s.expect(p, "1 act destroy gone")
}

// The limits of a cycle and of a minute.
func TestLimits(t *testing.T) {
	s := newStage(t, live)
	s.leak(10, time.Hour)
	p := s.rules(hung, "destroy", "limits: {per_cycle: 2, per_minute: 3}")
	s.expect(p, "2 act destroy gone, 8 limited")
	s.expect(p, "1 act destroy gone, 7 limited")
	s.expect(p, "7 limited")
	s.Advance(time.Minute)
	s.expect(p, "2 act destroy gone, 5 limited")
}

// A rule only observes during its soak and outside its windows.
func TestSoakAndWindow(t *testing.T) {
	s := newStage(t, live)
	s.leak(1, time.Hour)
	p := s.rules(hung, "destroy", "soak: 10m", `during: ["12:00-12:09", "12:15-13:00"]`)
	s.expect(p, "1 soak")
	s.Advance(10 * time.Minute)
	s.expect(p, "1 window")
	s.Advance(5 * time.Minute)
	s.expect(p, "1 act destroy gone")
}

// A ladder climbs only if the previous rung did not succeed, and waits as long as that
// rung may take.
func TestLadder(t *testing.T) {
	s := newStage(t, live)
	s.leak(3, time.Hour)
	s.Outcomes["destroy"] = []scripted.Outcome{{Result: actions.Refused}}
	s.Outcomes["signal"] = []scripted.Outcome{{Result: actions.StillRunning}, {Result: actions.Ended}}
	before := s.Now()
	p := s.rules(hung, "{signal: TERM, wait: 10s}, {signal: KILL, wait: 2s}")
	if got := s.decided(p); !strings.HasPrefix(got, "3 act signal still_running signal ") {
		t.Error(got)
	}
	if took := s.Now().Sub(before); took < 10*time.Second {
		t.Errorf("KILL came after %s", took)
	}
	if len(s.Done) != 2 || s.Done[0].PID != 7 || s.Done[1].PID != 7 {
		t.Errorf("done: %+v", s.Done)
	}
}

// Too many living targets trip the breaker, until two cycles are calm.
func TestBreaker(t *testing.T) {
	s := newStage(t, live)
	var all []*scripted.Socket
	for range 501 {
		all = append(all, s.Add(collectors.Socket{State: collectors.Established}, time.Hour, collectors.Owner{PID: 7, Name: "app"}))
	}
	p := s.rules(`state == "ESTABLISHED" && age > 60`, "destroy", "limits: {per_cycle: 1000}")
	s.expect(p, "501 breaker")
	if len(s.Done) > 0 {
		t.Errorf("done: %d", len(s.Done))
	}
	for _, c := range all[40:] {
		s.Remove(c)
	}
	s.expect(p, "40 breaker")
	s.expect(p, "40 act destroy gone")
}

// Dead ones do not count, however many there are.
func TestLeakPassesTheBreaker(t *testing.T) {
	s := newStage(t, live)
	s.leak(900, time.Hour)
	s.expect(s.rules(hung, "destroy", "limits: {per_cycle: 1000}"), "900 act destroy gone")
}

// A protected process is left alone.
func TestProtectedOwner(t *testing.T) {
	s := newStage(t, live)
	s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, collectors.Owner{PID: 9, Name: "sshd"})
	s.expect(s.rules(hung, "{signal: TERM}"), "1 guarded")
	if len(s.Done) > 0 {
		t.Errorf("done: %+v", s.Done)
	}
}

// A state file carries cool-downs to the next engine.
func TestState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	s := newStage(t, engine.Options{Live: true, StateFile: path})
	s.leak(1, time.Hour)
	s.Outcomes["destroy"] = []scripted.Outcome{{Result: actions.Refused}}
	s.expect(s.rules(hung, "destroy"), "1 act destroy refused")
	if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), `"socket 1"`) {
		t.Errorf("%v: %s", err, b)
	}
}
