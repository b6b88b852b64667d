package scripted_test

import (
	"context"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
)

// atATime is how many programs of rules run at once.
const atATime = 8

// pending is the result of a program that is still running.
var pending = scripted.Outcome{Result: actions.StillRunning, Pending: true}

// Of the programs that a cycle wants, only a few run at once; the others are looked at
// again when their turn comes.
func TestFewPrograms(t *testing.T) {
	looks := map[uint64]int{}
	runs, most := 0, 0
	hook := &scripted.Script{Name: "hook", Program: true}
	hook.Does = func(actions.Target) scripted.Outcome {
		runs++
		most = max(most, runs)
		return scripted.Outcome{Result: actions.Done}
	}
	hook.Looks = func(target actions.Target) scripted.Outcome {
		cookie := target.Sockets[0].Socket.Cookie
		if looks[cookie]++; looks[cookie] < 3 {
			return pending
		}
		runs--
		return scripted.Outcome{Result: actions.Done}
	}
	s := newStage(t, live, hook)
	all := s.leak(3*atATime, time.Hour)
	r := s.cycle(rule(closeWait, "hook", "limits: {cooldown: 1h}"))
	if len(hook.Applied) != atATime {
		t.Errorf("%d began at once, not %d", len(hook.Applied), atATime)
	}
	s.Finish(t.Context(), r)
	if most != atATime || len(hook.Applied) != len(all) || r.Summary.Acted != len(all) {
		t.Errorf("%d at a time, %d in all, %+v", most, len(hook.Applied), r.Summary)
	}
}

// Programs that still wait when the run is told to stop do not begin, and say so.
func TestProgramsAndStop(t *testing.T) {
	hook := &scripted.Script{Name: "hook", Program: true}
	hook.Does = func(actions.Target) scripted.Outcome { return scripted.Outcome{Result: actions.Done} }
	hook.Looks = func(actions.Target) scripted.Outcome { return pending }
	s := newStage(t, engine.Options{}, hook)
	path := s.state()
	s.restart(engine.Options{Live: true, StateFile: path})
	all := s.leak(atATime+1, time.Hour)
	r := s.cycle(rule(closeWait, "hook", "limits: {cooldown: 1h}"))
	ended, stop := context.WithCancel(t.Context())
	stop()
	s.Finish(ended, r)
	if len(hook.Applied) != atATime || r.Summary.Failed != len(all) {
		t.Errorf("%d begun, %+v\n%s", len(hook.Applied), r.Summary, describe(r))
	}
	if n := len(s.kept(path).Cooldowns); n != atATime {
		t.Errorf("the next run knows %d cool-downs for %d that began", n, atATime)
	}
}

// A run told to stop ends what is under way, exactly once; nothing else ends it, and what
// cannot be stopped is only looked at.
func TestStopEndsEffects(t *testing.T) {
	for _, can := range []bool{true, false} {
		stops, looks := 0, 0
		hook := &scripted.Script{Name: "hook", Program: true}
		hook.Does = func(actions.Target) scripted.Outcome { return scripted.Outcome{Result: actions.Done} }
		hook.Looks = func(actions.Target) scripted.Outcome { looks++; return pending }
		want := scripted.Outcome{Result: actions.StillRunning}
		if can {
			want = scripted.Outcome{Result: actions.Failed, Detail: "stopped"}
			hook.Stops = func(actions.Target) scripted.Outcome { stops++; return want }
		}
		s := newStage(t, live, hook)
		c := s.leak(1, time.Hour)[0]
		r := s.cycle(rule(closeWait, "hook"))
		s.Step(t.Context())
		if stops > 0 || looks == 0 {
			t.Fatalf("stopped %d times, looked at %d times, before anybody asked", stops, looks)
		}
		ended, stop := context.WithCancel(t.Context())
		stop()
		s.Finish(ended, r)
		if got := s.findingOf(r, c).Last(); got.Result != want.Result || got.Detail != want.Detail || (stops == 1) != can {
			t.Errorf("stopped %d times: %+v, want %+v", stops, got, want)
		}
		if s.waits() {
			t.Error("it still waits")
		}
	}
}
