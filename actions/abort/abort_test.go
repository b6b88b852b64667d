package abort

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
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
		Good: []map[string]any{nil},
		Make: func(t testing.TB) *actiontest.Subject {
			return &actiontest.Held(t, socklab.HolderOptions{}).Subject
		},
	})
}

func prepare(t testing.TB, s ...actions.Sealed) (actions.Effect, error) {
	t.Helper()
	a, err := Plugin().New(nil)
	must(t, "New", err)
	return a.Prepare(t.Context(), actions.Target{Rule: "test", Sockets: s})
}

func prepared(t testing.TB, s actions.Sealed) actions.Effect {
	t.Helper()
	e, err := prepare(t, s)
	must(t, "Prepare", err)
	return e
}

func expect(t testing.TB, what string, out actions.Outcome, want actions.Result) {
	t.Helper()
	if out.Result != want || (out.Err != nil) != (want == actions.Failed || want == actions.NotPermitted) {
		t.Errorf("%s: %+v, not %s", what, out, want)
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

// resets returns how many RSTs our namespace has sent.
func resets(t *testing.T) (sent int) {
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
			sent, err := strconv.Atoi(values[i])
			must(t, name, err)
			return sent
		}
	}
	t.Fatalf("no OutRsts:\n%s", b)
	return 0
}

// shown reports whether sock_diag shows the socket.
func shown(t *testing.T, cookie uint64) bool {
	t.Helper()
	return slices.ContainsFunc(actiontest.SealAll(t, collectors.TCP, nil), func(s actions.Sealed) bool { return s.Socket.Cookie == cookie })
}

// Every connection that a process has is gone afterwards, and the peer gets a RST where
// TCP sends one (tcp_need_reset in net/ipv4/tcp.c).
func TestEveryKind(t *testing.T) {
	socklab.Need(t)
	reset := collectors.Mask(collectors.Established, collectors.CloseWait, collectors.FinWait1, collectors.FinWait2)
	for _, k := range socklab.Kinds() {
		if k.Protocol() != collectors.TCP || !k.Owned() || k == socklab.Listen || k == socklab.Bound {
			continue
		}
		for _, f := range socklab.Families() {
			t.Run(k.String()+"/"+string(f), func(t *testing.T) {
				actiontest.LeakCheck(t)
				c := socklab.Make(t, k, f)
				s := actiontest.Sealed(t, c)
				e := prepared(t, s)
				expect(t, "Verify before Apply", e.Verify(t.Context()), actions.Refused)
				before := resets(t)
				expect(t, "Apply", e.Apply(t.Context()), actions.Gone)
				sent := resets(t) - before
				expect(t, "Verify", e.Verify(t.Context()), actions.FDStillHeld)
				// In CLOSING the peer sends its FIN again, and gets a RST if it finds no
				// socket.
				if want := reset.Has(k.State()); (sent == 1) != want && k != socklab.Closing {
					t.Errorf("%d RSTs", sent)
				}
				if shown(t, s.Socket.Cookie) {
					state, _ := c.Now()
					t.Errorf("it is %s", state)
				}
				if k == socklab.Established || k == socklab.CloseWait {
					if data, err := receive(t, c.Peer); data != "" || !errors.Is(err, unix.ECONNRESET) {
						t.Errorf("the peer gets %q, %v", data, err)
					}
				}
				expect(t, "Apply again", e.Apply(t.Context()), actions.Changed)
				c.CloseFD()
				expect(t, "Verify after it was closed", e.Verify(t.Context()), actions.Gone)
			})
		}
	}
}

