package signal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestConformance(t *testing.T) {
	bad := func(word string, params map[string]any) actiontest.Bad {
		return actiontest.Bad{Params: params, Word: word}
	}
	actiontest.Run(t, Plugin(), actiontest.Cases{
		Good: []map[string]any{
			{"signal": "TERM"},
			{"signal": "SIGTERM"},
			{"signal": "sigkill"},
			{"signal": "hup", "owners": "all"},
			{"signal": "TERM", "listener": true},
			{"signal": "USR1"},
			{"signal": "CONT"},
		},
		Bad: []actiontest.Bad{
			bad("signal: TERM", nil),
			bad("signal: TERM", map[string]any{"signal": ""}),
			bad("signal: TERM", map[string]any{"owners": "all"}),
			bad("TERM, KILL or HUP", map[string]any{"signal": "TERMINATE"}),
			bad("write KILL for 9", map[string]any{"signal": "9"}),
			bad("TERM, KILL or HUP", map[string]any{"signal": "0"}),
			bad("TERM, KILL or HUP", map[string]any{"signal": "SIG"}),
			bad("TERM, KILL or HUP", map[string]any{"signal": " TERM"}),
			bad("SIGSTOP would only stop", map[string]any{"signal": "STOP"}),
			bad("SIGTSTP would only stop", map[string]any{"signal": "SIGTSTP"}),
			bad("SIGTTIN would only stop", map[string]any{"signal": "ttin"}),
			bad("SIGTTOU would only stop", map[string]any{"signal": "TTOU"}),
			bad("owners", map[string]any{"signal": "TERM", "owners": "any"}),
			bad("owners", map[string]any{"signal": "TERM", "owners": ""}),
		},
		Make: func(t testing.TB) *actiontest.Subject {
			return &actiontest.HeldOnProcess(t, socklab.HolderOptions{}).Subject
		},
		Stubborn: func(t testing.TB) *actiontest.Subject {
			return &actiontest.HeldOnProcess(t, socklab.HolderOptions{IgnoreTerm: true}).Subject
		},
	})
}

func prepare(t testing.TB, signal string, target actions.Target) (actions.Effect, error) {
	t.Helper()
	a, err := Plugin().New(map[string]any{"signal": signal})
	must(t, "New", err)
	return a.Prepare(t.Context(), target)
}

func prepared(t testing.TB, signal string, target actions.Target) actions.Effect {
	t.Helper()
	e, err := prepare(t, signal, target)
	must(t, "Prepare", err)
	return e
}

// verify waits for a result of Verify.
func verify(t *testing.T, e actions.Effect, want actions.Result) {
	t.Helper()
	var out actions.Outcome
	socklab.WaitFor(t, string(want), func() bool {
		out = e.Verify(t.Context())
		return out.Result == want
	})
	if out.Err != nil {
		t.Errorf("Verify: %+v", out)
	}
}

func TestTermEnds(t *testing.T) {
	actiontest.LeakCheck(t)
	s := actiontest.HeldOnProcess(t, socklab.HolderOptions{})
	e := prepared(t, "term", s.Target)
	if e.String() != "signal TERM" {
		t.Errorf("the effect is %q", e)
	}
	if out := e.Verify(t.Context()); out.Result != actions.StillRunning {
		t.Errorf("Verify before Apply: %+v", out)
	}
	if out := e.Apply(t.Context()); out.Result != actions.Ended {
		t.Errorf("Apply: %+v", out)
	}
	verify(t, e, actions.Ended)
	if ws := s.Holder.Wait(t); ws.Signal() != unix.SIGTERM {
		t.Errorf("it ended by %v", ws)
	}
	if out := e.Apply(t.Context()); out.Result != actions.Changed {
		t.Errorf("Apply again: %+v", out)
	}
}

// A ladder: the process ignores TERM, but not KILL.
func TestTermIgnored(t *testing.T) {
	actiontest.LeakCheck(t)
	s := actiontest.HeldOnProcess(t, socklab.HolderOptions{IgnoreTerm: true})
	term := prepared(t, "TERM", s.Target)
	if out := term.Apply(t.Context()); out.Result != actions.Ended {
		t.Errorf("Apply TERM: %+v", out)
	}
	if out := term.Verify(t.Context()); out.Result != actions.StillRunning || !out.Result.Climbs() {
		t.Errorf("Verify TERM: %+v", out)
	}
	kill := prepared(t, "KILL", s.Target)
	if out := kill.Apply(t.Context()); out.Result != actions.Ended {
		t.Errorf("Apply KILL: %+v", out)
	}
	verify(t, kill, actions.Ended)
	verify(t, term, actions.Ended)
	if ws := s.Holder.Wait(t); ws.Signal() != unix.SIGKILL {
		t.Errorf("it ended by %v", ws)
	}
}

