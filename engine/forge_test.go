package engine

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/tunpeer"
	"sockwarden/engine/look"
)

// A user-space peer does what no kernel does by itself: each of these once made an age
// exceed the truth.

// notOlder checks everything that one record says about time against when the connection
// and its state began.
func notOlder(t *testing.T, local netip.AddrPort, began, state time.Time) (collectors.Socket, collectors.Age) {
	t.Helper()
	rec, now := recordOf(t, local)
	return rec, checkAge(t, rec, now, began, state)
}

// checkAge fails the test if a connection's record, taken at now, says that it is older
// than it is.
func checkAge(t *testing.T, rec collectors.Socket, now, began, state time.Time) collectors.Age {
	t.Helper()
	age := look.Evidence(&rec)
	if age.Min > now.Sub(state).Seconds() {
		t.Errorf("%s: age %.3fs (%+v), it is at most %.3fs old: %+v", rec.State, age.Min, age, now.Sub(state).Seconds(), rec)
	}
	truth := now.Sub(began).Seconds() + look.Slack
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
	return age
}

func families(t *testing.T, f func(t *testing.T, v6 bool)) {
	t.Run("v4", func(t *testing.T) { f(t, false) })
	t.Run("v6", func(t *testing.T) { f(t, true) })
}

// passes waits until d has gone by since then.
func passes(t testing.TB, since time.Time, d time.Duration) {
	t.Helper()
	socklab.WaitFor(t, d.String()+" to pass", func() bool { return time.Since(since) > d })
}

// simultaneous opens a connection from both ends at the same time, up to the point where
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

// The stamp of received data is zero: it counts from when jiffies began.
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

// The same, with nobody at the other end.
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
		// What it sends itself counts as received data: the stamps are good.
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

// A Fast Open server's stamps date from the SYN: the last ACK may come later.
func TestAgeFastOpen(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
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

// If a Fast Open server closes before the last ACK, its timeouts are those of its SYN.
func TestAgeFastOpenClosed(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	d := tunpeer.Open(t)
	socklab.Home(t).Sysctl(t, "net/ipv4/tcp_fastopen", "1539")
	families(t, func(t *testing.T, v6 bool) {
		l := bound(t, tunpeer.Local(v6))
		must(t, "fast open", unix.SetsockoptInt(l.fd, unix.SOL_TCP, unix.TCP_FASTOPEN, 16))
		must(t, "listen", unix.Listen(l.fd, 16))
		c := d.Toward(l.local)
		c.Quiet(true)
		began := time.Now()
		c.Send(tunpeer.SYN, []byte("in the SYN"), 0)
		fd := -1
		socklab.WaitFor(t, "the connection", func() bool {
			var err error
			fd, _, err = unix.Accept4(l.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			return err == nil
		})
		t.Cleanup(func() { c.Send(tunpeer.RST|tunpeer.ACK, nil, 0) })
		socklab.WaitFor(t, "a second SYN with an ACK", func() bool { return tcpInfo(t, fd).Retransmits > 0 })
		passes(t, began, 1300*time.Millisecond)
		_, err := unix.Read(fd, make([]byte, 100))
		must(t, "read", err)
		state := time.Now()
		must(t, "close", unix.Close(fd))
		socklab.WaitFor(t, "FIN_WAIT1", func() bool { rec, _ := recordOf(t, l.local); return rec.State == collectors.FinWait1 })
		notOlder(t, l.local, began, state)
		l.reset()
	})
}

// The time with unacknowledged data carries over between connections of one descriptor.
func TestAgeBusyBefore(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	d := tunpeer.Open(t)
	families(t, func(t *testing.T, v6 bool) {
		s, c := keepsPort(t, tunpeer.Local(v6)), d.Await(v6)
		for range 2 {
			began := time.Now()
			c.Quiet(false)
			s.connect(t, c.Peer)
			s.until(t, collectors.Established)
			c.Quiet(true)
			state := time.Now()
			must(t, "shutdown", unix.Shutdown(s.fd, unix.SHUT_WR))
			s.until(t, collectors.FinWait1)
			notOlder(t, s.local, began, state)
			passes(t, state, 300*time.Millisecond)
			notOlder(t, s.local, began, state)
			s.disconnect(t)
			c.AwaitAgain()
		}
	})
}

// A TCP_USER_TIMEOUT that changes while a FIN is repeated makes the timers short, but the
// timeout still doubles.
func TestAgeUserTimeout(t *testing.T) { // has to be in time
	families(t, func(t *testing.T, v6 bool) {
		d := tunpeer.Open(t)
		for _, earlier := range []bool{false, true} {
			if earlier && v6 {
				continue // once is enough
			}
			// On a busy machine the kernel ends it before the next timeout is set, or sends too
			// little to prove much.
			for end := time.Now().Add(2 * time.Minute); !underUserTimeout(t, d, v6, earlier); {
				if t.Failed() || time.Now().After(end) {
					t.Fatal("none got as far as a long timeout, and proved its age")
				}
			}
		}
	})
}

// underUserTimeout tests one connection of TestAgeUserTimeout; it returns false if the
// kernel ended it too early, its timeout did not become long, or little of its age is proven.
func underUserTimeout(t *testing.T, d *tunpeer.Device, v6, earlier bool) (done bool) {
	t.Helper()
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
		c.Send(tunpeer.ACK, nil, 0)
		socklab.WaitFor(t, "the ACK", func() bool { return tcpInfo(t, s.fd).Unacked == 0 })
	}
	c.Quiet(true)
	state := time.Now()
	must(t, "shutdown", unix.Shutdown(s.fd, unix.SHUT_WR))
	timeout := 0
	var rec collectors.Socket
	var age collectors.Age
	lived, long, proved := false, false, earlier || socklab.KernelBefore(6, 7) // those prove little, or nothing
	socklab.WaitFor(t, "a long timeout", func() bool {
		timeout += 30
		must(t, "TCP_USER_TIMEOUT", unix.SetsockoptInt(s.fd, unix.SOL_TCP, unix.TCP_USER_TIMEOUT, int(time.Since(state).Milliseconds())+timeout%60+15))
		var now time.Time
		if rec, now, lived = recordAt(t, s.local); !lived {
			return true
		}
		age = checkAge(t, rec, now, began, state)
		rto := tcpInfo(t, s.fd).Rto
		long = rto >= 2_000_000
		proved = proved || long && age.Min >= 0.5*now.Sub(state).Seconds()
		since := time.Since(state)
		return t.Failed() || rto > 20_000_000 || since > 3*time.Second && proved || since > 6*time.Second
	})
	if !lived || !long {
		return false // nothing was tested
	}
	if socklab.KernelBefore(6, 7) && age.Min > 0 {
		t.Errorf("%+v, although this kernel does not prove it: %+v", age, rec)
	}
	if !proved {
		t.Logf("%+v after %s: %+v", age, time.Since(state), rec)
	}
	return proved
}
