package repair

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/actions/ownersock"
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

// options reads, by number, what is set on the socket of another process: SO_KEEPALIVE,
// TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT.
func options(t testing.TB, s *actions.Sealed) string {
	t.Helper()
	var all []int
	err := ownersock.With(t.Context(), procfs.New(""), s, func(fd int) error {
		for _, o := range []struct{ level, name int }{{1, 9}, {6, 4}, {6, 5}, {6, 6}, {6, 18}} {
			n, err := unix.GetsockoptInt(fd, o.level, o.name)
			if err != nil {
				return err
			}
			all = append(all, n)
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return strings.Trim(fmt.Sprint(all), "[]")
}

func TestConformance(t *testing.T) {
	bad := func(word, name string, v any) actiontest.Bad {
		return actiontest.Bad{Params: map[string]any{name: v}, Word: word}
	}
	actiontest.Run(t, Plugin(), actiontest.Cases{
		Good: []map[string]any{
			nil,
			{"idle": time.Second, "interval": time.Second, "count": 1.0, "user_timeout": time.Second},
			{"idle": 32767 * time.Second, "interval": 32767 * time.Second, "count": 127.0, "user_timeout": 500 * time.Hour},
			{"user_timeout": 1500 * time.Millisecond},
		},
		Bad: []actiontest.Bad{
			bad("idle is between", "idle", time.Duration(0)),
			bad("idle is between", "idle", -time.Second),
			bad("idle is between", "idle", time.Second-1),
			bad("whole seconds", "idle", 1500*time.Millisecond),
			bad("32767s", "idle", 32768*time.Second),
			bad("interval is between", "interval", 999*time.Millisecond),
			bad("interval is between", "interval", 10*time.Hour),
			bad("count", "count", 0.0),
			bad("count", "count", -1.0),
			bad("127", "count", 128.0),
			bad("whole number", "count", 1.5),
			bad("user_timeout", "user_timeout", time.Second-1),
			bad("user_timeout", "user_timeout", -time.Hour),
			// Cut to 32 bits, this would be 705 ms.
			bad("500h", "user_timeout", (1<<32+705)*time.Millisecond),
		},
		Make: func(t testing.TB) *actiontest.Subject {
			h := actiontest.Held(t, socklab.HolderOptions{})
			subject := h.Subject
			subject.State = func(t testing.TB) string { return h.State(t) + "; " + options(t, &h.Target.Sockets[0]) }
			return &subject
		},
	})
}

func prepare(t testing.TB, params map[string]any, s ...actions.Sealed) (actions.Effect, error) {
	t.Helper()
	a, err := Plugin().New(params)
	must(t, "New", err)
	return a.Prepare(t.Context(), actions.Target{Rule: "test", Sockets: s})
}

// applied repairs and returns the outcome, on which Verify must agree.
func applied(t testing.TB, params map[string]any, s actions.Sealed) actions.Outcome {
	t.Helper()
	e, err := prepare(t, params, s)
	must(t, "Prepare", err)
	if e.String() != "repair" {
		t.Errorf("the effect is %q", e)
	}
	out := e.Apply(t.Context())
	if again := e.Verify(t.Context()); again != out {
		t.Errorf("Apply: %+v, then %+v", out, again)
	}
	return out
}

// Everything that was asked for, and nothing else, is set on the socket of another
// process, in every state with a peer.
func TestSets(t *testing.T) {
	actiontest.LeakCheck(t)
	for _, k := range []socklab.Kind{socklab.Established, socklab.CloseWait, socklab.CloseWaitUnread, socklab.FinWait1, socklab.FinWait2} {
		for _, f := range socklab.Families() {
			t.Run(k.String()+"/"+string(f), func(t *testing.T) {
				c := socklab.Make(t, k, f)
				h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, UID: 65534})
				s := actiontest.Sealed(t, c)
				if got := options(t, &s); got != "0 7200 75 9 0" {
					t.Fatalf("before: %s", got)
				}
				out := applied(t, map[string]any{"idle": 25 * time.Second, "interval": 7 * time.Second, "count": 3.0}, s)
				if want := (actions.Outcome{Result: actions.Repaired, Detail: "before: keepalive off"}); out != want {
					t.Errorf("%+v, not %+v", out, want)
				}
				if got := options(t, &s); got != "1 25 7 3 0" {
					t.Errorf("set: %s", got)
				}
				if state, there := c.Now(); !there || state != k.State() {
					t.Errorf("it is %s (%t)", state, there)
				}
				if !h.Running() {
					t.Error("the process has ended")
				}
			})
		}
	}
}

// Repeated repairs: the second finds nothing to do, and each reports what was set before.
func TestUnchanged(t *testing.T) {
	actiontest.LeakCheck(t)
	s := actiontest.Held(t, socklab.HolderOptions{}).Target.Sockets[0]
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	for _, step := range []struct {
		params map[string]any
		want   actions.Outcome
		set    string
	}{
		{nil, actions.Outcome{Result: actions.Repaired, Detail: "before: keepalive off"}, "1 60 10 6 0"},
		{nil, actions.Outcome{Result: actions.Unchanged, Detail: "keepalive idle 60s interval 10s count 6"}, "1 60 10 6 0"},
		{
			map[string]any{"idle": second(30)},
			actions.Outcome{Result: actions.Repaired, Detail: "before: keepalive idle 60s interval 10s count 6"},
			"1 30 10 6 0",
		},
		{
			map[string]any{"idle": second(30), "interval": second(5)},
			actions.Outcome{Result: actions.Repaired, Detail: "before: keepalive idle 30s interval 10s count 6"},
			"1 30 5 6 0",
		},
		{
			map[string]any{"idle": second(30), "interval": second(5), "count": 4.0},
			actions.Outcome{Result: actions.Repaired, Detail: "before: keepalive idle 30s interval 5s count 6"},
			"1 30 5 4 0",
		},
		{
			map[string]any{"user_timeout": 150500 * time.Millisecond},
			actions.Outcome{Result: actions.Repaired, Detail: "before: keepalive idle 30s interval 5s count 4"},
			"1 60 10 6 150500",
		},
		{
			map[string]any{"user_timeout": 150500 * time.Millisecond},
			actions.Outcome{Result: actions.Unchanged, Detail: "keepalive idle 60s interval 10s count 6, user_timeout 2m30.5s"},
			"1 60 10 6 150500",
		},
		// What nobody asked for stays as it is.
		{nil, actions.Outcome{Result: actions.Unchanged, Detail: "keepalive idle 60s interval 10s count 6, user_timeout 2m30.5s"}, "1 60 10 6 150500"},
	} {
		if out := applied(t, step.params, s); out != step.want {
			t.Errorf("%v: %+v, not %+v", step.params, out, step.want)
		}
		if got := options(t, &s); got != step.set {
			t.Errorf("%v: set %s, not %s", step.params, got, step.set)
		}
	}
}

// Verify notices if the program undoes the repair. The settings "before" are those at
// Apply, not at Prepare.
func TestSetBack(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	s := actiontest.Sealed(t, c)
	e, err := prepare(t, nil, s)
	must(t, "Prepare", err)
	must(t, "SO_KEEPALIVE", unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	if out := e.Apply(t.Context()); out.Result != actions.Repaired || out.Detail != "before: keepalive idle 7200s interval 75s count 9" {
		t.Errorf("Apply: %+v", out)
	}
	must(t, "SO_KEEPALIVE", unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0))
	if out := e.Verify(t.Context()); out.Result != actions.Refused || out.Detail != "its owner has set it again: keepalive off" {
		t.Errorf("Verify: %+v", out)
	}
	c.CloseFD()
	if out := e.Verify(t.Context()); out.Result != actions.Repaired {
		t.Errorf("Verify after it was closed: %+v", out)
	}
}

// In these states the kernel sends no probes, or has nobody to send them to.
func TestOtherStates(t *testing.T) {
	actiontest.LeakCheck(t)
	for _, k := range []socklab.Kind{socklab.Listen, socklab.Bound, socklab.SynSent, socklab.Closing, socklab.LastAck, socklab.UDPConnected} {
		c := socklab.Make(t, k, socklab.IPv4)
		if actiontest.Hidden(t, c) {
			continue
		}
		if e, err := prepare(t, nil, actiontest.Sealed(t, c)); e != nil || err == nil || errors.Is(err, collectors.ErrGone) {
			t.Errorf("%s: %v, %v", k, e, err)
		}
		if on, err := unix.GetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_KEEPALIVE); err != nil || on != 0 {
			t.Errorf("%s: keepalive %d, %v", k, on, err)
		}
	}
	orphan := actiontest.Sealed(t, socklab.Make(t, socklab.FinWait2Orphan, socklab.IPv4))
	if e, err := prepare(t, nil, orphan); e != nil || !errors.Is(err, ownersock.ErrNoOwner) {
		t.Errorf("an orphan: %v, %v", e, err)
	}
}

