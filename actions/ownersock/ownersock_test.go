package ownersock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
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

func cookieOf(fd int) uint64 {
	cookie, _ := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	return cookie
}

// found checks that With finds the socket and passes its own descriptor of it.
func found(t *testing.T, s *actions.Sealed) {
	t.Helper()
	calls := 0
	err := With(t.Context(), procfs.New(""), s, func(fd int) error {
		calls++
		if got := cookieOf(fd); got != s.Socket.Cookie {
			t.Errorf("socket %x, not %x", got, s.Socket.Cookie)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %x, %v: it is handed on to programs", flags, err)
		}
		return nil
	})
	if err != nil || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// fails checks that With fails with that error.
func fails(t *testing.T, s *actions.Sealed, want error) {
	t.Helper()
	err := With(t.Context(), procfs.New(""), s, func(fd int) error {
		t.Errorf("called with %d, socket %x", fd, cookieOf(fd))
		return nil
	})
	if !errors.Is(err, want) || want != collectors.ErrGone && errors.Is(err, collectors.ErrGone) { //nolint:errorlint // is it that one
		t.Errorf("%v, not %v", err, want)
	}
}

func TestEveryOwnedKind(t *testing.T) {
	socklab.Need(t)
	for _, k := range socklab.Kinds() {
		if k.Protocol() == collectors.TCP && k.Owned() {
			for _, f := range socklab.Families() {
				t.Run(k.String()+"/"+string(f), func(t *testing.T) {
					actiontest.LeakCheck(t)
					c := socklab.Make(t, k, f)
					if actiontest.Hidden(t, c) {
						return
					}
					s := actiontest.Sealed(t, c)
					found(t, &s)
					must(t, "same", With(t.Context(), procfs.New(""), &s, func(fd int) error { return Same(fd, &s.Socket) }))
				})
			}
		}
	}
}

func TestHolder(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.Held(t, socklab.HolderOptions{UID: 65534})
	s := &h.Target.Sockets[0]
	before := h.State(t)
	found(t, s)
	if after := h.State(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	h.Holder.CloseSockets(t)
	fails(t, s, collectors.ErrGone)
}

// The function's error is returned as it is, and the next owner is not tried.
func TestErrorOfFunction(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
	s := actiontest.Sealed(t, c)
	calls := 0
	err := With(t.Context(), procfs.New(""), &s, func(int) error { calls++; return unix.EXDEV })
	if calls != 1 || !errors.Is(err, unix.EXDEV) {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestNobody(t *testing.T) {
	s := actiontest.Sealed(t, socklab.Make(t, socklab.FinWait2Orphan, socklab.IPv4))
	fails(t, &s, ErrNoOwner)
}

// The process's current descriptor of the socket is used.
func TestNumbers(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	s := actiontest.Sealed(t, c)
	dup, err := unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, c.FD+50)
	must(t, "dup", err)
	found(t, &s)
	number := c.FD
	c.CloseFD()
	found(t, &s)
	// Another socket takes the number; without the duplicate, only that one is left.
	other := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	if other.FD != number {
		must(t, "dup3", unix.Dup3(other.FD, number, unix.O_CLOEXEC))
		defer unix.Close(number)
	}
	found(t, &s)
	must(t, "close", unix.Close(dup))
	fails(t, &s, collectors.ErrGone)
	if state, there := other.Now(); !there {
		t.Errorf("the other is %s", state)
	}
}

// The inode leads to the descriptor, but only the cookie proves the socket.
func TestAnotherCookie(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.Held(t, socklab.HolderOptions{})
	s := h.Target.Sockets[0]
	s.Socket.Cookie++
	fails(t, &s, collectors.ErrGone)
	s.Socket.Cookie = 0 // from /proc/net
	fails(t, &s, collectors.ErrGone)
}

func TestProcessGone(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.Held(t, socklab.HolderOptions{})
	h.Vanish(t)
	fails(t, &h.Target.Sockets[0], collectors.ErrGone)
}

func TestAnotherStartTime(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.Held(t, socklab.HolderOptions{})
	s := &h.Target.Sockets[0]
	s.Facts.Owners[0].StartTime--
	fails(t, s, collectors.ErrGone)
}

// The first of several owners that still has the socket is used. An owner that may not be
// examined may still have it, so the socket does not count as gone.
func TestSeveralOwners(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv6)
	first := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true, UID: 65534})
	second := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}})
	s := actiontest.Sealed(t, c)
	if len(s.Facts.Owners) != 2 || s.Facts.Owners[0].PID != first.PID {
		t.Fatalf("owners %+v", s.Facts.Owners)
	}
	found(t, &s)
	must(t, "kill", unix.Kill(second.PID, unix.SIGKILL))
	second.Wait(t)
	must(t, "without CAP_SYS_PTRACE", socklab.WithoutCapability(t, func() error {
		fails(t, &s, collectors.ErrNotPermitted)
		slices.Reverse(s.Facts.Owners)
		fails(t, &s, collectors.ErrNotPermitted)
		return nil
	}, unix.CAP_SYS_PTRACE))
	found(t, &s)
	slices.Reverse(s.Facts.Owners)
	first.CloseSockets(t)
	fails(t, &s, collectors.ErrGone)
}

