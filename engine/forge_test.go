package engine

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/tunpeer"
)

// What no kernel does by itself, a peer in user space does: each of these made an
// age exceed the truth once.

// sock is a TCP socket of the tests.
type sock struct {
	fd    int
	v6    bool
	local netip.AddrPort
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// bound is a new socket with a port of its own on an address.
func bound(t testing.TB, at netip.Addr) *sock {
	t.Helper()
	s := &sock{v6: at.Is6()}
	domain := unix.AF_INET
	if s.v6 {
		domain = unix.AF_INET6
	}
	var err error
	s.fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, "socket", err)
	t.Cleanup(s.reset)
	must(t, "bind", unix.Bind(s.fd, sockaddr(netip.AddrPortFrom(at, 0))))
	s.local = addrPort(name(t, s.fd))
	return s
}

// keepsPort is a new socket like bound whose port stays when it is disconnected:
// one that was asked for by its number.
func keepsPort(t testing.TB, at netip.Addr) *sock {
	t.Helper()
	first := bound(t, at)
	first.reset()
	s := &sock{v6: at.Is6(), local: first.local}
	domain := unix.AF_INET
	if s.v6 {
		domain = unix.AF_INET6
	}
	var err error
	s.fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, "socket", err)
	t.Cleanup(s.reset)
	must(t, "bind", unix.Bind(s.fd, sockaddr(s.local)))
	return s
}

// reset closes the socket and leaves nothing behind.
func (s *sock) reset() {
	if s.fd >= 0 {
		_ = unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		_ = unix.Close(s.fd)
		s.fd = -1
	}
}

func (s *sock) connect(t testing.TB, to netip.AddrPort) {
	t.Helper()
	if err := unix.Connect(s.fd, sockaddr(to)); err != unix.EINPROGRESS && err != nil {
		t.Fatalf("connect: %v", err)
	}
}

// disconnect is connect(AF_UNSPEC): the descriptor can be connected again.
func (s *sock) disconnect(t testing.TB) {
	t.Helper()
	_, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&[16]byte{})), 16)
	if e != 0 {
		t.Fatalf("connect(AF_UNSPEC): %v", e)
	}
}

func (s *sock) state(t testing.TB) collectors.State {
	t.Helper()
	return collectors.State(tcpInfo(t, s.fd).State)
}

// until waits for the socket to be in a state, and returns when it was last seen
// in another one: its age is at most the time since then.
func (s *sock) until(t testing.TB, want collectors.State) (before time.Time) {
	t.Helper()
	before = time.Now()
	socklab.WaitFor(t, want.String(), func() bool {
		now := time.Now()
		if s.state(t) == want {
			return true
		}
		before = now
		return false
	})
	return before
}

// record is what the kernel shows of the socket of that local end.
func recordOf(t testing.TB, local netip.AddrPort) (collectors.Socket, time.Time) {
	t.Helper()
	for _, rec := range sockets(t) {
		if l, _ := ends(&rec); l == local && rec.State != collectors.Listen && rec.Protocol == collectors.TCP {
			return rec, time.Now()
		}
	}
	t.Fatalf("%s is not there", local)
	return collectors.Socket{}, time.Time{}
}

// notOlder checks everything that one record says about time against when the
// connection began, and its state.
func notOlder(t *testing.T, local netip.AddrPort, began, state time.Time) (collectors.Socket, collectors.Age) {
	t.Helper()
	rec, now := recordOf(t, local)
	age := evidence(&rec)
	if age.Min > now.Sub(state).Seconds() {
		t.Errorf("%s: age %.3fs (%+v), it is at most %.3fs old: %+v", rec.State, age.Min, age, now.Sub(state).Seconds(), rec)
	}
	truth := now.Sub(began).Seconds() + jiffy
	record := collectors.NewRecord(&rec, nil, nil, nil, "")
	for _, name := range []string{"idle", "idle_recv", "idle_send", "ack_idle"} {
		field, _ := collectors.FieldByName(name)
		if !record.Known.Has(field) {
			continue
		}
		if got := field.Doc().Num(&record); got > truth {
			t.Errorf("%s: %s %.3fs, the connection is at most %.3fs old: %+v", rec.State, name, got, truth, rec)
		}
	}
	return rec, age
}

func families(t *testing.T, f func(t *testing.T, v6 bool)) {
	t.Run("v4", func(t *testing.T) { f(t, false) })
	t.Run("v6", func(t *testing.T) { f(t, true) })
}

// passes waits until that much time has gone by since then.
func passes(t testing.TB, since time.Time, d time.Duration) {
	t.Helper()
	socklab.WaitFor(t, d.String()+" to pass", func() bool { return time.Since(since) > d })
}

