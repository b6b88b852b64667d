package shutdown

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/actions/ownersock"
	"sockwarden/collectors"
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
	actiontest.Run(t, Plugin(), actiontest.Cases{
		Good: []map[string]any{{"how": "both"}, nil, {"how": "read"}, {"how": "write"}},
		Bad: []actiontest.Bad{
			{Params: map[string]any{"how": ""}, Word: "read, write or both"},
			{Params: map[string]any{"how": "all"}, Word: `not "all"`},
			{Params: map[string]any{"how": "READ"}, Word: "read, write or both"},
		},
		Make: func(t testing.TB) *actiontest.Subject {
			return &actiontest.Held(t, socklab.HolderOptions{}).Subject
		},
	})
}

func prepare(t testing.TB, how string, s ...actions.Sealed) (actions.Effect, error) {
	t.Helper()
	params := map[string]any{"how": how}
	if how == "" {
		params = nil
	}
	a, err := Plugin().New(params)
	must(t, "New", err)
	return a.Prepare(t.Context(), actions.Target{Rule: "test", Sockets: s})
}

func prepared(t testing.TB, how string, s actions.Sealed) actions.Effect {
	t.Helper()
	e, err := prepare(t, how, s)
	must(t, "Prepare", err)
	return e
}

// applied shuts the socket down and expects success.
func applied(t testing.TB, how string, s actions.Sealed) {
	t.Helper()
	e := prepared(t, how, s)
	if out := e.Apply(t.Context()); out != (actions.Outcome{Result: actions.Done}) {
		t.Fatalf("Apply: %+v", out)
	}
	if out := e.Verify(t.Context()); out != (actions.Outcome{Result: actions.Done}) {
		t.Errorf("Verify: %+v", out)
	}
}

// receive reads what arrives next at a socket of this process.
func receive(t *testing.T, fd int) (data string, err error) {
	t.Helper()
	buf := make([]byte, 100)
	socklab.WaitFor(t, "data", func() bool {
		var n int
		n, err = unix.Read(fd, buf)
		data = string(buf[:max(n, 0)])
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return data, err
}

func resets(t *testing.T) (sent string) {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/snmp")
	must(t, "counters", err)
	var names, values []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "Tcp:") {
			names, values = values, strings.Fields(line)
		}
	}
	for i, name := range names {
		if name == "OutRsts" {
			return values[i]
		}
	}
	t.Fatalf("no OutRsts:\n%s", b)
	return ""
}

// A program that waits for data gets the end of the stream, and can still send.
func TestReadWakes(t *testing.T) {
	actiontest.LeakCheck(t)
	for _, f := range socklab.Families() {
		t.Run(string(f), func(t *testing.T) {
			c := socklab.Make(t, socklab.Established, f)
			r := actiontest.Read(t, c)
			before := resets(t)
			applied(t, "read", actiontest.Sealed(t, c))
			if code := r.End(t); code != 0 || r.Out.Len()+r.Err.Len() > 0 {
				t.Errorf("cat: %d, %q, %q", code, &r.Out, &r.Err)
			}
			if data, err := receive(t, c.Peer); data != "" || err != nil { // cat's close
				t.Errorf("the peer gets %q, %v", data, err)
			}
			if after := resets(t); after != before {
				t.Errorf("RSTs: %s, then %s", before, after)
			}
		})
	}
}

// A shutdown for reading sends the peer nothing; one for writing sends a FIN after the
// data sent before.
func TestPeer(t *testing.T) {
	actiontest.LeakCheck(t)
	for how, want := range map[string]collectors.State{
		"read": collectors.Established, "write": collectors.FinWait2, "both": collectors.FinWait2, "": collectors.FinWait2,
	} {
		t.Run(how, func(t *testing.T) {
			c := socklab.Make(t, socklab.Established, socklab.Mapped)
			_, err := unix.Write(c.FD, []byte("sent before"))
			must(t, "write", err)
			before := resets(t)
			applied(t, how, actiontest.Sealed(t, c))
			if data, err := receive(t, c.Peer); data != "sent before" || err != nil {
				t.Errorf("the peer gets %q, %v", data, err)
			}
			socklab.WaitFor(t, want.String(), func() bool {
				state, there := c.Now()
				return there && state == want
			})
			_, err = unix.Write(c.FD, []byte("more"))
			if sends := err == nil; sends != (how == "read") {
				t.Errorf("the program writes: %v", err)
			}
			wantData := ""
			if how == "read" {
				wantData = "more"
			}
			if data, err := receive(t, c.Peer); data != wantData || err != nil {
				t.Errorf("the peer gets %q, %v", data, err)
			}
			if how != "write" {
				if data, err := receive(t, c.FD); data != "" || err != nil {
					t.Errorf("the program gets %q, %v", data, err)
				}
			}
			if after := resets(t); after != before {
				t.Errorf("RSTs: %s, then %s", before, after)
			}
		})
	}
}

