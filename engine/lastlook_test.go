package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/exec"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// passOn gives a finding's socket to another process, which has that name.
func passOn(t *testing.T, f *report.Finding, c *socklab.Conn, name string) {
	t.Helper()
	o := f.Facts.Owners[0]
	pidfd, err := unix.PidfdOpen(o.PID, 0)
	must(t, "pidfd", err)
	defer unix.Close(pidfd)
	again := *c
	again.FD, err = unix.PidfdGetfd(pidfd, o.FD, 0)
	must(t, "pidfd_getfd", err)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{&again}, Program: name})
}

// handovers are the ways in which a socket gets into other hands, and what is said about
// it.
var handovers = map[string]struct {
	do  func(t *testing.T, h *socklab.Holder, f *report.Finding, c *socklab.Conn)
	why string
}{
	"passed on": {func(t *testing.T, h *socklab.Holder, f *report.Finding, c *socklab.Conn) {
		passOn(t, f, c, "other")
		h.CloseSockets(t)
	}, "holds it now"},
	"shared": {func(t *testing.T, _ *socklab.Holder, f *report.Finding, c *socklab.Conn) { passOn(t, f, c, "other") }, "holds it now"},
	"to a process that is protected": {func(t *testing.T, h *socklab.Holder, f *report.Finding, c *socklab.Conn) {
		passOn(t, f, c, "sshd")
		h.CloseSockets(t)
	}, "holds it now"},
	"renamed":                    {func(t *testing.T, h *socklab.Holder, _ *report.Finding, _ *socklab.Conn) { h.Rename(t, "other") }, "r does not match any more"},
	"renamed to what is guarded": {func(t *testing.T, h *socklab.Holder, _ *report.Finding, _ *socklab.Conn) { h.Rename(t, "sshd") }, "r does not match any more"},
	"exec":                       {func(t *testing.T, h *socklab.Holder, _ *report.Finding, _ *socklab.Conn) { h.Exec(t, "other") }, "r does not match any more"},
	"in flight": {func(t *testing.T, h *socklab.Holder, f *report.Finding, _ *socklab.Conn) {
		inFlight(t, f)
		h.CloseSockets(t)
	}, "does not match any more (unknown)"},
}

// laterOn waits until the engine has to ask again who holds a socket.
func (l *lab) laterOn(t *testing.T, f *report.Finding) {
	t.Helper()
	socklab.WaitFor(t, "the owners to be old", func() bool { return time.Since(f.OwnersAt) > l.hand.Last.RecentFor() })
}

// inFlight puts a finding's socket into a message that nobody receives.
func inFlight(t *testing.T, f *report.Finding) {
	t.Helper()
	o := f.Facts.Owners[0]
	pidfd, err := unix.PidfdOpen(o.PID, 0)
	must(t, "pidfd", err)
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, o.FD, 0)
	must(t, "pidfd_getfd", err)
	defer unix.Close(fd)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, "socketpair", err)
	t.Cleanup(func() { _ = unix.Close(pair[0]); _ = unix.Close(pair[1]) })
	must(t, "send", unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fd), nil, 0))
}

// Between the decision and the effect a socket can get into other hands: it is then left
// alone, whatever the action.
func TestHandover(t *testing.T) {
	t.Parallel()
	for _, then := range []string{
		"destroy", "{destroy: {method: pidfd}}", "abort", "shutdown", "repair", "{signal: KILL}", "{exec: PROGRAM}", "unit",
	} {
		t.Run(then, func(t *testing.T) {
			if socklab.Apart(t) {
				return
			}
			program := filepath.Join(t.TempDir(), "hook")
			must(t, "hook", os.WriteFile(program, []byte("#!/bin/sh\necho >$0.ran\n"), 0o700))
			handover(t, strings.Replace(then, "PROGRAM", strconv.Quote(program), 1), program)
		})
	}
}