// simultaneous opens a connection from both ends at the same time, up to where
// the kernel's socket waits for the last ACK.
func simultaneous(t testing.TB, d *tunpeer.Device, v6 bool) (*sock, *tunpeer.Conn, time.Time) {
	t.Helper()
	s, c := bound(t, tunpeer.Local(v6)), d.Await(v6)
	c.Quiet(true)
	began := time.Now()
	s.connect(t, c.Peer)
	c.Wait(t, "the SYN", func(s *tunpeer.Segment) bool { return s.Flags&tunpeer.SYN != 0 })
	c.Send(tunpeer.SYN, nil, 0)
	c.Wait(t, "the SYN with an ACK", func(s *tunpeer.Segment) bool { return s.Flags&(tunpeer.SYN|tunpeer.ACK) == tunpeer.SYN|tunpeer.ACK })
	return s, c, began
}

// The stamp of received data is zero: it counts from when jiffies did.
func TestAgeSimultaneousOpen(t *testing.T) {
	d := tunpeer.Open(t)
	families(t, func(t *testing.T, v6 bool) {
		s, c, began := simultaneous(t, d, v6)
		if got := s.state(t); got != collectors.SynRecv {
			t.Fatalf("state %s", got)
		}
		notOlder(t, s.local, began, began)
		c.Send(tunpeer.ACK, nil, 0)
		state := s.until(t, collectors.Established)
		notOlder(t, s.local, began, state)
		_, err := unix.Write(s.fd, []byte("sent"))
		must(t, "write", err)
		notOlder(t, s.local, began, state)
		c.Wait(t, "the data", func(s *tunpeer.Segment) bool { return len(s.Data) > 0 })
		c.Send(tunpeer.ACK|tunpeer.FIN, nil, 0)
		state = s.until(t, collectors.CloseWait)
		notOlder(t, s.local, began, state)
	})
}

// The same, with nobody else.
func TestAgeConnectedToItself(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		at := netip.MustParseAddr("127.0.0.1")
		if v6 {
			at = netip.IPv6Loopback()
		}
		s := bound(t, at)
		began := time.Now()
		s.connect(t, s.local)
		state := s.until(t, collectors.Established)
		notOlder(t, s.local, began, state)
		// What it sends itself is data received: the stamps are good.
		_, err := unix.Write(s.fd, []byte("to myself"))
		must(t, "write", err)
		socklab.WaitFor(t, "the data", func() bool { rec, _ := recordOf(t, s.local); return rec.RecvQueue > 0 })
		passes(t, began, 300*time.Millisecond)
		if rec, age := notOlder(t, s.local, began, state); age.Min < 0.1 {
			t.Errorf("only %+v of 0.3s: %+v", age, rec)
		}
	})
}

// A socket that is closed before its handshake is over has no stamp at all.
func TestAgeClosedBeforeHandshake(t *testing.T) {
	d := tunpeer.Open(t)
	families(t, func(t *testing.T, v6 bool) {
		s, c, began := simultaneous(t, d, v6)
		state := time.Now()
		must(t, "close", unix.Close(s.fd))
		s.fd = -1
		t.Cleanup(func() { c.Send(tunpeer.RST|tunpeer.ACK, nil, 0) })
		inState := func(want collectors.State) {
			t.Helper()
			socklab.WaitFor(t, want.String(), func() bool { rec, _ := recordOf(t, s.local); return rec.State == want })
		}
		inState(collectors.FinWait1)
		rec, _ := notOlder(t, s.local, began, state)
		for _, f := range []collectors.Field{collectors.FieldIdle, collectors.FieldAckIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend} {
			if rec.Known.Has(f) {
				t.Errorf("%s is known: %+v", f, rec)
			}
		}
		c.Wait(t, "the FIN", func(s *tunpeer.Segment) bool { return s.Flags&tunpeer.FIN != 0 })
		state = time.Now()
		c.Send(tunpeer.ACK, nil, 0)
		inState(collectors.FinWait2)
		notOlder(t, s.local, began, state)
	})
}

