package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

func holder(t testing.TB, conns ...*socklab.Conn) *socklab.Holder {
	t.Helper()
	return socklab.StartHolder(t, socklab.HolderOptions{Conns: conns})
}

// port is a condition for one socket of the lab.
func port(c *socklab.Conn) string { return fmt.Sprintf("port == %d", c.Local.Port()) }

// Exactly the matching sockets are destroyed, no others.
func TestDestroyExactly(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for _, f := range socklab.Families() {
		t.Run(string(f), func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			leftOver := sockets(t) // of the other families: they go when they like
			var hung, others []*socklab.Conn
			web := socklab.NewListener(t, f, 8080)
			for _, k := range []socklab.Kind{socklab.CloseWait, socklab.CloseWaitFIN, socklab.CloseWaitUnread} {
				hung = append(hung, web.Make(t, k))
				others = append(others, socklab.NewListener(t, f, 0).Make(t, k)) // other ports
			}
			ssh, db := socklab.NewListener(t, f, 22), socklab.NewListener(t, f, 5432)
			others = append(others, ssh.Make(t, socklab.CloseWait), db.Make(t, socklab.CloseWait), db.Make(t, socklab.CloseWaitUnread))
			for _, k := range []socklab.Kind{socklab.Established, socklab.FinWait1, socklab.FinWait2, socklab.Closing, socklab.LastAck} {
				others = append(others, web.Make(t, k))
			}
			holder(t, slices.Concat(hung, others)...)
			p := l.rules(t, `
version: 1
protect:
  - name: ssh
    when: port == 22 || remote_port == 22
  - name: db
    when: port == 5432
rules:
  - name: r
    when: state == "CLOSE_WAIT" && port in [22, 5432, 8080]
    then: [destroy]
`)
			before := sockets(t)
			r := l.run(t, p)
			noErrors(t, r)
			for _, c := range hung {
				expect(t, findingOf(t, r, c), report.DecideAct, "", actions.FDStillHeld)
			}
			for _, c := range others[3:6] {
				expect(t, findingOf(t, r, c), report.DecideProtect, "protect")
			}
			want := map[uint64]bool{}
			for _, c := range hung {
				want[findingOf(t, r, c).Socket.Cookie] = true
			}
			after := sockets(t)
			for cookie, s := range before {
				if _, was := leftOver[cookie]; was {
					continue
				}
				now, still := after[cookie]
				if still == want[cookie] || still && now.State != s.State {
					t.Errorf("%s on port %d: still there %t, as %s", s.State, s.LocalPort, still, now.State)
				}
			}
			s := r.Summary
			if s.Matched != 6 || s.Acted != 3 || s.FDStillHeld != 3 || s.Protected != 3 || s.Failed+s.Skipped+s.WouldAct != 0 {
				t.Errorf("summary %+v", s)
			}
		})
	}
}

// A destroyed socket that no process holds is gone; one whose process keeps the
// descriptor is not freed.
func TestOutcomesOfDestroy(t *testing.T) {
	l := newLab(t, Options{Live: true})
	var conns []*socklab.Conn
	for _, k := range socklab.Kinds() {
		// Unaccepted ones wait at our own listener, and the kernel recreates SYN_RECV.
		if k != socklab.Bound && k != socklab.SynRecv && !k.Unaccepted() {
			c := socklab.Make(t, k, socklab.IPv4)
			conns = append(conns, c)
			if k.Owned() {
				holder(t, c)
			}
		}
	}
	r := l.run(t, l.rules(t, ruleFile(anySocket, destroyAll)))
	for _, c := range conns {
		want := actions.Gone
		if c.Kind.Owned() {
			want = actions.FDStillHeld
		}
		if c.Kind == socklab.FinWait1Orphan && socklab.KernelBefore(6, 11) {
			expect(t, findingOf(t, r, c), report.DecideGuarded, "before Linux 6.11")
			if !alive(c) {
				t.Error("the orphan in FIN_WAIT1 is gone")
			}
			continue
		}
		expect(t, findingOf(t, r, c), report.DecideAct, "", want)
	}
}

// A program that closes its descriptor as soon as it wakes up leaves nothing behind.
func TestGoneWhenClosed(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := holder(t, c)
	closing := &script{name: "closing"}
	l := newLab(t, Options{Live: true}, closing)
	destroy, err := l.actions.Get("destroy")
	must(t, "destroy", err)
	action, err := destroy.New(nil)
	must(t, "destroy", err)
	var effect actions.Effect
	closing.prepare = func(target actions.Target) (err error) {
		effect, err = action.Prepare(t.Context(), target)
		return err
	}
	closing.apply = func(actions.Target) actions.Outcome {
		out := effect.Apply(t.Context())
		h.CloseSockets(t)
		return out
	}
	closing.verify = func(actions.Target) actions.Outcome { return effect.Verify(t.Context()) }
	expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(port(c), "closing"))), c), report.DecideAct, "", actions.Gone)
}