// cat starts cat(1) as a user, with a socket; wait ends and reaps it.
func cat(t *testing.T, socket int, uid uint32) (pid int, wait func()) {
	t.Helper()
	path, err := exec.LookPath("cat")
	must(t, "cat", err)
	var in [2]int
	must(t, "pipe", unix.Pipe2(in[:], unix.O_CLOEXEC))
	pid, err = syscall.ForkExec(path, []string{"cat"}, &syscall.ProcAttr{
		Files: []uintptr{uintptr(in[0]), 1, 2, uintptr(socket)},
		Sys:   &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}},
	})
	must(t, "start cat", err)
	reaped := false
	wait = func() {
		if reaped {
			return
		}
		reaped = true
		_, _ = unix.Close(in[0]), unix.Close(in[1])
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}
	t.Cleanup(wait)
	return pid, wait
}

// heldBy makes a socket that cat(1) holds, as its only known owner.
func heldBy(t *testing.T, uid uint32) (c *socklab.Conn, s actions.Sealed, pid int, wait func()) {
	t.Helper()
	c = socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	pid, wait = cat(t, c.FD, uid)
	s = actiontest.Sealed(t, c)
	s.Facts.Owners = slices.DeleteFunc(s.Facts.Owners, func(o collectors.Owner) bool { return o.PID != pid })
	if len(s.Facts.Owners) != 1 {
		t.Fatalf("process %d does not hold it", pid)
	}
	return c, s, pid, wait
}

// Another process that holds the same socket gets the PID; the decision was not about it.
func TestReusedPID(t *testing.T) {
	c, s, pid, wait := heldBy(t, 0)
	found(t, &s)
	wait()
	socklab.WaitFor(t, "the PID to be used again", func() bool {
		// Threads of this process may take the PID first.
		must(t, "ns_last_pid", os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
		again, end := cat(t, c.FD, 0)
		o, err := procfs.New("").Describe(again)
		must(t, "describe", err)
		if again == pid && o.StartTime != s.Facts.Owners[0].StartTime {
			return true
		}
		end()
		return false
	})
	fails(t, &s, collectors.ErrGone)
	if err := Holds(procfs.New(""), &s.Facts.Owners[0], []actions.Sealed{s}); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("holds: %v", err)
	}
}

// A process that only waits for its parent no longer has anything.
func TestZombie(t *testing.T) {
	actiontest.LeakCheck(t)
	_, s, pid, _ := heldBy(t, 0)
	must(t, "kill", unix.Kill(pid, unix.SIGKILL))
	socklab.WaitFor(t, "the end of the process", func() bool {
		running, err := procfs.New("").Running(pid, s.Facts.Owners[0].StartTime)
		return err == nil && !running
	})
	fails(t, &s, collectors.ErrGone)
}

// With gets the socket from another network namespace without entering it.
func TestOtherNamespace(t *testing.T) {
	actiontest.LeakCheck(t)
	n := socklab.NewNamespace(t, "other")
	fd, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	must(t, "listen", unix.Listen(fd, 1))
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: fd}}})
	open := func() (*os.File, error) { return os.Open("/run/netns/other") }
	all := actiontest.SealAll(t, collectors.TCP, open)
	if len(all) != 1 {
		t.Fatalf("the namespace has %+v", all)
	}
	s := all[0]
	s.Open = func() (*os.File, error) {
		t.Error("the namespace is opened")
		return nil, unix.EPERM
	}
	must(t, "without CAP_SYS_ADMIN", socklab.WithoutCapability(t, func() error {
		found(t, &s)
		return nil
	}, unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN))
}