// A Fast Open server has its stamps since the SYN: the last ACK may come later.
func TestAgeFastOpen(t *testing.T) {
	d := tunpeer.Open(t)
	const serverWithoutCookie = "1539" // client, server, no cookie needed, all listeners
	socklab.Home(t).Sysctl(t, "net/ipv4/tcp_fastopen", serverWithoutCookie)
	families(t, func(t *testing.T, v6 bool) {
		for _, data := range []string{"in the SYN", ""} {
			l := bound(t, tunpeer.Local(v6))
			must(t, "fast open", unix.SetsockoptInt(l.fd, unix.SOL_TCP, unix.TCP_FASTOPEN, 16))
			must(t, "listen", unix.Listen(l.fd, 16))
			c := d.Toward(l.local)
			c.Quiet(true)
			c.SetOptions([]byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8}) // a cookie
			began := time.Now()
			c.Send(tunpeer.SYN, []byte(data), 0)
			c.SetOptions(nil)
			c.Wait(t, "the SYN with an ACK", func(s *tunpeer.Segment) bool { return s.Flags&tunpeer.SYN != 0 })
			s := &sock{fd: -1, local: l.local}
			socklab.WaitFor(t, "the connection", func() bool {
				var err error
				s.fd, _, err = unix.Accept4(l.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
				return err == nil
			})
			t.Cleanup(s.reset)
			if got := s.state(t); got != collectors.SynRecv {
				t.Fatalf("%q: state %s", data, got)
			}
			notOlder(t, s.local, began, began)
			passes(t, began, 400*time.Millisecond)
			c.Send(tunpeer.ACK, nil, 0)
			state := s.until(t, collectors.Established)
			notOlder(t, s.local, began, state)
			l.reset()
		}
	})
}

// TCP_USER_TIMEOUT that changes while a FIN is repeated makes the timers short,
// and the timeout doubles all the same.
func TestAgeUserTimeout(t *testing.T) {
	d := tunpeer.Open(t)
	families(t, func(t *testing.T, v6 bool) {
		for _, earlier := range []bool{false, true} {
			s, c := bound(t, tunpeer.Local(v6)), d.Await(v6)
			began := time.Now()
			s.connect(t, c.Peer)
			s.until(t, collectors.Established)
			if earlier { // a busy phase that has nothing to do with the FIN
				c.Quiet(true)
				_, err := unix.Write(s.fd, []byte("data"))
				must(t, "write", err)
				socklab.WaitFor(t, "retransmissions", func() bool { return tcpInfo(t, s.fd).Retransmits >= 3 })
				c.Quiet(false)
				socklab.WaitFor(t, "the ACK", func() bool { return tcpInfo(t, s.fd).Unacked == 0 })
			}
			c.Quiet(true)
			state := time.Now()
			must(t, "shutdown", unix.Shutdown(s.fd, unix.SHUT_WR))
			timeout := 0
			socklab.WaitFor(t, "a long timeout", func() bool {
				timeout += 30
				must(t, "TCP_USER_TIMEOUT", unix.SetsockoptInt(s.fd, unix.SOL_TCP, unix.TCP_USER_TIMEOUT, int(time.Since(state).Milliseconds())+timeout%60+15))
				notOlder(t, s.local, began, state)
				return t.Failed() || tcpInfo(t, s.fd).Rto > 60_000_000 || time.Since(state) > 4*time.Second
			})
			rec, age := notOlder(t, s.local, began, state)
			if rto := tcpInfo(t, s.fd).Rto; rto < 2_000_000 {
				t.Errorf("nothing was put to the test: timeout %d us", rto)
			}
			if !earlier && age.Min < 0.5*time.Since(state).Seconds() {
				t.Errorf("%+v after %s: %+v", age, time.Since(state), rec)
			}
		}
	})
}

// reconnected is what a rule for observed ages shows of a connection that began
// anew on the same descriptor.
func observedAge(t *testing.T, l *lab, text string, local netip.AddrPort) collectors.Age {
	t.Helper()
	r := l.cycle(t, l.rules(t, text))
	for _, f := range r.Findings {
		if at, _ := ends(&f.Socket); at == local {
			return f.Facts.Age
		}
	}
	t.Fatalf("no finding about %s\n%s", local, describe(r))
	return collectors.NoAge()
}

// A descriptor that is disconnected and connected again between the same ports
// keeps its cookie, and its state.
func TestAgeConnectedAgain(t *testing.T) {
	d := tunpeer.Open(t)
	families(t, func(t *testing.T, v6 bool) {
		for _, talk := range []int{0, 3} {
			l := newLab(t, Options{StateFile: t.TempDir() + "/state.json"})
			const text = "version: 1\nrules:\n  - {name: r, when: state == 'ESTABLISHED' && (age > 3600 or age < 3600 or remote_port > 0), then: [log]}\n"
			s, c := keepsPort(t, tunpeer.Local(v6)), d.Await(v6)
			s.connect(t, c.Peer)
			s.until(t, collectors.Established)
			for range talk {
				c.Send(tunpeer.ACK|tunpeer.PSH, []byte("hello"), 0)
			}
			socklab.WaitFor(t, "what was sent", func() bool { rec, _ := recordOf(t, s.local); return int(rec.RecvQueue) == 5*talk })
			observedAge(t, l, text, s.local)
			first := time.Now()
			passes(t, first, 600*time.Millisecond)
			if got := observedAge(t, l, text, s.local); got.Min < 0.5 {
				t.Errorf("%+v after 0.6s", got)
			}
			before, _ := recordOf(t, s.local)
			s.disconnect(t)
			c.AwaitAgain()
			s.connect(t, c.Peer)
			state := s.until(t, collectors.Established)
			if after, _ := recordOf(t, s.local); collectors.KeyOf(&after) != collectors.KeyOf(&before) {
				t.Fatalf("another key: %+v, %+v", before, after)
			}
			// Also for another run, which knows it from the state file.
			other := newLab(t, Options{StateFile: l.state.path})
			for _, l := range []*lab{l, other} {
				if got := observedAge(t, l, text, s.local); got.Min > time.Since(state).Seconds() {
					t.Errorf("%d segments: %+v, it is at most %s old", talk, got, time.Since(state))
				}
			}
		}
	})
}