// A process that keeps the descriptor is named until it closes it.
func TestDescriptorStillHeld(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.Held(t, socklab.HolderOptions{Comm: "leaky"})
	e := prepared(t, h.Target.Sockets[0])
	expect(t, "Apply", e.Apply(t.Context()), actions.Gone)
	for range 2 {
		out := e.Verify(t.Context())
		if want := fmt.Sprintf("leaky[%d] still has the descriptor", h.Holder.PID); out.Result != actions.FDStillHeld || out.Detail != want {
			t.Errorf("Verify: %+v", out)
		}
	}
	h.Holder.CloseSockets(t)
	out := e.Verify(t.Context())
	if expect(t, "Verify after it was closed", out, actions.Gone); out.Detail != "" {
		t.Errorf("%+v", out)
	}
	if !h.Holder.Running() {
		t.Error("the process has ended")
	}
}

// Two processes hold the descriptor: both must let go, and the one that does not is
// named.
func TestDescriptorHeldByTheSecond(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv6)
	first := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
	second := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Comm: "second"})
	e := prepared(t, actiontest.Sealed(t, c))
	first.CloseSockets(t)
	expect(t, "Apply", e.Apply(t.Context()), actions.Gone)
	if out := e.Verify(t.Context()); out.Result != actions.FDStillHeld || out.Detail != fmt.Sprintf("second[%d] still has the descriptor", second.PID) {
		t.Errorf("Verify: %+v", out)
	}
	second.CloseSockets(t)
	expect(t, "Verify", e.Verify(t.Context()), actions.Gone)
}

// A program that waits for data wakes up.
func TestWakes(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	r := actiontest.Read(t, c)
	e := prepared(t, actiontest.Sealed(t, c))
	expect(t, "Apply", e.Apply(t.Context()), actions.Gone)
	if code := r.End(t); code != 1 || r.Out.Len() > 0 || r.Err.Len() == 0 {
		t.Errorf("cat: %d, %q, %q", code, &r.Out, &r.Err)
	}
	expect(t, "Verify", e.Verify(t.Context()), actions.Gone)
}

// What the program does with the socket afterwards is not mistaken for the connection
// that was decided on, and is not aborted.
func TestConnectedAgain(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	s := actiontest.Sealed(t, c)
	e := prepared(t, s)
	expect(t, "Apply", e.Apply(t.Context()), actions.Gone)

	l, err := socklab.Peer(t).Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	defer unix.Close(l)
	must(t, "bind", unix.Bind(l, &unix.SockaddrInet4{Addr: c.Remote.Addr().As4()}))
	must(t, "listen", unix.Listen(l, 1))
	addr, err := unix.Getsockname(l)
	must(t, "getsockname", err)
	if err := unix.Connect(c.FD, addr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatalf("connect: %v", err)
	}
	established := func() bool {
		state, _ := c.Now()
		return state == collectors.Established
	}
	socklab.WaitFor(t, "the new connection", established)
	if !shown(t, s.Socket.Cookie) {
		t.Error("it has another cookie now")
	}
	expect(t, "Verify", e.Verify(t.Context()), actions.FDStillHeld)
	expect(t, "Apply again", e.Apply(t.Context()), actions.Changed)
	if e, err := prepare(t, s); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare: %v, %v", e, err)
	}
	if !established() {
		t.Error("the new connection is gone")
	}
}

// The decision was about a connection in one state.
func TestStateChanged(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	s := actiontest.Sealed(t, c)
	e := prepared(t, s)
	must(t, "shutdown", unix.Shutdown(c.Peer, unix.SHUT_WR))
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
		state, _ := c.Now()
		return state == collectors.CloseWait
	})
	expect(t, "Apply", e.Apply(t.Context()), actions.Changed)
	if e, err := prepare(t, s); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare: %v, %v", e, err)
	}
	if state, there := c.Now(); !there || state != collectors.CloseWait {
		t.Errorf("it is %s (%t)", state, there)
	}
}