// A socket that closed, or moved on to another state, between the look and the act is
// left alone.
func TestChanged(t *testing.T) {
	l := newLab(t, Options{Live: true})
	closed, moved, same := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	h := holder(t, closed)
	holder(t, moved, same)
	p := l.rules(t, ruleFile(`state in ["CLOSE_WAIT", "ESTABLISHED"]`, "destroy"))
	looked, err := l.Look(t.Context(), p)
	must(t, "look", err)
	for _, c := range []*socklab.Conn{closed, moved, same} {
		expect(t, findingOf(t, looked, c), report.DecideAct, "", actions.Would)
	}
	if looked.Mode != "dry-run" || looked.Summary.WouldAct != 3 {
		t.Errorf("look: %s, %+v", looked.Mode, looked.Summary)
	}
	h.CloseSockets(t)
	must(t, "shutdown", unix.Shutdown(moved.Peer, unix.SHUT_WR))
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
		s, _ := procState(t, moved)
		return s == collectors.CloseWait
	})
	r := l.Act(t.Context(), p, looked)
	expect(t, findingOf(t, r, closed), report.DecideAct, "", actions.Changed)
	expect(t, findingOf(t, r, moved), report.DecideAct, "", actions.Changed)
	expect(t, findingOf(t, r, same), report.DecideAct, "", actions.FDStillHeld)
	if s := r.Summary; r.Mode != "live" || s.Skipped != 2 || s.Acted != 1 || s.Failed != 0 {
		t.Errorf("%s, summary %+v", r.Mode, s)
	}
	if s, ok := procState(t, moved); !ok || s != collectors.CloseWait {
		t.Errorf("the socket that went on is %s (%t)", s, ok)
	}
}

// procState returns the state of a socket, whoever has it.
func procState(t testing.TB, c *socklab.Conn) (collectors.State, bool) {
	t.Helper()
	for _, s := range sockets(t) {
		if l, r := ends(&s); l == c.Local && r == c.Remote {
			return s.State, true
		}
	}
	return 0, false
}

// A dry run prepares everything and applies nothing, whatever the rules and the
// plugins say.
func TestDryRunCannotAct(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := holder(t, c)
	hostile := outcomes("hostile", actions.Outcome{Result: actions.StillRunning})
	process := outcomes("process", actions.Outcome{Result: actions.Failed})
	process.onProcess = true
	harmless := outcomes("harmless", actions.Outcome{Result: actions.Refused})
	harmless.harmless = true
	state := filepath.Join(t.TempDir(), "state.json")
	for _, then := range []string{
		"hostile, destroy, {signal: KILL}", "process, {signal: KILL}", "destroy", "{signal: KILL}",
		"harmless, {signal: KILL}", `destroy, {signal: KILL, if: result == "would"}`, `harmless, {destroy: {}, if: result != "gone"}`,
	} {
		for _, live := range []bool{false, true} {
			l := newLab(t, Options{Live: live, StateFile: state}, hostile, process, harmless)
			p := l.rules(t, ruleFile(port(c), strings.ReplaceAll(then, "{}", "{listen: true}")))
			var r *report.Report
			var err error
			if live {
				r, err = l.Look(t.Context(), p)
			} else {
				r, err = l.Cycle(t.Context(), p)
			}
			must(t, "cycle", err)
			if _, waits := l.Pending(); waits {
				t.Errorf("%s: a dry run waits", then)
			}
			l.Step(t.Context())
			l.Finish(t.Context(), r)
			expect(t, findingOf(t, r, c), report.DecideAct, "", actions.Would)
			if len(l.memory.Cooldowns) > 0 {
				t.Errorf("%s: cool-downs %v", then, l.memory.Cooldowns)
			}
			l.Close()
		}
	}
	if n := len(hostile.applied) + len(process.applied) + len(harmless.applied); n > 0 {
		t.Errorf("%d effects were applied", n)
	}
	if len(hostile.prepared) == 0 || len(process.prepared) == 0 || len(harmless.prepared) == 0 {
		t.Error("they were not prepared")
	}
	if !alive(c) || !h.Running() {
		t.Error("it did not survive")
	}
}