// connect(2) that is tried again on a bound socket begins a new SYN_SENT.
func TestAgeConnectTriedAgain(t *testing.T) {
	d := tunpeer.Open(t)
	families(t, func(t *testing.T, v6 bool) {
		l := newLab(t, Options{})
		const text = "version: 1\nrules:\n  - {name: r, when: state == 'SYN_SENT' && (age > 3600 or remote_port > 0), then: [log]}\n"
		s, c := keepsPort(t, tunpeer.Local(v6)), d.Await(v6)
		c.Quiet(true)
		s.connect(t, c.Peer)
		first := time.Now()
		for range 3 {
			observedAge(t, l, text, s.local)
			passes(t, first, 3200*time.Millisecond)
		}
		if got := observedAge(t, l, text, s.local); got.Min < 1.9 || !got.Bounded || got.Max < time.Since(first).Seconds()-0.1 {
			t.Errorf("%+v after 3.2s", got)
		}
		s.disconnect(t)
		c.AwaitAgain()
		state := time.Now()
		s.connect(t, c.Peer)
		s.until(t, collectors.SynSent)
		got := observedAge(t, l, text, s.local)
		if truth := time.Since(state).Seconds(); got.Min > truth || !got.Bounded || got.Max > 2 {
			t.Errorf("%+v, it is at most %.3fs old", got, truth)
		}
	})
}

// The one thing that remains: only the peer can do it, and only to its own
// connection. It is why a process is not signalled by one look.
func TestAgeOldACKOnFIN(t *testing.T) {
	d := tunpeer.Open(t)
	families(t, func(t *testing.T, v6 bool) {
		s, c := bound(t, tunpeer.Local(v6)), d.Await(v6)
		s.connect(t, c.Peer)
		began := s.until(t, collectors.Established)
		_, err := unix.Write(s.fd, []byte("data"))
		must(t, "write", err)
		socklab.WaitFor(t, "the ACK", func() bool { return tcpInfo(t, s.fd).Unacked == 0 })
		passes(t, began, 800*time.Millisecond)
		c.Send(tunpeer.FIN|tunpeer.ACK, nil, -2)
		state := s.until(t, collectors.CloseWait)
		rec, now := recordOf(t, s.local)
		if age := evidence(&rec); age.Min <= now.Sub(state).Seconds() {
			t.Errorf("%+v: the kernel renews the stamp by now; take the exception out of docs/ages.md", age)
		}
	})
}

// In a time namespace CLOCK_MONOTONIC is another: what a state file says of the
// time there is nothing here, whoever wrote it.
func TestAgeTimeNamespace(t *testing.T) {
	const shift = 100_000
	c, disturb := disturbedConn(t)
	path := t.TempDir() + "/state.json"
	file := filepath.Join(t.TempDir(), "rules.yaml")
	must(t, "write", os.WriteFile(file, []byte(ruleFile("'"+port(c)+" && age > 50000'", "log")), 0o600))
	for _, order := range []string{"from here to there", "from there to here"} {
		disturb()
		here := func() string {
			l := newLab(t, Options{StateFile: path})
			defer l.Close()
			return describe(l.cycle(t, l.rules(t, ruleFile("'"+port(c)+" && age > 50000'", "log"))))
		}
		there := func() string {
			return startChild(t, orders{Life: "engine", Rules: file, State: path, Shift: shift}).rest(t)
		}
		looks := []func() string{here, there}
		if order == "from there to here" {
			must(t, "remove", os.Remove(path))
			looks = []func() string{there, here, there}
		}
		for i, look := range looks {
			if got := strings.TrimSpace(look()); got != "" {
				t.Errorf("%s, look %d: %s", order, i, got)
			}
		}
	}
}
