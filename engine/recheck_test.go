package engine

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// A target is looked at again immediately before it is acted on, with the rule's
// condition, even after a person has thought about it.
func TestRecheck(t *testing.T) {
	for _, then := range []string{"destroy", "{destroy: {method: pidfd}}"} {
		t.Run(then, func(t *testing.T) { rechecked(t, then) })
	}
}

func rechecked(t *testing.T, then string) {
	t.Helper()
	l := newLab(t, Options{Live: true})
	busy, quiet := socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	p := l.rules(t, ruleFile(`state == "ESTABLISHED" and recv_queue == 0`, then))
	holder(t, busy, quiet)
	looked, err := l.Look(t.Context(), p)
	must(t, "look", err)
	expect(t, findingOf(t, looked, busy), report.DecideAct, "", actions.Would)
	if _, err := unix.Write(busy.Peer, []byte("data")); err != nil {
		t.Fatal(err)
	}
	socklab.WaitFor(t, "data to arrive", func() bool {
		n, err := unix.IoctlGetInt(busy.FD, unix.SIOCINQ)
		if err != nil {
			n, err = unix.IoctlGetInt(busy.FD, unix.TIOCINQ)
		}
		return err != nil || n > 0
	})
	r := l.Act(t.Context(), p, looked)
	l.Finish(t.Context(), r)
	expect(t, findingOf(t, r, busy), report.DecideAct, "", actions.Changed)
	expect(t, findingOf(t, r, quiet), report.DecideAct, "", actions.FDStillHeld)
	if !survives(t, busy) {
		t.Error("the connection that did not match any more is gone")
	}
}

// A rule's cool-down outlasts runs that do not know the rule.
func TestCooldownOfOtherRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	poke := outcomes("poke", actions.Outcome{Result: actions.Done})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	live := newLab(t, Options{Live: true, StateFile: path}, poke)
	p := live.rules(t, ruleFile(port(c), "poke", "limits: {cooldown: 1h}"))
	expect(t, findingOf(t, live.run(t, p), c), report.DecideAct, "", actions.Done)
	live.Close()

	other := newLab(t, Options{StateFile: path}, poke)
	short := other.rules(t, ruleFile("port == 1", "poke", "limits: {cooldown: 1ms}"))
	for range 3 {
		other.run(t, short)
	}
	other.Close()
	again := newLab(t, Options{Live: true, StateFile: path}, poke)
	again.run(t, again.rules(t, ruleFile("port == 1", "poke", "limits: {cooldown: 1ms}")))
	expect(t, findingOf(t, again.run(t, p), c), report.DecideCooldown, "cool-down 1h")
}

// Later cycles leave a target alone while a ladder is at work on it, whatever their
// cool-down.
func TestUnderWay(t *testing.T) {
	poke := outcomes("poke", actions.Outcome{Result: actions.Ended})
	poke.verify = func(actions.Target) actions.Outcome { return actions.Outcome{Result: actions.StillRunning} }
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	l := newLab(t, Options{Live: true}, poke)
	p := l.rules(t, ruleFile(port(c), "{poke: {}, wait: 1h}", "limits: {cooldown: 1ms}"))
	r, err := l.Cycle(t.Context(), p)
	must(t, "cycle", err)
	expect(t, findingOf(t, r, c), report.DecideAct, "", actions.StillRunning)
	began := time.Now()
	socklab.WaitFor(t, "the cool-down", func() bool { return time.Since(began) > 10*time.Millisecond })
	r, err = l.Cycle(t.Context(), p)
	must(t, "cycle", err)
	expect(t, findingOf(t, r, c), report.DecideCooldown, "an earlier action on it is still under way")
	if len(poke.applied) != 1 {
		t.Errorf("%d applied", len(poke.applied))
	}
}