// Cool-downs reach the state file before the effect; if they cannot be kept, nothing is
// done.
func TestCooldownBeforeEffect(t *testing.T) {
	state := filepath.Join(t.TempDir(), "run", "state.json")
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := holder(t, c)
	kept := ""
	spy := &script{name: "spy"}
	spy.apply = func(actions.Target) actions.Outcome {
		b, err := os.ReadFile(state)
		must(t, "state", err)
		kept = string(b)
		return actions.Outcome{Result: actions.Refused}
	}
	spy.verify = spy.apply
	process := outcomes("process", actions.Outcome{Result: actions.Done})
	process.onProcess = true
	spied := process.apply
	process.apply = func(target actions.Target) actions.Outcome { spy.apply(target); return spied(target) }
	for name, key := range map[string]string{"spy": "socket ", "process": fmt.Sprintf("process %d since ", h.PID), "spy, process": fmt.Sprintf("process %d since ", h.PID)} {
		t.Run(name, func(t *testing.T) {
			kept = ""
			l := newLab(t, Options{Live: true, StateFile: state}, spy, process)
			l.run(t, l.rules(t, ruleFile(port(c), name, "limits: {cooldown: 1ms}")))
			if !strings.Contains(kept, key) {
				t.Errorf("while it was done, the state file had %s", kept)
			}
		})
	}
	t.Run("unwritable", func(t *testing.T) {
		l := newLab(t, Options{Live: true, StateFile: state}, spy)
		must(t, "remove", os.RemoveAll(filepath.Dir(state)))
		n := len(spy.applied)
		r := l.run(t, l.rules(t, ruleFile(port(c), "spy", "limits: {cooldown: 1ms}")))
		if r.HostError == nil || !strings.Contains(r.HostError.Error(), "cool-downs cannot be kept, so nothing is done") || len(r.Errors) == 0 {
			t.Errorf("host error %v, errors %v", r.HostError, r.Errors)
		}
		expect(t, findingOf(t, r, c), report.DecideAct, "", actions.Failed)
		if len(spy.applied) != n {
			t.Error("it was done all the same")
		}
	})
}

// If the engine is asked to stop between two effects, it leaves the rest alone and still
// reports what it did.
func TestCancelBetweenEffects(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("asked to stop")
	stop := &script{name: "stop"}
	stop.apply = func(actions.Target) actions.Outcome {
		if len(stop.applied) == 2 {
			cancel(stopped)
		}
		return actions.Outcome{Result: actions.Gone}
	}
	stop.verify = func(actions.Target) actions.Outcome { return actions.Outcome{Result: actions.Gone} }
	second := outcomes("second", actions.Outcome{Result: actions.Done})
	l := newLab(t, Options{Live: true}, stop, second)
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 5)
	holder(t, conns...)
	r, err := l.Cycle(ctx, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, `stop, {second: {udp: true}, if: result == "gone"}`)))
	must(t, "cycle", err)
	l.Finish(ctx, r)
	if len(stop.applied) != 2 || len(stop.prepared) != 2 || len(second.applied) != 0 {
		t.Errorf("%d prepared, %d applied, %d of the second rung", len(stop.prepared), len(stop.applied), len(second.applied))
	}
	got := map[actions.Result]int{}
	for _, f := range r.Findings {
		got[f.Last().Result]++
		if f.Last().Result == actions.Failed && f.Last().Error != stopped.Error() {
			t.Errorf("error %q", f.Last().Error)
		}
	}
	if !maps.Equal(got, map[actions.Result]int{actions.Gone: 2, actions.Failed: 3}) {
		t.Errorf("results %v", got)
	}
	if _, waits := l.Pending(); waits {
		t.Error("ladders wait still")
	}
}

// A cycle that is asked to stop while it looks does nothing at all.
func TestCancelledLook(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := newLab(t, Options{Live: true})
	if r, err := l.Cycle(ctx, l.rules(t, ruleFile("true", "destroy"))); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", r, err)
	}
}

// However many sockets of one process match, the process gets one signal per cycle: as
// the first action, on a later rung of a ladder, and if two rules ask for it.
func TestOneSignal(t *testing.T) {
	const n = 50
	const second = "  - name: s\n    when: state == 'CLOSE_WAIT'\n    then: [{signal: USR1}]\n    limits: {cooldown: 0}\n"
	for name, text := range map[string]string{
		"first": ruleFile(`state == "CLOSE_WAIT"`, "{signal: USR1}", "limits: {cooldown: 0}"),
		"later": ruleFile(`state == "CLOSE_WAIT"`, `destroy, {signal: USR1, if: result == "fd_still_held"}`, "limits: {cooldown: 0}"),
		"after": ruleFile(`state == "CLOSE_WAIT"`, `never, {signal: USR1}`, "limits: {cooldown: 0}"),
		// The oldest socket is one that both rules want, or one that only the second
		// wants.
		"two rules":    ruleFile(`state == "CLOSE_WAIT" && port <= MIDDLE`, "{signal: USR1}", "limits: {cooldown: 0}") + second,
		"second first": ruleFile(`state == "CLOSE_WAIT" && port > MIDDLE`, "{signal: USR1}", "limits: {cooldown: 0}") + second,
	} {
		t.Run(name, func(t *testing.T) {
			never := outcomes("never", actions.Outcome{Result: actions.Refused})
			l := newLab(t, Options{Live: true}, never)
			conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, n)
			text = strings.Replace(text, "MIDDLE", strconv.Itoa(int(conns[n/2].Local.Port())), 1)
			counter := startChild(t, orders{Life: "counter"}, conns...)
			r := l.run(t, l.rules(t, text))
			noErrors(t, r)
			if s := r.Summary; s.Scanned != n || s.Acted+s.Failed != n {
				t.Errorf("summary %+v", s)
			}
			if lines := l.journal.lines("msg=acted", `action="signal USR1"`); len(lines) != 1 {
				t.Errorf("%d lines for one signal: %s", len(lines), lines)
			}
			if got := strings.TrimSpace(counter.rest(t)); got != "1" {
				t.Errorf("%s signals arrived", got)
			}
		})
	}
}