// A signal that is not meant to end a process is done once it is sent.
func TestOtherSignals(t *testing.T) {
	s := actiontest.HeldOnProcess(t, socklab.HolderOptions{})
	stopped := func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Holder.PID))
		return err == nil && strings.Contains(string(b), ") T ")
	}
	if err := unix.Kill(s.Holder.PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	socklab.WaitFor(t, "the stopped process", stopped)
	e := prepared(t, "CONT", s.Target)
	if out := e.Apply(t.Context()); out.Result != actions.Done {
		t.Errorf("Apply: %+v", out)
	}
	if out := e.Verify(t.Context()); out.Result != actions.Done {
		t.Errorf("Verify: %+v", out)
	}
	socklab.WaitFor(t, "the process that goes on", func() bool { return !stopped() })
	if !s.Holder.Running() {
		t.Error("it has ended")
	}
}

// A process that has closed the socket is left alone, before and after Prepare.
func TestSocketClosed(t *testing.T) {
	actiontest.LeakCheck(t)
	s := actiontest.HeldOnProcess(t, socklab.HolderOptions{})
	e := prepared(t, "KILL", s.Target)
	s.Holder.CloseSockets(t)
	if out := e.Apply(t.Context()); out.Result != actions.Changed {
		t.Errorf("Apply: %+v", out)
	}
	if e, err := prepare(t, "KILL", s.Target); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare: %v, %v", e, err)
	}
	if out := e.Verify(t.Context()); out.Result != actions.StillRunning {
		t.Errorf("Verify: %+v", out)
	}
	if !s.Holder.Running() {
		t.Error("it has ended")
	}
}

// A connection that waits to be accepted has no process: its listener proves the
// listening process, for as long as that process has the listener.
func TestListenerProves(t *testing.T) {
	s, other := actiontest.HeldOnProcess(t, socklab.HolderOptions{}), actiontest.HeldOnProcess(t, socklab.HolderOptions{})
	target := s.Target
	listener := actions.Listener{Socket: target.Sockets[0].Socket}
	target.Sockets = []actions.Sealed{{Listeners: []actions.Listener{{Socket: other.Target.Sockets[0].Socket}, listener}}}
	e := prepared(t, "TERM", target)
	s.Holder.CloseSockets(t)
	if out := e.Apply(t.Context()); out.Result != actions.Changed || !s.Holder.Running() {
		t.Errorf("Apply without the listener: %+v", out)
	}
	target.Process = other.Target.Process
	e = prepared(t, "TERM", target)
	if out := e.Apply(t.Context()); out.Result != actions.Ended {
		t.Errorf("Apply: %+v", out)
	}
	verify(t, e, actions.Ended)
}

// Holding one of several sockets is enough.
func TestOneOfSeveralSockets(t *testing.T) {
	s, other := actiontest.HeldOnProcess(t, socklab.HolderOptions{}), actiontest.HeldOnProcess(t, socklab.HolderOptions{})
	target := s.Target
	target.Sockets = append(other.Target.Sockets, target.Sockets...)
	e := prepared(t, "TERM", target)
	if out := e.Apply(t.Context()); out.Result != actions.Ended {
		t.Errorf("Apply: %+v", out)
	}
	verify(t, e, actions.Ended)
	if !other.Holder.Running() {
		t.Error("the other process has ended")
	}
}

// Not signalled: no process, another process, a socket of nobody, another start time.
func TestWrongTargets(t *testing.T) {
	s := actiontest.HeldOnProcess(t, socklab.HolderOptions{})
	for name, c := range map[string]struct {
		change func(*actions.Target)
		gone   bool
	}{
		"no process":         {func(t *actions.Target) { t.Process = nil }, false},
		"PID 0":              {func(t *actions.Target) { t.Process.PID = 0 }, false},
		"PID 1, not that":    {func(t *actions.Target) { t.Process.PID = 1 }, true},
		"a negative PID":     {func(t *actions.Target) { t.Process.PID = -t.Process.PID }, false},
		"no socket":          {func(t *actions.Target) { t.Sockets = nil }, true},
		"nobody's socket":    {func(t *actions.Target) { t.Sockets[0].Socket.Inode = 0 }, true},
		"another socket":     {func(t *actions.Target) { t.Sockets[0].Socket.Inode++ }, true},
		"another start time": {func(t *actions.Target) { t.Process.StartTime-- }, true},
		"another process":    {func(t *actions.Target) { t.Process.PID = 1<<22 + 1 }, true},
	} {
		target := s.Target
		process := *s.Target.Process
		target.Process = &process
		target.Sockets = append([]actions.Sealed(nil), s.Target.Sockets...)
		c.change(&target)
		if e, err := prepare(t, "KILL", target); e != nil || err == nil || errors.Is(err, collectors.ErrGone) != c.gone {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
	if !s.Holder.Running() {
		t.Error("it has ended")
	}
}

// cat starts cat(1) with a socket; cat ends when its standard input does, and only wait
// reaps it.
func cat(t *testing.T, socket int) (pid int, wait func()) {
	t.Helper()
	path, err := exec.LookPath("cat")
	must(t, "cat", err)
	var in, out [2]int
	must(t, "pipe", unix.Pipe2(in[:], unix.O_CLOEXEC))
	must(t, "pipe", unix.Pipe2(out[:], unix.O_CLOEXEC))
	pid, err = syscall.ForkExec(path, []string{"cat"}, &syscall.ProcAttr{
		Files: []uintptr{uintptr(in[0]), uintptr(out[1]), 2, uintptr(socket)},
	})
	must(t, "start cat", err)
	reaped := false
	wait = func() {
		if reaped {
			return
		}
		reaped = true
		for _, fd := range []int{in[0], in[1], out[0], out[1]} {
			_ = unix.Close(fd)
		}
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
				return
			}
		}
	}
	t.Cleanup(wait)
	return pid, wait
}

