package engine

import (
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// stalled is how long the socket has waited, as far as this look and those before it
// prove.
func (e *eye) stalled(t *testing.T) (a collectors.Age, began, now float64) {
	t.Helper()
	began = world.Mono()
	rec, err := e.conn.Get(t.Context(), &e.sock)
	must(t, "look", err)
	now = world.Mono()
	e.memory.Observe(collectors.KeyOf(&rec), memory.MarkOf(&rec, began, now), look.Evidence(&rec), began, now)
	cand := &look.Candidate{}
	cand.SetStalled(look.Stalled(e.memory, &rec, began, now))
	return cand.Facts.Stalled, began, now
}

// opensOn is an eye on a lab socket.
func opensOn(t *testing.T, c *socklab.Conn) *eye {
	t.Helper()
	conn, err := sockdiag.Dial(-1)
	must(t, "dial", err)
	t.Cleanup(func() { _ = conn.Close() })
	rec, ok := recordFor(t, c.Local, c.Remote)
	if !ok {
		t.Fatalf("no socket %s", c.Local)
	}
	return &eye{conn: conn, memory: memory.NewMemory(), sock: rec}
}

// sender is a connection with what the test itself has seen of it.
type sender struct {
	*socklab.Conn
	eye *eye
	// What waits has waited since some time between moved and still.
	moved, still float64
	acked        uint64
	waits        bool
	polled       float64
	longest      float64 // wait that was proven
}

// poll looks at the descriptor. Something waits if anything sent is not acknowledged.
func (s *sender) poll(t *testing.T) {
	t.Helper()
	p := world.Mono()
	waiting, err := unix.IoctlGetInt(s.FD, unix.SIOCOUTQ)
	must(t, "SIOCOUTQ", err)
	info, err := unix.GetsockoptTCPInfo(s.FD, unix.SOL_TCP, unix.TCP_INFO)
	must(t, "TCP_INFO", err)
	switch {
	case waiting == 0:
		s.moved, s.waits = p, false
	case !s.waits || info.Bytes_acked != s.acked:
		s.moved, s.still, s.waits = max(s.moved, s.polled), world.Mono(), true
	}
	s.acked, s.polled = info.Bytes_acked, p
}

// check compares what looks prove with what the test has seen.
func (s *sender) check(t *testing.T, seed uint64) {
	t.Helper()
	got, began, now := s.eye.stalled(t)
	if got.Min > now-s.moved+tolerance {
		t.Fatalf("seed %d: %+v, but something moved %.3fs ago", seed, got, now-s.moved)
	}
	still := s.still
	if s.poll(t); got.Bounded && s.waits && s.still == still && got.Max < began-still-tolerance {
		t.Fatalf("seed %d: %+v, but nothing has moved for %.3fs", seed, got, began-still)
	}
	s.longest = max(s.longest, got.Min)
}

// However a peer reads, no wait is proven to be longer than it is: if the queue drains
// and fills again between two looks, the counters have changed. If a peer never reads,
// the wait is proven back to nearly when it stopped.
func TestStalledIsNeverTooLong(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	var all []*sender
	for range 6 {
		for _, f := range socklab.Families() {
			s := &sender{Conn: socklab.Make(t, socklab.Established, f)}
			must(t, "send buffer", unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<10))
			must(t, "receive buffer", unix.SetsockoptInt(s.Peer, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<10))
			s.eye, s.moved, s.polled = opensOn(t, s.Conn), world.Mono(), world.Mono()
			all = append(all, s)
		}
	}
	stopped, idle := all[0], all[1]
	data, room := make([]byte, 64<<10), make([]byte, 64<<10)
	for n := 1; n > 0; {
		n, _ = unix.Write(stopped.FD, data)
	}
	stopped.poll(t)
	stopped.check(t, seed)
	began, looks := time.Now(), 0
	for took := time.Duration(0); took < 3*time.Second || stopped.longest < 1 && took < 2*time.Minute; took = time.Since(began) {
		s := all[random.IntN(len(all))]
		switch random.IntN(5) {
		case 0, 1:
			if n := 1 + random.IntN(20_000); s != idle {
				_, _ = unix.Write(s.FD, data[:n])
			}
		case 2:
			if s != stopped {
				_, _ = unix.Read(s.Peer, room[:1+random.IntN(len(room))])
			}
		case 3:
			if random.IntN(4) == 0 { // a byte that the peer takes at once
				_, _ = unix.Write(s.Peer, data[:1])
				_, _ = unix.Read(s.FD, room)
			}
		case 4:
			s.check(t, seed)
			looks++
		}
		for _, s := range all {
			s.poll(t)
		}
	}
	got, before, _ := stopped.eye.stalled(t)
	stopped.poll(t)
	if truth := before - stopped.still; got.Min < truth-0.5 {
		t.Errorf("seed %d: who never reads is proven to wait for %.3fs, it is %.3fs", seed, got.Min, truth)
	}
	if stopped.longest < 1 || idle.longest != 0 {
		t.Errorf("seed %d, %d looks: who never reads is proven to wait for %.3fs, who sends nothing %.3fs", seed, looks, stopped.longest, idle.longest)
	}
}