// Listeners, UDP and anything else that is not a connection are refused and live on.
func TestNoConnection(t *testing.T) {
	actiontest.LeakCheck(t)
	for _, k := range []socklab.Kind{socklab.Listen, socklab.Bound, socklab.UDPBound, socklab.UDPConnected} {
		c := socklab.Make(t, k, socklab.IPv4)
		if actiontest.Hidden(t, c) {
			continue
		}
		e, err := prepare(t, actiontest.Sealed(t, c))
		if e != nil || err == nil || errors.Is(err, collectors.ErrGone) {
			t.Errorf("%s: %v, %v", k, e, err)
		}
		if listens, err := unix.GetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || (listens == 1) != (k == socklab.Listen) {
			t.Errorf("%s listens: %d, %v", k, listens, err)
		}
	}
	s := actiontest.Sealed(t, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
	if e, err := prepare(t, s, s); e != nil || err == nil || errors.Is(err, collectors.ErrGone) {
		t.Errorf("two sockets: %v, %v", e, err)
	}
	orphan := actiontest.Sealed(t, socklab.Make(t, socklab.FinWait2Orphan, socklab.IPv4))
	if e, err := prepare(t, orphan); e != nil || !errors.Is(err, ownersock.ErrNoOwner) {
		t.Errorf("an orphan: %v, %v", e, err)
	}
}

// pair makes a connection within a namespace and returns both ends.
func pair(t *testing.T, n *socklab.Namespace) (client, server int) {
	t.Helper()
	l, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	defer unix.Close(l)
	must(t, "bind", unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, "listen", unix.Listen(l, 1))
	addr, err := unix.Getsockname(l)
	must(t, "getsockname", err)
	client, err = n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(client) })
	if err := unix.Connect(client, addr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatalf("connect: %v", err)
	}
	socklab.WaitFor(t, "the connection", func() bool {
		server, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return err == nil
	})
	t.Cleanup(func() { _ = unix.Close(server) })
	return client, server
}

// No namespace is entered, and no network capability is needed.
func TestOtherNamespace(t *testing.T) {
	actiontest.LeakCheck(t)
	client, server := pair(t, socklab.NewNamespace(t, "other"))
	dup, err := unix.FcntlInt(uintptr(server), unix.F_DUPFD_CLOEXEC, 3)
	must(t, "dup", err)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: dup}}, UID: 65534})
	cookie, err := unix.GetsockoptUint64(server, unix.SOL_SOCKET, unix.SO_COOKIE)
	must(t, "cookie", err)
	open := func() (*os.File, error) { return os.Open("/run/netns/other") }
	all := actiontest.SealAll(t, collectors.TCP, open)
	all = slices.DeleteFunc(all, func(s actions.Sealed) bool { return s.Socket.Cookie != cookie })
	if len(all) != 1 {
		t.Fatalf("the namespace has %+v", all)
	}
	s := all[0]
	s.Facts.Owners = slices.DeleteFunc(s.Facts.Owners, func(o collectors.Owner) bool { return o.PID != h.PID })
	s.Open = func() (*os.File, error) {
		t.Error("the namespace is opened")
		return nil, unix.EPERM
	}
	must(t, "without capabilities", socklab.WithoutCapability(t, func() error {
		e, err := prepare(t, s)
		if err != nil {
			return err
		}
		expect(t, "Apply", e.Apply(t.Context()), actions.Gone)
		expect(t, "Verify", e.Verify(t.Context()), actions.FDStillHeld)
		return nil
	}, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_NET_RAW, unix.CAP_KILL))
	if data, err := receive(t, client); data != "" || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the peer gets %q, %v", data, err)
	}
}

// Without the capability the result is "not permitted", which is not the target's fault.
func TestNotPermitted(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.Held(t, socklab.HolderOptions{UID: 65534})
	before := h.State(t)
	e := prepared(t, h.Target.Sockets[0])
	must(t, "without CAP_SYS_PTRACE", socklab.WithoutCapability(t, func() error {
		for what, out := range map[string]actions.Outcome{"Apply": e.Apply(t.Context()), "Verify": e.Verify(t.Context())} {
			if expect(t, what, out, actions.NotPermitted); !errors.Is(out.Err, collectors.ErrNotPermitted) {
				t.Errorf("%s: %+v", what, out)
			}
		}
		return nil
	}, unix.CAP_SYS_PTRACE))
	if after := h.State(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