func TestStateChanged(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	s := actiontest.Sealed(t, c)
	e, err := prepare(t, nil, s)
	must(t, "Prepare", err)
	must(t, "shutdown", unix.Shutdown(c.Peer, unix.SHUT_WR))
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
		state, _ := c.Now()
		return state == collectors.CloseWait
	})
	if out := e.Apply(t.Context()); out.Result != actions.Changed || out.Err != nil {
		t.Errorf("Apply: %+v", out)
	}
	if e, err := prepare(t, nil, s); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare: %v, %v", e, err)
	}
	if got := options(t, &s); got != "0 7200 75 9 0" {
		t.Errorf("set: %s", got)
	}
}

// Without the capability the result is "not permitted", which is not the target's fault.
func TestNotPermitted(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.Held(t, socklab.HolderOptions{UID: 65534})
	s := h.Target.Sockets[0]
	e, err := prepare(t, nil, s)
	must(t, "Prepare", err)
	must(t, "without CAP_SYS_PTRACE", socklab.WithoutCapability(t, func() error {
		for what, out := range map[string]actions.Outcome{"Apply": e.Apply(t.Context()), "Verify": e.Verify(t.Context())} {
			if out.Result != actions.NotPermitted || !errors.Is(out.Err, collectors.ErrNotPermitted) {
				t.Errorf("%s: %+v", what, out)
			}
		}
		return nil
	}, unix.CAP_SYS_PTRACE))
	if got := options(t, &s); got != "0 7200 75 9 0" {
		t.Errorf("set: %s", got)
	}
}