func onProcess(t *testing.T, c *socklab.Conn, pid int) actions.Target {
	t.Helper()
	s := actiontest.Sealed(t, c)
	for i := range s.Facts.Owners {
		if s.Facts.Owners[i].PID == pid {
			return actions.Target{Rule: "test", Sockets: []actions.Sealed{s}, Process: &s.Facts.Owners[i]}
		}
	}
	t.Fatalf("process %d does not hold it: %+v", pid, s.Facts.Owners)
	return actions.Target{}
}

// A process that only waits for its parent counts as ended.
func TestZombie(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	pid, wait := cat(t, c.FD)
	e := prepared(t, "KILL", onProcess(t, c, pid))
	if out := e.Apply(t.Context()); out.Result != actions.Ended {
		t.Errorf("Apply: %+v", out)
	}
	verify(t, e, actions.Ended)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
		t.Errorf("it is no zombie: %v", err)
	}
	if out := e.Apply(t.Context()); out.Result != actions.Changed {
		t.Errorf("Apply to a zombie: %+v", out)
	}
	wait()
	verify(t, e, actions.Ended)
}

// Another process that holds the same socket gets the PID. The decision was not about it,
// so it gets no signal.
func TestReusedPID(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	pid, wait := cat(t, c.FD)
	target := onProcess(t, c, pid)
	e := prepared(t, "KILL", target)
	wait()
	socklab.WaitFor(t, "the PID to be used again", func() bool {
		// Threads of this process may take the PID first.
		must(t, "ns_last_pid", os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
		again, end := cat(t, c.FD)
		o, err := procfs.New("").Describe(again)
		must(t, "describe", err)
		if again == pid && o.StartTime != target.Process.StartTime {
			return true
		}
		end()
		return false
	})
	if out := e.Apply(t.Context()); out.Result != actions.Changed {
		t.Errorf("Apply: %+v", out)
	}
	if out := e.Verify(t.Context()); out.Result != actions.Ended {
		t.Errorf("Verify: %+v", out)
	}
	if e, err := prepare(t, "KILL", target); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare: %v, %v", e, err)
	}
	var dead unix.Siginfo
	if err := unix.Waitid(unix.P_PID, pid, &dead, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || dead.Signo != 0 {
		t.Errorf("the new process has ended: %+v, %v", dead, err)
	}
}

// Without the capabilities the result is "not permitted", which is not the target's
// fault.
func TestNotPermitted(t *testing.T) {
	actiontest.LeakCheck(t)
	s := actiontest.HeldOnProcess(t, socklab.HolderOptions{UID: 65534})
	e := prepared(t, "KILL", s.Target)
	for name, drop := range map[string]int{"CAP_KILL": unix.CAP_KILL, "CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE} {
		var out actions.Outcome
		must(t, "without "+name, socklab.WithoutCapability(t, func() error {
			out = e.Apply(t.Context())
			return nil
		}, drop))
		if out.Result != actions.NotPermitted || !out.Result.EndsAll() || !errors.Is(out.Err, collectors.ErrNotPermitted) {
			t.Errorf("without %s: %+v", name, out)
		}
		if running, err := procfs.New("").Running(s.Holder.PID, s.Target.Process.StartTime); err != nil || !running {
			t.Errorf("without %s it ended: %v", name, err)
		}
	}
	if out := e.Apply(t.Context()); out.Result != actions.Ended {
		t.Errorf("with all capabilities: %+v", out)
	}
	verify(t, e, actions.Ended)
}