// lose makes a socket lose everything that comes in.
func lose(t *testing.T, fd int) {
	t.Helper()
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	must(t, "filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing}))
}

// When the peer is gone, one look proves the wait: by the timeouts since the last
// progress, the time in which nothing was sent and nothing acknowledged.
func TestStalledByOneLook(t *testing.T) {
	for _, f := range socklab.Families() {
		c := socklab.Make(t, socklab.Established, f)
		lose(t, c.Peer)
		before := time.Now()
		_, err := unix.Write(c.FD, []byte("data"))
		must(t, "write", err)
		var a collectors.Age
		socklab.WaitFor(t, "a proof", func() bool {
			a, _, _ = opensOn(t, c).stalled(t)
			if truth := time.Since(before).Seconds(); a.Min > truth+tolerance {
				t.Fatalf("%s: %+v, but it waits for %.3fs", f, a, truth)
			}
			return a.Min > 0.5
		})
		if !a.Bounded || a.Max < a.Min {
			t.Errorf("%s: %+v", f, a)
		}
	}
	quiet := socklab.Make(t, socklab.Established, socklab.IPv4)
	if a, _, _ := opensOn(t, quiet).stalled(t); a.Min != 0 || !a.Bounded || a.Max != 0 {
		t.Errorf("nothing waits, and it is said to do so for %+v", a)
	}
}

// A waiting FIN has no stamp of its own: the last data was long before.
func TestStalledFIN(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	_, err := unix.Write(c.FD, []byte("data"))
	must(t, "write", err)
	rested := time.Now()
	socklab.WaitFor(t, "some time", func() bool { return time.Since(rested) > time.Second })
	lose(t, c.Peer)
	before := time.Now()
	must(t, "shutdown", unix.Shutdown(c.FD, unix.SHUT_WR))
	a, _, _ := opensOn(t, c).stalled(t)
	if truth := time.Since(before).Seconds(); a.Min > truth+tolerance {
		t.Errorf("%+v, but the FIN waits for %.3fs", a, truth)
	}
}

// A socket that is disconnected and connected again between the same ports is another
// connection, even if as much is acknowledged there.
func TestStalledIsOfOneConnection(t *testing.T) {
	fd := -1
	must(t, "listen", socklab.Peer(t).Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{10, 9, 0, 2}})
		}
		if err == nil {
			err = unix.Listen(fd, 10)
		}
		return err
	}))
	t.Cleanup(func() { _ = unix.Close(fd) })
	addr := addrPort(name(t, fd))
	s := keepsPort(t, netip.MustParseAddr("10.9.0.1"))
	peer := -1
	connected := func() (since time.Time) {
		t.Helper()
		s.connect(t, addr)
		s.until(t, collectors.Established)
		var err error
		peer, _, err = unix.Accept4(fd, unix.SOCK_CLOEXEC)
		must(t, "accept", err)
		lose(t, peer)
		since = time.Now()
		_, err = unix.Write(s.fd, []byte("never acknowledged"))
		must(t, "write", err)
		return since
	}
	first := connected()
	e := opens(t, s.local)
	socklab.WaitFor(t, "the first to be proven", func() bool {
		a, _, _ := e.stalled(t)
		return a.Min > 0.3 && a.Min <= time.Since(first).Seconds()+tolerance
	})
	s.disconnect(t)
	must(t, "linger", unix.SetsockoptLinger(peer, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	must(t, "close", unix.Close(peer))
	second := connected()
	socklab.WaitFor(t, "the second to be proven", func() bool {
		a, _, _ := e.stalled(t)
		if truth := time.Since(second).Seconds(); a.Min > truth+tolerance {
			t.Fatalf("%+v, but this connection waits for %.3fs", a, truth)
		}
		return a.Min > 0.3
	})
	must(t, "close", unix.Close(peer))
}

// Runs with one state file prove a wait together; a run that only reads proves nothing
// with one look. A rule acts on a wait, but not on what has begun to move by then.
func TestStalledRule(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	stuck, busy := socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv6)
	data := make([]byte, 8<<20)
	fill := func(c *socklab.Conn) {
		for {
			if n, err := unix.Write(c.FD, data); n <= 0 || err != nil {
				return
			}
		}
	}
	fill(stuck)
	fill(busy)
	text := ruleFile("state == 'ESTABLISHED' and send_stalled > 0.5", "log")
	socklab.WaitFor(t, "the stuck one", func() bool {
		_, _ = unix.Read(busy.Peer, data)
		fill(busy)
		l := newLab(t, Options{StateFile: path})
		r := l.run(t, l.rules(t, text))
		noErrors(t, r)
		l.Close()
		if len(findingsOf(r, busy)) > 0 {
			t.Fatalf("the busy one\n%s", describe(r))
		}
		return len(findingsOf(r, stuck)) == 1
	})
	alone := newLab(t, Options{})
	if r := alone.run(t, alone.rules(t, text)); len(r.Findings) != 0 || r.AgeUnproven == 0 {
		t.Errorf("without other looks: %d need a second one\n%s", r.AgeUnproven, describe(r))
	}
	l := newLab(t, Options{Live: true, StateFile: path})
	holder(t, stuck)
	p := l.rules(t, ruleFile("state == 'ESTABLISHED' and send_stalled > 0.5", "destroy"))
	looked, err := l.Look(t.Context(), p)
	must(t, "look", err)
	expect(t, findingOf(t, looked, stuck), report.DecideAct, "", actions.Would)
	rec, _ := recordFor(t, stuck.Local, stuck.Remote)
	socklab.WaitFor(t, "the peer to read", func() bool {
		_, _ = unix.Read(stuck.Peer, data)
		now, _ := recordFor(t, stuck.Local, stuck.Remote)
		return now.SendQueue < rec.SendQueue
	})
	r := l.Act(t.Context(), p, looked)
	l.Finish(t.Context(), r)
	if f := findingOf(t, r, stuck); f.Last().Result != actions.Changed || !survives(t, stuck) {
		t.Errorf("it moves again: %s", line(f))
	}
}