// vanish makes the other end lose everything that arrives, as if its host were switched
// off: SO_ATTACH_FILTER with a program that keeps 0 bytes.
func vanish(t *testing.T, c *socklab.Conn) {
	t.Helper()
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	prog := unix.SockFprog{Len: 1, Filter: &filter[0]}
	must(t, "filter", unix.SetsockoptSockFprog(c.Peer, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}

// segments returns how many segments the other end has received.
func segments(t *testing.T, c *socklab.Conn) uint32 {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(c.Peer, unix.IPPROTO_TCP, unix.TCP_INFO)
	must(t, "TCP_INFO", err)
	return info.Segs_in
}

// The purpose: the owner of a connection to a dead peer learns of it in time and closes;
// a connection to a live peer stays, and nothing is lost.
func TestDeadAndLivePeer(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	actiontest.LeakCheck(t)
	params := map[string]any{"idle": 2 * time.Second, "interval": time.Second, "count": 3.0}
	const within = 5 * time.Second // idle + count times interval
	dead, live := socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv6)
	deadReader, liveReader := actiontest.Read(t, dead), actiontest.Read(t, live)
	deadSealed, liveSealed := actiontest.Sealed(t, dead), actiontest.Sealed(t, live)
	// The program's own user timeout is left to it.
	slow := socklab.Make(t, socklab.Established, socklab.Mapped)
	const slowWithin = within + 3*time.Second
	must(t, "TCP_USER_TIMEOUT", unix.SetsockoptInt(slow.FD, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(slowWithin/time.Millisecond)))
	slowReader := actiontest.Read(t, slow)
	slowSealed := actiontest.Sealed(t, slow)
	// A limit of its own that is too short for the silence so far would be left alone.
	_, err := unix.Write(slow.Peer, []byte("still there"))
	must(t, "write", err)
	vanish(t, dead)
	vanish(t, slow)
	heard := segments(t, live)
	for _, s := range []actions.Sealed{deadSealed, slowSealed, liveSealed} {
		if out := applied(t, params, s); out.Result != actions.Repaired {
			t.Errorf("%+v", out)
		}
	}
	if code := deadReader.End(t); code != 1 || !strings.Contains(deadReader.Err.String(), "Connection timed out") {
		t.Errorf("cat: %d, %q", code, &deadReader.Err)
	}
	// It may end later than told, because kernel timers and busy machines are late; on
	// its own it would have ended after two hours. The time counts from the last sign of life.
	if took := time.Since(dead.StartedBefore); took < within-100*time.Millisecond {
		t.Errorf("it took %s, not %s", took, within)
	}
	if state, there := dead.Now(); there {
		t.Errorf("the connection is %s", state)
	}
	if code := slowReader.End(t); code != 1 || !strings.Contains(slowReader.Err.String(), "Connection timed out") {
		t.Errorf("cat: %d, %q", code, &slowReader.Err)
	}
	if took := time.Since(slow.StartedBefore); took < slowWithin-100*time.Millisecond {
		t.Errorf("it took %s, not %s", took, slowWithin)
	}

	socklab.WaitFor(t, "three probes", func() bool { return segments(t, live) >= heard+3 })
	if took := time.Since(live.StartedBefore); took < 4*time.Second-100*time.Millisecond {
		t.Errorf("three probes took %s: they are not probes", took)
	}
	if state, there := live.Now(); !there || state != collectors.Established {
		t.Errorf("the connection is %s (%t)", state, there)
	}
	_, err = unix.Write(live.Peer, []byte("still there"))
	must(t, "write", err)
	must(t, "shutdown", unix.Shutdown(live.Peer, unix.SHUT_WR))
	if code := liveReader.End(t); code != 0 || liveReader.Out.String() != "still there" {
		t.Errorf("cat: %d, %q, %q", code, &liveReader.Out, &liveReader.Err)
	}
}

// While data waits for an acknowledgement the kernel sends no probes; that is what
// user_timeout is for.
func TestUserTimeout(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	fd, err := unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, 3)
	must(t, "dup", err)
	r := actiontest.Read(t, c)
	// A limit that is too short for the silence so far would be left alone.
	_, err = unix.Write(c.Peer, []byte("still there"))
	must(t, "write", err)
	vanish(t, c)
	start := time.Now()
	_, err = unix.Write(fd, []byte("to nobody"))
	must(t, "write", err)
	must(t, "close", unix.Close(fd))
	applied(t, map[string]any{"idle": time.Second, "interval": time.Second, "count": 1.0, "user_timeout": 4 * time.Second}, actiontest.Sealed(t, c))
	if code := r.End(t); code != 1 || !strings.Contains(r.Err.String(), "Connection timed out") {
		t.Errorf("cat: %d, %q", code, &r.Err)
	}
	if took := time.Since(start); took < 2*time.Second {
		t.Errorf("it took %s", took)
	}
}