// Both capabilities are needed: one to list the process's descriptors, the other to take
// one.
func TestNotPermitted(t *testing.T) {
	actiontest.LeakCheck(t)
	_, s, _, _ := heldBy(t, 65534)
	for name, drop := range map[string][]int{
		"CAP_SYS_PTRACE": {unix.CAP_SYS_PTRACE}, "CAP_DAC_READ_SEARCH": {unix.CAP_DAC_READ_SEARCH, unix.CAP_DAC_OVERRIDE},
	} {
		must(t, "without "+name, socklab.WithoutCapability(t, func() error {
			fails(t, &s, collectors.ErrNotPermitted)
			if err := Holds(procfs.New(""), &s.Facts.Owners[0], []actions.Sealed{s}); !errors.Is(err, collectors.ErrNotPermitted) {
				t.Errorf("holds, without %s: %v", name, err)
			}
			return nil
		}, drop...))
	}
	must(t, "with no other", socklab.WithoutCapability(t, func() error {
		found(t, &s)
		return nil
	}, unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_DAC_OVERRIDE, unix.CAP_KILL))
}

// Our limit on descriptors says nothing about the process.
func TestOutOfDescriptors(t *testing.T) {
	h := actiontest.Held(t, socklab.HolderOptions{})
	var old unix.Rlimit
	must(t, "getrlimit", unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	must(t, "setrlimit", unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: old.Max}, nil))
	err := With(t.Context(), procfs.New(""), &h.Target.Sockets[0], func(int) error { return nil })
	must(t, "setrlimit", unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil))
	if !errors.Is(err, unix.EMFILE) || errors.Is(err, collectors.ErrGone) {
		t.Errorf("%v", err)
	}
}

func TestClassify(t *testing.T) {
	for errno, want := range map[error]error{
		unix.ESRCH: collectors.ErrGone, unix.EBADF: collectors.ErrGone, unix.ENOENT: collectors.ErrGone, unix.ENOTSOCK: collectors.ErrGone,
		unix.EPERM: collectors.ErrNotPermitted, unix.EACCES: collectors.ErrNotPermitted,
		unix.ENOSYS: collectors.ErrNotSupported,
		// These are about one socket, not the host.
		unix.EOPNOTSUPP: nil, unix.EMFILE: nil, unix.EINVAL: nil,
	} {
		err := Classify("do", fmt.Errorf("call: %w", errno))
		if !errors.Is(err, errno) {
			t.Errorf("%v: lost in %v", errno, err)
		}
		for _, sentinel := range []error{collectors.ErrGone, collectors.ErrNotPermitted, collectors.ErrNotSupported} {
			if errors.Is(err, sentinel) != (sentinel == want) { //nolint:errorlint // is it that one
				t.Errorf("%v: %v", errno, err)
			}
		}
	}
}

// listener returns the address of a socket that listens at the other end.
func listener(t *testing.T) (addr unix.Sockaddr) {
	t.Helper()
	fd, err := socklab.Peer(t).Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: socklab.IPv4.Remote().As4()}))
	must(t, "listen", unix.Listen(fd, 10))
	addr, err = unix.Getsockname(fd)
	must(t, "getsockname", err)
	return addr
}

// connect connects a socket and returns its record from then.
func connect(t *testing.T, fd int, to unix.Sockaddr) (s actions.Sealed) {
	t.Helper()
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatalf("connect: %v", err)
	}
	socklab.WaitFor(t, "ESTABLISHED", func() bool {
		state, err := State(fd)
		return err == nil && state == collectors.Established
	})
	all := actiontest.SealAll(t, collectors.TCP, nil)
	i := slices.IndexFunc(all, func(s actions.Sealed) bool { return s.Socket.Cookie == cookieOf(fd) })
	if i < 0 {
		t.Fatal("the connection is not seen")
	}
	return all[i]
}

func same(ctx context.Context, s *actions.Sealed) error {
	return With(ctx, procfs.New(""), s, func(fd int) error { return Same(fd, &s.Socket) })
}

func TestAnotherState(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	s := actiontest.Sealed(t, c)
	must(t, "same", same(t.Context(), &s))
	must(t, "shutdown", unix.Shutdown(c.FD, unix.SHUT_WR))
	if err := same(t.Context(), &s); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("another state: %v", err)
	}
}

