package scripted_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/pause"
	"sockwarden/engine/scripted"
)

func (s *stage) pause(path string) {
	s.t.Helper()
	s.must((&pause.Pause{Since: s.Now(), By: "root"}).Write(path))
}

func (s *stage) resume(path string) {
	s.t.Helper()
	if was, err := pause.Resume(path); err != nil || !was {
		s.t.Fatalf("resumed %t, %v", was, err)
	}
}

// The switch is checked immediately before each effect: after a pause nothing more is
// touched, even if it was decided on.
func TestPauseBetweenEffects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "pause.json")
	alarm, log := &scripted.Script{Name: "alarm"}, &journal{}
	s := newStage(t, engine.Options{Live: true, PauseFiles: []string{path}, AuditLog: log}, alarm)
	alarm.Does = func(actions.Target) scripted.Outcome {
		if len(alarm.Applied) == 2 {
			s.pause(path)
		}
		return scripted.Outcome{Result: actions.Done}
	}
	alarm.Looks = func(actions.Target) scripted.Outcome { return scripted.Outcome{Result: actions.Done} }
	s.leak(4, time.Hour)
	p := s.rules(closeWait, "alarm", "limits: {cooldown: 0}")
	r := s.run(p)
	s.expectTally(r, map[engine.Decision]int{engine.DecideAct: 2, engine.DecidePaused: 2})
	if len(alarm.Applied) != 2 || r.Summary.Acted != 2 || r.Summary.Skipped != 2 || r.Summary.Failed != 0 {
		t.Errorf("applied %d times, summary %+v", len(alarm.Applied), r.Summary)
	}
	for _, f := range r.Findings[2:] {
		s.expectFinding(f, engine.DecidePaused, "paused by root until somebody resumes")
	}
	// The audit log records what became of the decisions.
	if a, b := log.lines(`"decision":"act"`), log.lines(`"decision":"paused"`, "paused by root until somebody resumes"); len(a) != 4 || len(b) != 2 {
		t.Errorf("%d act, %d paused", len(a), len(b))
	}
	// A cycle that begins paused decides so, and reports nothing new about those two.
	r = s.run(p)
	s.expectTally(r, map[engine.Decision]int{engine.DecidePaused: 4})
	if b := log.lines(`"decision":"paused"`); len(alarm.Applied) != 2 || len(b) != 4 {
		t.Errorf("applied %d times, %d lines", len(alarm.Applied), len(b))
	}
	s.resume(path)
	alarm.Applied = nil
	if r = s.run(p); r.Summary.Acted != 2 { // it pauses itself again
		t.Errorf("summary %+v", r.Summary)
	}
}

// A ladder that waits does not go on under a pause, nor after it.
func TestPauseEndsLadders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "pause.json")
	s := newStage(t, engine.Options{Live: true, PauseFiles: []string{path}})
	s.deaf()
	c := s.leak(1, time.Hour)[0]
	r := s.cycle(rule(closeWait, "{signal: TERM, wait: 10s}, {signal: KILL, wait: 5s}"))
	if !s.waits() {
		t.Fatalf("it does not wait: %s", describe(r))
	}
	s.pause(path)
	s.Finish(t.Context(), r)
	s.expectOf(r, c, engine.DecidePaused, "paused by root until somebody resumes", actions.StillRunning)
	s.resume(path)
	s.Step(t.Context())
	if s.waits() || !s.Runs(7) {
		t.Errorf("waits %t, runs %t", s.waits(), s.Runs(7))
	}
}

// Actions that change nothing on the host go on, and a dry run says what it would do.
func TestPauseLeavesHarmless(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "pause.json")
	s := newStage(t, engine.Options{Live: true, PauseFiles: []string{path}}, keeper())
	c := s.leak(1, time.Hour)[0]
	s.pause(path)
	s.expectOf(s.run(s.rules(closeWait, "log")), c, engine.DecideAct, "", actions.Done)
	// A harmless first rung does not carry the rest through.
	s.expectOf(s.run(s.rules(closeWait, `log, {keep: {udp: true}, if: result == "done"}`)), c, engine.DecidePaused, "paused")
	s.restart(engine.Options{PauseFiles: []string{path}})
	s.expectOf(s.run(s.rules(closeWait, "keep")), c, engine.DecideAct, "", actions.Would)
}

// What a pause, protection or a guard spares does not count, and a pause does not let a
// tripped breaker act again.
func TestSparedAreNotCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "pause.json")
	s := newStage(t, engine.Options{Live: true, PauseFiles: []string{path}}, keeper())
	all := s.sockets(6, collectors.Established, time.Hour, 7)
	for range 6 {
		s.Add(collectors.Socket{State: collectors.Established}, time.Hour, collectors.Owner{PID: 9, Name: "sshd"})
	}
	text := func(protect string) string {
		return "defaults: {breaker: {count: 2}}\nprotect: [{name: p, when: '" + protect + "'}]\n" + rule(`state == "ESTABLISHED"`, "keep", "limits: {cooldown: 0}")
	}
	two := text("not (" + peers(all[:2]...) + ")")
	r := s.run(s.file(two))
	s.expectTally(r, map[engine.Decision]int{engine.DecideAct: 2, engine.DecideProtect: 10})
	s.noErrors(r)
	whole := s.file(text("port == 1"))
	s.expectTally(s.run(whole), map[engine.Decision]int{engine.DecideBreaker: 6, engine.DecideGuarded: 6})
	s.pause(path)
	for range 3 { // more than must be calm
		r := s.run(whole)
		s.expectTally(r, map[engine.Decision]int{engine.DecidePaused: 6, engine.DecideGuarded: 6})
		s.noErrors(r)
	}
	s.resume(path)
	s.expectTally(s.run(s.file(two)), map[engine.Decision]int{engine.DecideBreaker: 2, engine.DecideProtect: 10}) // tripped before
}

// An action that a pause prevented starts no cool-down; one done before it does, even
// where they share the key.
func TestPauseAndCooldowns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "pause.json")
	alarm := &scripted.Script{Name: "alarm"}
	s := newStage(t, engine.Options{Live: true, PauseFiles: []string{path}}, alarm)
	s.leak(2, time.Hour) // all of one peer
	other := s.Add(collectors.Socket{State: collectors.CloseWait, Remote: collectors.AddrFrom(netip.MustParseAddr("198.51.100.2"))}, time.Minute, app(7))
	done := func(actions.Target) scripted.Outcome { return scripted.Outcome{Result: actions.Done} }
	alarm.Looks = done
	alarm.Does = func(t actions.Target) scripted.Outcome { s.pause(path); return done(t) }
	text := rule(closeWait, "alarm", "limits: {cooldown: {peer: 5m}}")
	s.expectTally(s.run(s.file(text)), map[engine.Decision]int{engine.DecideAct: 1, engine.DecidePaused: 2})
	s.resume(path)
	alarm.Does = done
	r := s.run(s.file(text))
	s.expectTally(r, map[engine.Decision]int{engine.DecideCooldown: 2, engine.DecideAct: 1})
	s.expectOf(r, other, engine.DecideAct, "", actions.Done)
	// Without a cool-down per peer, only what was done has one.
	s.expectTally(s.run(s.file(strings.Replace(text, "peer: 5m", "target: 5m", 1))), map[engine.Decision]int{engine.DecideCooldown: 2, engine.DecideAct: 1})
}
