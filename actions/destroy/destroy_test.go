package destroy

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/stuck"
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
		Good: []map[string]any{nil, {}, {"listen": true}, {"udp": true, "listen": false}},
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

// Every kind of socket is gone afterwards, or reported as not destroyed.
func TestEveryKind(t *testing.T) {
	socklab.Need(t)
	for _, k := range socklab.Kinds() {
		t.Run(k.String(), func(t *testing.T) {
			actiontest.LeakCheck(t)
			c := socklab.Make(t, k, socklab.Mapped)
			if actiontest.Hidden(t, c) {
				return
			}
			e := prepared(t, actiontest.Sealed(t, c))
			out := e.Apply(t.Context())
			if k == socklab.Bound { // the kernel does not look up bound sockets
				if out.Result != actions.Refused || out.Detail == "" {
					t.Errorf("Apply: %+v", out)
				}
				return
			}
			if out.Result != actions.Gone {
				t.Errorf("Apply: %+v", out)
			}
			want := actions.Gone
			if k.Owned() { // by this process, which does not react
				want = actions.FDStillHeld
			}
			if out := e.Verify(t.Context()); out.Result != want || (out.Detail != "") != (want == actions.FDStillHeld) {
				t.Errorf("Verify: %+v, not %s", out, want)
			}
			if state, there := c.Now(); there && k != socklab.SynRecv { // the client's next SYN makes it again
				t.Errorf("it is %s", state)
			}
			if out := e.Apply(t.Context()); out.Result != actions.Changed && k != socklab.SynRecv {
				t.Errorf("Apply again: %+v", out)
			}
		})
	}
}

// A process that keeps the descriptor is named until it closes it.
func TestDescriptorStillHeld(t *testing.T) {
	actiontest.LeakCheck(t)
	s := actiontest.Held(t, socklab.HolderOptions{Comm: "leaky"})
	e := prepared(t, s.Target.Sockets[0])
	if out := e.Apply(t.Context()); out.Result != actions.Gone {
		t.Errorf("Apply: %+v", out)
	}
	want := fmt.Sprintf("leaky[%d] still has the descriptor", s.Holder.PID)
	for range 2 {
		if out := e.Verify(t.Context()); out.Result != actions.FDStillHeld || out.Detail != want {
			t.Errorf("Verify: %+v", out)
		}
	}
	s.Holder.CloseSockets(t)
	if out := e.Verify(t.Context()); out.Result != actions.Gone || out.Detail != "" {
		t.Errorf("Verify after it was closed: %+v", out)
	}
	if !s.Holder.Running() {
		t.Error("the process has ended")
	}
}

// Two processes hold the descriptor: both must let go.
func TestDescriptorHeldByTheSecond(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv6)
	first := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
	second := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Comm: "second"})
	e := prepared(t, actiontest.Sealed(t, c))
	if out := e.Apply(t.Context()); out.Result != actions.Gone {
		t.Errorf("Apply: %+v", out)
	}
	first.CloseSockets(t)
	if out := e.Verify(t.Context()); out.Result != actions.FDStillHeld || out.Detail != fmt.Sprintf("second[%d] still has the descriptor", second.PID) {
		t.Errorf("Verify: %+v", out)
	}
	must(t, "kill", unix.Kill(second.PID, unix.SIGKILL))
	second.Wait(t)
	if out := e.Verify(t.Context()); out.Result != actions.Gone {
		t.Errorf("Verify: %+v", out)
	}
}

// The decision was about a socket in one state.
func TestStateChanged(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	s := actiontest.Sealed(t, c)
	must(t, "shutdown", unix.Shutdown(c.Peer, unix.SHUT_WR))
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
		state, _ := c.Now()
		return state == collectors.CloseWait
	})
	if e, err := prepare(t, s); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("%v, %v", e, err)
	}
	if state, there := c.Now(); !there {
		t.Errorf("it is %s", state)
	}
}

// A socket with the same addresses but another cookie is another socket.
func TestAnotherCookie(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	s := actiontest.Sealed(t, c)
	e := prepared(t, s)
	s.Socket.Cookie++
	if e, err := prepare(t, s); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("%v, %v", e, err)
	}
	e.(*effect).sealed.Socket.Cookie++
	if out := e.Apply(t.Context()); out.Result != actions.Changed {
		t.Errorf("Apply: %+v", out)
	}
	s.Socket.Cookie = 0 // from /proc/net
	if e, err := prepare(t, s); err == nil {
		if out := e.Apply(t.Context()); out.Result.Succeeded() || out.Result == actions.Changed {
			t.Errorf("Apply without a cookie: %+v", out)
		}
	}
	if state, there := c.Now(); !there || state != collectors.CloseWait {
		t.Errorf("it is %s (%t)", state, there)
	}
}