// A socket can be reconnected: then it has the cookie, the state and one of the two ends
// that were decided on.
func TestConnectedAgain(t *testing.T) {
	one, other := listener(t), listener(t)
	for _, keeps := range []string{"local end", "remote end"} {
		fd, err := socklab.Home(t).Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		must(t, "socket", err)
		defer unix.Close(fd)
		if keeps == "local end" { // it stays bound to a port that it chose
			free := socklab.Make(t, socklab.Bound, socklab.IPv4)
			free.CloseFD()
			must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: free.Local.Addr().As4(), Port: int(free.Local.Port())}))
		}
		s := connect(t, fd, one)
		must(t, "same", same(t.Context(), &s))
		must(t, "disconnect", disconnect(fd))
		if err := same(t.Context(), &s); !errors.Is(err, collectors.ErrGone) {
			t.Errorf("disconnected: %v", err)
		}
		to := one
		if keeps == "local end" {
			to = other
		}
		again := connect(t, fd, to)
		local, remote := again.Socket.LocalPort == s.Socket.LocalPort, again.Socket.RemotePort == s.Socket.RemotePort
		if local == remote || local != (keeps == "local end") {
			t.Fatalf("it keeps its local end: %t, its remote end: %t", local, remote)
		}
		if err := same(t.Context(), &s); !errors.Is(err, collectors.ErrGone) {
			t.Errorf("connected again, with the same %s: %v", keeps, err)
		}
		must(t, "same", same(t.Context(), &again))
		found(t, &s)
	}
}

// Anything but one TCP connection is refused.
func TestOne(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	good := actiontest.Sealed(t, c)
	if s, err := One(actions.Target{Sockets: []actions.Sealed{good}}, "it"); err != nil || s.Socket != good.Socket {
		t.Errorf("%+v, %v", s, err)
	}
	with := func(change func(*collectors.Socket)) []actions.Sealed {
		s := good
		change(&s.Socket)
		return []actions.Sealed{s}
	}
	for name, sockets := range map[string][]actions.Sealed{
		"none":   nil,
		"two":    {good, good},
		"UDP":    with(func(s *collectors.Socket) { s.Protocol = collectors.UDP }),
		"LISTEN": with(func(s *collectors.Socket) { s.State = collectors.Listen }),
		"CLOSE":  with(func(s *collectors.Socket) { s.State = collectors.Close }),
	} {
		if s, err := One(actions.Target{Sockets: sockets}, "it"); err == nil || s != nil || errors.Is(err, collectors.ErrGone) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

// A process holds its target if it holds one of the sockets.
func TestHolds(t *testing.T) {
	actiontest.LeakCheck(t)
	h, other := actiontest.HeldOnProcess(t, socklab.HolderOptions{}), actiontest.HeldOnProcess(t, socklab.HolderOptions{})
	both := []actions.Sealed{{}, other.Target.Sockets[0], h.Target.Sockets[0]}
	must(t, "one of several", Holds(procfs.New(""), h.Target.Process, both))
	for name, sockets := range map[string][]actions.Sealed{
		"none": nil, "another's": other.Target.Sockets, "without an inode": {{}},
	} {
		if err := Holds(procfs.New(""), h.Target.Process, sockets); !errors.Is(err, collectors.ErrGone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.Holder.CloseSockets(t)
	if err := Holds(procfs.New(""), h.Target.Process, both); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("closed: %v", err)
	}
}

func disconnect(fd int) error {
	// Family 0 is AF_UNSPEC.
	addr := make([]byte, 16)
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&addr[0])), uintptr(len(addr))); errno != 0 {
		return errno
	}
	return nil
}

// A socket that its owner keeps locked is left alone in time.
func TestLockedSocket(t *testing.T) {
	if socklab.ApartToLock(t) {
		return
	}
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	sealed := actiontest.Sealed(t, c)
	rogue := socklab.Lock(t, c)
	o, err := procfs.New("").Describe(rogue.PID)
	must(t, "describe", err)
	sealed.Facts.Owners = []collectors.Owner{o}
	err = With(t.Context(), procfs.New(""), &sealed, func(fd int) error { return Same(fd, &sealed.Socket) })
	call := stuck.In(err)
	if call == nil || actions.OutcomeOf(err).Result != actions.Timeout {
		t.Fatalf("With: %v", err)
	}
	rogue.Kill(t)
	<-call.Done()
}