// When two rules act on one process, the first does it; once none of the first rule's
// sockets is left, the second must decide for itself.
func TestNotForAnotherRule(t *testing.T) {
	l := newLab(t, Options{Live: true})
	a, b := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	counter := startChild(t, orders{Life: "counter"}, a, b)
	p := l.rules(t, ruleFile(port(a), "{signal: USR1}")+"  - name: s\n    when: "+port(b)+"\n    then: [{signal: USR1}]\n")
	looked, err := l.Look(t.Context(), p)
	must(t, "look", err)
	expect(t, looked.Findings[0], report.DecideAct, "", actions.Would)
	expect(t, looked.Findings[1], report.DecideAct, "", actions.Would)
	nl, err := sockdiag.Dial(-1)
	must(t, "dial", err)
	defer nl.Close()
	must(t, "destroy", nl.Destroy(t.Context(), &looked.Findings[0].Socket))
	r := l.Act(t.Context(), p, looked)
	l.Finish(t.Context(), r)
	expect(t, r.Findings[0], report.DecideAct, "", actions.Changed)
	expect(t, r.Findings[1], report.DecideAct, "", actions.Changed)
	if got := strings.TrimSpace(counter.rest(t)); got != "0" {
		t.Errorf("%s signals arrived", got)
	}
}

// A PID that another process has got in the meantime is not signalled, even if that
// process holds the same socket.
func TestReusedPID(t *testing.T) {
	l := newLab(t, Options{Live: true})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	p := l.rules(t, ruleFile(port(c), "{signal: KILL}"))
	first := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
	begun := time.Now()
	var second *socklab.Holder
	looked, err := l.Look(t.Context(), p)
	must(t, "look", err)
	f := findingOf(t, looked, c)
	expect(t, f, report.DecideGuarded, "sockwarden's own")
	// The tests themselves hold it, too: decide about the holder alone.
	owners := slices.DeleteFunc(slices.Clone(f.Facts.Owners), func(o collectors.Owner) bool { return o.PID != first.PID })
	f.Facts.Owners, f.Decision, f.Reason = owners, report.DecideAct, ""
	must(t, "kill", unix.Kill(first.PID, unix.SIGKILL))
	first.Wait(t)
	// The kernel shows start times in hundredths of a second.
	socklab.WaitFor(t, "another start time", func() bool { return time.Since(begun) > 30*time.Millisecond })
	socklab.WaitFor(t, "the PID to be used again", func() bool {
		must(t, "ns_last_pid", os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(first.PID-1)), 0))
		second = socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
		return second.PID == first.PID
	})
	r := l.Act(t.Context(), p, looked)
	expect(t, findingOf(t, r, c), report.DecideAct, "", actions.Changed)
	if !second.Running() {
		t.Error("the second process was signalled")
	}
}

// Exactly what was decided on is done: a program from the command line has no limits and
// no breaker.
func TestSelection(t *testing.T) {
	l := newLab(t, Options{Live: true, NoBreaker: true})
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 600)
	holder(t, conns...)
	p, err := rules.NewSelection(rules.Selection{Name: "kill", Text: `state == "CLOSE_WAIT"`, Mode: rules.ModeEnforce, Then: []rules.Rung{l.rung(t, "destroy")}})
	must(t, "selection", err)
	looked, err := l.Look(t.Context(), p)
	must(t, "look", err)
	if looked.Summary.WouldAct != len(conns) {
		t.Errorf("look %+v", looked.Summary)
	}
	late := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, late)
	r := l.Act(t.Context(), p, looked)
	l.Finish(t.Context(), r)
	if r.Summary.Acted != len(conns) || r.Summary.FDStillHeld != len(conns) {
		t.Errorf("act %+v", r.Summary)
	}
	if s, ok := procState(t, late); !ok || s != collectors.CloseWait {
		t.Errorf("a socket that was not shown is %s (%t)", s, ok)
	}
}