// handover hands sockets over in each way before one action.
func handover(t *testing.T, then, program string) {
	t.Helper()
	for name, way := range handovers {
		t.Run(name, func(t *testing.T) {
			unit := outcomes("unit", actions.Outcome{Result: actions.Done})
			unit.onProcess = true
			l := newLab(t, Options{Live: true}, unit)
			l.actions = registry(t, append(l.actions.All(), exec.Plugin())...)
			c := socklab.Make(t, socklab.Established, socklab.IPv4)
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "worker"})
			p := l.rules(t, ruleFile("process == 'worker' and "+port(c), then, "limits: {max_collateral: 9, cooldown: 1h, per_minute: 9}"))
			looked, err := l.Look(t.Context(), p)
			must(t, "look", err)
			f := findingOf(t, looked, c)
			expect(t, f, report.DecideAct, "", actions.Would)
			way.do(t, h, f, c)
			l.laterOn(t, f)
			r := l.Act(t.Context(), p, looked)
			l.Finish(t.Context(), r)
			f = findingOf(t, r, c)
			expect(t, f, report.DecideAct, "", actions.Changed)
			if d := f.Last().Detail; !strings.Contains(d, way.why) {
				t.Errorf("says %q, not %q", d, way.why)
			}
			if !survives(t, c) || !h.Running() || len(unit.applied) > 0 {
				t.Errorf("something was done: %s", line(f))
			}
			if _, err := os.Stat(program + ".ran"); err == nil {
				t.Error("the program has run")
			}
			if len(l.memory.Cooldowns) > 0 || len(l.memory.Acts["r"]) > 0 {
				t.Errorf("it counts: %v, %v", l.memory.Cooldowns, l.memory.Acts)
			}
		})
	}
}

// The same holds before each further rung, and for a descriptor that is left after
// destroy.
func TestHandoverBetweenRungs(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for name, way := range handovers {
		t.Run(name, func(t *testing.T) {
			poke := outcomes("poke", actions.Outcome{Result: actions.Done})
			poke.onProcess = true
			l := newLab(t, Options{Live: true}, poke)
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "worker"})
			r := l.cycle(t, l.rules(t, ruleFile("process == 'worker' and "+port(c), "{destroy: {}, wait: 10s}, {poke: {}, if: result == 'fd_still_held'}")))
			f := findingOf(t, r, c)
			if _, waits := l.Pending(); !waits || f.Last().Result != actions.FDStillHeld {
				t.Fatalf("it does not wait: %+v", f.Actions)
			}
			way.do(t, h, f, c)
			l.laterOn(t, f)
			for _, waiting := range l.hand.Ladders {
				waiting.Deadline = time.Now()
			}
			l.Finish(t.Context(), r)
			if len(poke.applied) > 0 {
				t.Errorf("poked: %+v", f.Actions)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		poke := outcomes("poke", actions.Outcome{Result: actions.Done})
		l := newLab(t, Options{Live: true}, poke)
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "worker"})
		l.run(t, l.rules(t, ruleFile("process == 'worker' and "+port(c), "{destroy: {}, wait: 1s}, {poke: {}, if: result == 'fd_still_held'}")))
		if len(poke.applied) != 1 {
			t.Errorf("poked %d times", len(poke.applied))
		}
	})
}

// A group is counted again before each rung: a process that has closed most of its
// sockets is not killed for those it had.
func TestGroupCountedAgain(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for left, ended := range map[int]bool{1: false, 10: true} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			poke := outcomes("poke", actions.Outcome{Result: actions.StillRunning})
			poke.onProcess = true
			var conns []*socklab.Conn
			for range 10 {
				conns = append(conns, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
			}
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: conns, Program: "worker"})
			poke.apply = func(actions.Target) actions.Outcome { // it hears, and closes
				h.CloseFrom(t, left)
				return actions.Outcome{Result: actions.Done}
			}
			l := newLab(t, Options{Live: true}, poke)
			p := l.rules(t, ruleFile("state == 'CLOSE_WAIT' and process == 'worker'", "{poke: {}, wait: 300ms}, {signal: KILL}", "group: pid", "having: count > 5"))
			r := l.run(t, p)
			if ended {
				h.Wait(t)
			} else if !h.Running() {
				t.Errorf("it is killed: %s", describe(r))
			}
		})
	}
}