func TestOneSocketOnly(t *testing.T) {
	s := actiontest.Sealed(t, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
	if _, err := prepare(t, s, s); err == nil || errors.Is(err, collectors.ErrGone) {
		t.Errorf("two sockets: %v", err)
	}
}

// The kernel finds one member of an SO_REUSEPORT group, no matter which one is asked for.
// The others survive, and are reported neither as destroyed nor as gone.
func TestReuseportListeners(t *testing.T) {
	actiontest.LeakCheck(t)
	sealed, fds := reuseportGroup(t)
	refused := 0
	// The kernel picks by a hash of the addresses, and moves the last member to the place
	// of one that is gone, so it cannot pick them all in the order of their creation.
	for i, s := range sealed {
		out := prepared(t, s).Apply(t.Context())
		listens, err := unix.GetsockoptInt(fds[i], unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		must(t, "SO_ACCEPTCONN", err)
		switch out.Result {
		case actions.Refused:
			refused++
			if listens == 0 || out.Detail == "" {
				t.Errorf("refused, and it listens: %d, %+v", listens, out)
			}
		case actions.Gone:
			if listens != 0 {
				t.Errorf("gone, and it listens: %d", listens)
			}
		default:
			t.Errorf("Apply: %+v", out)
		}
	}
	if refused == 0 {
		t.Error("none was refused")
	}
}

// reuseportGroup makes listeners that share a port, in order.
func reuseportGroup(t *testing.T) (sealed []actions.Sealed, fds []int) {
	t.Helper()
	addr := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	for range 12 {
		fd, err := socklab.Home(t).Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		must(t, "socket", err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		must(t, "SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		must(t, "bind", unix.Bind(fd, addr))
		must(t, "listen", unix.Listen(fd, 1))
		sa, err := unix.Getsockname(fd)
		must(t, "getsockname", err)
		addr.Port = sa.(*unix.SockaddrInet4).Port
		fds = append(fds, fd)
	}
	all := actiontest.SealAll(t, collectors.TCP, nil)
	for _, fd := range fds {
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		must(t, "SO_COOKIE", err)
		i := slices.IndexFunc(all, func(s actions.Sealed) bool { return s.Socket.Cookie == cookie })
		if i < 0 {
			t.Fatalf("socket %x is not seen", cookie)
		}
		sealed = append(sealed, all[i])
	}
	return sealed, fds
}

// A listener and a connected UDP socket that chose their ports stay bound to them. What
// was decided on is gone all the same.
func TestStaysBound(t *testing.T) {
	actiontest.LeakCheck(t)
	auto := socklab.Make(t, socklab.Listen, socklab.IPv4)
	auto.CloseFD()
	l := socklab.NewListener(t, socklab.IPv4, auto.Local.Port())
	e := prepared(t, actiontest.Seal(t, collectors.TCP, l.Addr, auto.Remote, nil))
	if out := e.Apply(t.Context()); out.Result != actions.Gone {
		t.Errorf("Apply: %+v", out)
	}
	if out := e.Verify(t.Context()); out.Result != actions.FDStillHeld {
		t.Errorf("Verify: %+v", out)
	}
	if listens, err := unix.GetsockoptInt(l.FD, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens != 0 {
		t.Errorf("it listens: %d, %v", listens, err)
	}

	c := socklab.Make(t, socklab.UDPConnected, socklab.IPv4)
	fd, local := bindUDP(t)
	must(t, "connect", unix.Connect(fd, &unix.SockaddrInet4{Addr: c.Remote.Addr().As4(), Port: int(c.Remote.Port())}))
	e = prepared(t, actiontest.Seal(t, collectors.UDP, local, c.Remote, nil))
	if out := e.Apply(t.Context()); out.Result != actions.Gone {
		t.Errorf("Apply: %+v", out)
	}
	if out := e.Verify(t.Context()); out.Result != actions.FDStillHeld {
		t.Errorf("Verify: %+v", out)
	}
	if sa, err := unix.Getpeername(fd); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("it is connected to %+v, %v", sa, err)
	}
}

// A program that waits for connections wakes up for ever, and every accept fails: servers
// that do not expect this spin and fill their logs.
func TestListenerWakesForEver(t *testing.T) {
	actiontest.LeakCheck(t)
	auto := socklab.Make(t, socklab.Listen, socklab.IPv4)
	auto.CloseFD()
	l := socklab.NewListener(t, socklab.IPv4, auto.Local.Port())
	poll := []unix.PollFd{{Fd: int32(l.FD), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 0); n != 0 || err != nil {
		t.Fatalf("before: %d, %v", n, err)
	}
	if out := prepared(t, actiontest.Seal(t, collectors.TCP, l.Addr, auto.Remote, nil)).Apply(t.Context()); out.Result != actions.Gone {
		t.Fatalf("Apply: %+v", out)
	}
	for range 3 {
		if n, err := unix.Poll(poll, 0); n != 1 || err != nil {
			t.Errorf("poll: %d, %v, events %#x", n, err, poll[0].Revents)
		}
		if _, _, err := unix.Accept(l.FD); !errors.Is(err, unix.EINVAL) {
			t.Errorf("accept: %v", err)
		}
	}
}

// bindUDP binds explicitly to a free port.
func bindUDP(t *testing.T) (fd int, local netip.AddrPort) {
	t.Helper()
	auto := socklab.Make(t, socklab.UDPBound, socklab.IPv4)
	auto.CloseFD()
	fd, err := socklab.Home(t).Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: auto.Local.Addr().As4(), Port: int(auto.Local.Port())}))
	return fd, auto.Local
}

// Each look enters the namespace of the socket.
func TestOtherNamespace(t *testing.T) {
	actiontest.LeakCheck(t)
	n := socklab.NewNamespace(t, "other")
	fd, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	defer unix.Close(fd)
	must(t, "listen", unix.Listen(fd, 1))
	open := func() (*os.File, error) { return os.Open("/run/netns/other") }
	all := actiontest.SealAll(t, collectors.TCP, open)
	if len(all) != 1 {
		t.Fatalf("the namespace has %+v", all)
	}
	s := all[0]
	e := prepared(t, s)

	home := s
	home.Open = nil
	if e, err := prepare(t, home); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("in our namespace: %v, %v", e, err)
	}
	for what, c := range map[string]struct{ err, want error }{
		"namespace gone":      {fs.ErrNotExist, collectors.ErrGone},
		"not permitted":       {unix.EACCES, collectors.ErrNotPermitted},
		"out of descriptors":  {unix.EMFILE, unix.EMFILE},
		"anything else fails": {unix.EIO, unix.EIO},
	} {
		broken := s
		broken.Open = func() (*os.File, error) { return nil, fmt.Errorf("open: %w", c.err) }
		if e, err := prepare(t, broken); e != nil || !errors.Is(err, c.want) || errors.Is(err, collectors.ErrGone) != errors.Is(c.want, collectors.ErrGone) {
			t.Errorf("%s: %v, %v", what, e, err)
		}
	}

	if out := e.Apply(t.Context()); out.Result != actions.Gone {
		t.Errorf("Apply: %+v", out)
	}
	if out := e.Verify(t.Context()); out.Result != actions.FDStillHeld {
		t.Errorf("Verify: %+v", out)
	}
	if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens != 0 {
		t.Errorf("it listens: %d, %v", listens, err)
	}
}

// Without CAP_NET_ADMIN the result is "not permitted", which is not the target's fault.
func TestNotPermitted(t *testing.T) {
	actiontest.LeakCheck(t)
	s := actiontest.Held(t, socklab.HolderOptions{})
	before := s.State(t)
	e := prepared(t, s.Target.Sockets[0])
	var out, verified actions.Outcome
	must(t, "without CAP_NET_ADMIN", socklab.WithoutCapability(t, func() error {
		out, verified = e.Apply(stuck.OnThisThread(t.Context())), e.Verify(t.Context())
		return nil
	}, unix.CAP_NET_ADMIN))
	if out.Result != actions.NotPermitted || !out.Result.EndsAll() || !errors.Is(out.Err, collectors.ErrNotPermitted) {
		t.Errorf("Apply: %+v", out)
	}
	if verified.Result != actions.Refused {
		t.Errorf("Verify: %+v", verified)
	}
	if after := s.State(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

const envOther = "DESTROY_TEST_IN_USER_NAMESPACE"

// Root of another user namespace may look but not destroy.
func TestUserNamespace(t *testing.T) {
	if addr, is := os.LookupEnv(envOther); is {
		inUserNamespace(t, addr)
		return
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	exe, err := os.Executable()
	must(t, "own executable", err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestUserNamespace$")
	cmd.Env = append(os.Environ(), envOther+"="+c.Local.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if state, there := c.Now(); !there || state != collectors.CloseWait {
		t.Errorf("it is %s (%t)", state, there)
	}
}

func inUserNamespace(t *testing.T, addr string) {
	for _, s := range actiontest.SealAll(t, collectors.TCP, nil) {
		k := &s.Socket
		if fmt.Sprintf("%s:%d", k.Local.Netip(), k.LocalPort) != addr {
			continue
		}
		if out := prepared(t, s).Apply(t.Context()); out.Result != actions.NotPermitted {
			t.Errorf("Apply: %+v", out)
		}
		return
	}
	t.Error("the socket is not seen")
}
