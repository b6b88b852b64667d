package engine

import (
	"context"
	"path/filepath"
	"testing"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/act"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// Of the programs that a cycle wants only a few run at a time; the others are looked
// at again when their turn comes.
func TestFewPrograms(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 3*act.MaxPrograms)
	holder(t, conns...)
	looks := map[uint64]int{}
	runs, most := 0, 0
	hook := &script{name: "hook", program: true}
	hook.apply = func(actions.Target) actions.Outcome {
		runs++
		most = max(most, runs)
		return actions.Outcome{Result: actions.Done}
	}
	hook.verify = func(target actions.Target) actions.Outcome {
		cookie := target.Sockets[0].Socket.Cookie
		if looks[cookie]++; looks[cookie] < 3 {
			return actions.Outcome{Result: actions.StillRunning, Pending: true}
		}
		runs--
		return actions.Outcome{Result: actions.Done}
	}
	l := newLab(t, Options{Live: true}, hook)
	p := l.rules(t, "defaults: {breaker: {count: 500, share: 100%}}\n"+ruleFile("state == 'CLOSE_WAIT' and process == '"+program()+"'", "hook", "limits: {cooldown: 1h}"))
	r := l.cycle(t, p)
	if len(hook.applied) != act.MaxPrograms {
		t.Errorf("%d began at once, not %d", len(hook.applied), act.MaxPrograms)
	}
	l.Finish(t.Context(), r)
	if most != act.MaxPrograms || len(hook.applied) != len(conns) || r.Summary.Acted != len(conns) {
		t.Errorf("%d at a time, %d in all, %+v", most, len(hook.applied), r.Summary)
	}
}

// What still waits when the run is told to stop is not begun, and says so.
func TestProgramsAndStop(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, act.MaxPrograms+1)
	holder(t, conns...)
	hook := &script{name: "hook", program: true}
	hook.apply = func(actions.Target) actions.Outcome { return actions.Outcome{Result: actions.Done} }
	hook.verify = func(actions.Target) actions.Outcome {
		return actions.Outcome{Result: actions.StillRunning, Pending: true}
	}
	l := newLab(t, Options{Live: true, StateFile: filepath.Join(t.TempDir(), "state.json")}, hook)
	r := l.cycle(t, l.rules(t, "defaults: {breaker: {count: 500, share: 100%}}\n"+ruleFile("state == 'CLOSE_WAIT' and process == '"+program()+"'", "hook", "limits: {cooldown: 1h}")))
	ended, stop := context.WithCancel(t.Context())
	stop()
	l.Finish(ended, r)
	if len(hook.applied) != act.MaxPrograms || r.Summary.Failed != len(conns) {
		t.Errorf("%d begun, %+v\n%s", len(hook.applied), r.Summary, describe(r))
	}
	if n := len(l.memory.Cooldowns); n != act.MaxPrograms {
		t.Errorf("%d cool-downs for %d that began", n, act.MaxPrograms)
	}
	if _, kept, err := memory.OpenState(l.opts.StateFile, false, world.Mono); err != nil || len(kept.Cooldowns) != act.MaxPrograms {
		t.Errorf("the next run knows %d: %v", len(kept.Cooldowns), err)
	}
}

// Told to stop, or once its rule is no more and the watch ends, what is under way is
// ended once; nothing else ends it, and what cannot be stopped is only looked at.
func TestStopEndsEffects(t *testing.T) {
	for _, can := range []bool{true, false} {
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		holder(t, c)
		stops, looks := 0, 0
		hook := &script{name: "hook", program: true}
		hook.apply = func(actions.Target) actions.Outcome { return actions.Outcome{Result: actions.Done} }
		hook.verify = func(actions.Target) actions.Outcome {
			looks++
			return actions.Outcome{Result: actions.StillRunning, Pending: true}
		}
		if can {
			hook.stop = func(actions.Target) actions.Outcome {
				stops++
				return actions.Outcome{Result: actions.Failed, Detail: "stopped"}
			}
		}
		l := newLab(t, Options{Live: true}, hook)
		r := l.cycle(t, l.rules(t, ruleFile(port(c), "hook")))
		l.Step(t.Context())
		if stops > 0 || looks == 0 {
			t.Fatalf("stopped %d times, looked at %d times, before anybody asked", stops, looks)
		}
		ended, stop := context.WithCancel(t.Context())
		stop()
		l.Finish(ended, r)
		want := report.ActionResult{Result: actions.StillRunning}
		if can {
			want = report.ActionResult{Result: actions.Failed, Detail: "stopped"}
		}
		if got := findingOf(t, r, c).Last(); got.Result != want.Result || got.Detail != want.Detail || (stops == 1) != can {
			t.Errorf("stopped %d times: %+v, want %+v", stops, got, want)
		}
		if _, waits := l.Pending(); waits {
			t.Error("it still waits")
		}
	}
}