// After "write" the program still gets what the peer sends; after "both" a RST answers
// it, as the documentation says.
func TestPeerSendsOn(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	applied(t, "write", actiontest.Sealed(t, c))
	_, err := unix.Write(c.Peer, []byte("still heard"))
	must(t, "write", err)
	if data, err := receive(t, c.FD); data != "still heard" || err != nil {
		t.Errorf("the program gets %q, %v", data, err)
	}

	c = socklab.Make(t, socklab.Established, socklab.IPv4)
	applied(t, "both", actiontest.Sealed(t, c))
	if data, err := receive(t, c.Peer); data != "" || err != nil {
		t.Errorf("the peer gets %q, %v", data, err)
	}
	before := resets(t)
	socklab.WaitFor(t, "RST", func() bool {
		_, err := unix.Write(c.Peer, []byte("not heard"))
		return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
	})
	if after := resets(t); after == before {
		t.Error("there was no RST")
	}
}

// A CLOSE_WAIT that nobody closes ends as if it were closed.
func TestCloseWaitEnds(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.Held(t, socklab.HolderOptions{})
	before := resets(t)
	applied(t, "both", h.Target.Sockets[0])
	socklab.WaitFor(t, "the end of the connection", func() bool {
		_, there := h.Conn.Now()
		return !there
	})
	if data, err := receive(t, h.Conn.Peer); data != "" || err != nil {
		t.Errorf("the peer gets %q, %v", data, err)
	}
	if after := resets(t); after != before {
		t.Errorf("RSTs: %s, then %s", before, after)
	}
	if !h.Holder.Running() {
		t.Error("the process has ended")
	}
}

// The attempt to connect is given up.
func TestSynSent(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.SynSent, socklab.IPv4)
	applied(t, "both", actiontest.Sealed(t, c))
	if state, there := c.Now(); there {
		t.Errorf("it is %s", state)
	}
}

// The decision was about a connection in one state.
func TestStateChanged(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	s := actiontest.Sealed(t, c)
	e := prepared(t, "both", s)
	must(t, "shutdown", unix.Shutdown(c.Peer, unix.SHUT_WR))
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
		state, _ := c.Now()
		return state == collectors.CloseWait
	})
	if out := e.Apply(t.Context()); out.Result != actions.Changed || out.Err != nil {
		t.Errorf("Apply: %+v", out)
	}
	if e, err := prepare(t, "both", s); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare: %v, %v", e, err)
	}
	if state, there := c.Now(); !there || state != collectors.CloseWait {
		t.Errorf("it is %s (%t)", state, there)
	}
}

// Shutting down a listener would end the service; that is refused, as is anything but a
// connection, even if a rule asks for it.
func TestNoConnection(t *testing.T) {
	actiontest.LeakCheck(t)
	for _, k := range []socklab.Kind{socklab.Listen, socklab.Bound, socklab.UDPBound, socklab.UDPConnected} {
		c := socklab.Make(t, k, socklab.IPv4)
		if actiontest.Hidden(t, c) {
			continue
		}
		e, err := prepare(t, "both", actiontest.Sealed(t, c))
		if e != nil || err == nil || errors.Is(err, collectors.ErrGone) {
			t.Errorf("%s: %v, %v", k, e, err)
		}
		if listens, err := unix.GetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || (listens == 1) != (k == socklab.Listen) {
			t.Errorf("%s listens: %d, %v", k, listens, err)
		}
	}
	orphan := actiontest.Sealed(t, socklab.Make(t, socklab.FinWait2Orphan, socklab.IPv4))
	if e, err := prepare(t, "both", orphan); e != nil || !errors.Is(err, ownersock.ErrNoOwner) {
		t.Errorf("an orphan: %v, %v", e, err)
	}
}

// Without the capability the result is "not permitted", which is not the target's fault.
func TestNotPermitted(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.Held(t, socklab.HolderOptions{UID: 65534})
	before := h.State(t)
	e := prepared(t, "both", h.Target.Sockets[0])
	var out actions.Outcome
	must(t, "without CAP_SYS_PTRACE", socklab.WithoutCapability(t, func() error {
		out = e.Apply(t.Context())
		return nil
	}, unix.CAP_SYS_PTRACE))
	if out.Result != actions.NotPermitted || !errors.Is(out.Err, collectors.ErrNotPermitted) {
		t.Errorf("Apply: %+v", out)
	}
	if after := h.State(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestString(t *testing.T) {
	s := actiontest.Sealed(t, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
	for how, want := range map[string]string{"": "shutdown both", "both": "shutdown both", "read": "shutdown read", "write": "shutdown write"} {
		if got := prepared(t, how, s).String(); got != want {
			t.Errorf("%q: %q, not %q", how, got, want)
		}
	}
}
