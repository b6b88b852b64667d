package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
)

const tcpEstablished = `state == "ESTABLISHED" && age > 3600`

// age looks at one socket and returns what is known about its age.
func (l *lab) age(t testing.TB, c *socklab.Conn) collectors.Age {
	t.Helper()
	f := findingOf(t, l.cycle(t, l.rules(t, ruleFile("'"+port(c)+" && (age > 0 || age <= 0 || port > 0)'", "log"))), c)
	return f.Facts.Age
}

// disturbedConn is a connection whose own evidence never gets older.
func disturbedConn(t *testing.T) (*socklab.Conn, func()) {
	t.Helper()
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	return c, func() {
		for _, fds := range [][2]int{{c.FD, c.Peer}, {c.Peer, c.FD}} {
			_, err := unix.Write(fds[0], []byte("x"))
			must(t, "write", err)
			socklab.WaitFor(t, "the data", func() bool { n, _ := unix.Read(fds[1], make([]byte, 10)); return n == 1 })
		}
	}
}

// A socket seen again and again is proven to be as old as that, and never older than it
// is, by one engine and by the next one with the same state file.
func TestObservedAge(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c, disturb := disturbedConn(t)
	path := t.TempDir() + "/state.json"
	first := 0.0
	var seen time.Time          // when it had been looked at once
	slowest, least := 0.25, 0.0 // a look that takes longer than all before it proves that much less
	for i, o := range []Options{{StateFile: path}, {StateFile: path, Live: true}, {StateFile: path}, {StateFile: path, ReadOnly: true}} {
		l := newLab(t, o)
		last := 0.0
		looks := 0
		socklab.WaitFor(t, "the age to grow", func() bool {
			disturbed := time.Now()
			disturb()
			began := time.Now()
			a := l.age(t, c)
			slowest = max(slowest, time.Since(began).Seconds())
			if seen.IsZero() {
				seen = time.Now()
			}
			least = began.Sub(seen).Seconds()
			if true := time.Since(c.StartedBefore).Seconds(); a.Min > true {
				t.Fatalf("at least %.3fs, but it is at most %.3fs old", a.Min, true)
			}
			if a.Min < last-slowest || looks == 0 && a.Min < first-slowest {
				t.Errorf("engine %d, look %d: %.3fs after %.3fs", i, looks, a.Min, last)
			}
			if a.Source != collectors.AgeObserved && a.Min > time.Since(disturbed).Seconds() {
				t.Errorf("engine %d, look %d: %+v", i, looks, a)
			}
			looks++
			last = a.Min
			return a.Min > first+0.3
		})
		first = last
		l.Close()
	}
	if first < least-slowest {
		t.Errorf("only %.3fs proven of %.3fs", first, least)
	}
}

// A socket that left its state and came back to it, with the same cookie and the same
// ends, is as old as its second stay.
func TestReturnToState(t *testing.T) {
	l := newLab(t, Options{})
	home, peer := socklab.Home(t), socklab.Peer(t)
	server, err := peer.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(server) })
	must(t, "bind", unix.Bind(server, &unix.SockaddrInet4{Addr: socklab.IPv4.Remote().As4()}))
	must(t, "listen", unix.Listen(server, 5))
	fd, err := home.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	c := &socklab.Conn{Kind: socklab.CloseWait, FD: fd, Remote: addrPort(name(t, server))}
	t.Cleanup(c.CloseFD)
	// Only a port that was asked for stays.
	free := socklab.NewListener(t, socklab.IPv4, 0)
	must(t, "close", unix.Close(free.FD))
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: socklab.IPv4.Local().As4(), Port: int(free.Addr.Port())}))
	c.Local = addrPort(name(t, fd))
	closeWait := func() {
		t.Helper()
		if err := unix.Connect(fd, name(t, server)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			t.Fatalf("connect: %v", err)
		}
		socklab.WaitFor(t, "the connection", func() bool {
			other, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
			if err == nil {
				must(t, "shutdown", unix.Shutdown(other, unix.SHUT_WR))
				t.Cleanup(func() { _ = unix.Close(other) })
			}
			return err == nil
		})
		c.StartedBefore = time.Now()
		socklab.WaitFor(t, "CLOSE_WAIT", func() bool { s, _ := c.Now(); return s == collectors.CloseWait })
	}
	cookie := func() uint64 {
		v, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		must(t, "cookie", err)
		return v
	}
	closeWait()
	was := cookie()
	// The socket's own evidence must not suffice: each byte that we send is acknowledged.
	socklab.WaitFor(t, "an observed age", func() bool {
		_, err := unix.Write(fd, []byte("x"))
		must(t, "write", err)
		a := l.age(t, c)
		return a.Source == collectors.AgeObserved && a.Min > 0.5
	})
	// connect(AF_UNSPEC), which package unix lacks.
	unspec := [16]byte{}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspec)), uintptr(len(unspec)))
	if errno != 0 {
		t.Fatalf("disconnect: %v", errno)
	}
	back := time.Now()
	closeWait()
	if now := cookie(); now != was || addrPort(name(t, fd)) != c.Local {
		t.Fatalf("cookie %x, was %x; %s, was %s", now, was, addrPort(name(t, fd)), c.Local)
	}
	a := l.age(t, c)
	if true := time.Since(back).Seconds(); a.Min > true || a.Min > 0.5 {
		t.Errorf("at least %.3fs, but it is back for %.3fs only: %+v", a.Min, true, a)
	}
	// From now on it is observed anew.
	socklab.WaitFor(t, "a new observed age", func() bool {
		_, err := unix.Write(fd, []byte("x"))
		must(t, "write", err)
		a := l.age(t, c)
		if true := time.Since(back).Seconds(); a.Min > true {
			t.Fatalf("at least %.3fs after %.3fs", a.Min, true)
		}
		return a.Source == collectors.AgeObserved && a.Min > 0.2
	})
}

// An upper bound from now does not contradict an observation made just now, however long
// the look itself takes.
func TestObservedBySlowLooks(t *testing.T) {
	for _, slow := range []bool{false, true} {
		m := memory.NewMemory()
		key := collectors.Key{Cookie: 1}
		end := 11.0
		if slow {
			end = 15
		}
		// Seen at 10.5 by a look from 10 to 11; it entered its state at 10.4.
		m.Observe(key, memory.Mark{}, collectors.Age{Max: 0.1, Bounded: true, Source: collectors.AgeNone}, 10, 11)
		// Seen again at 12, by a look that began at 12.
		got := m.Observe(key, memory.Mark{}, collectors.Age{Max: 1.6, Bounded: true, Source: collectors.AgeNone}, 12, end+2)
		if got.Min != 1 || got.Source != collectors.AgeObserved {
			t.Errorf("slow %t: %+v", slow, got)
		}
	}
}

// flaky is a source whose dumps can be made to fail half way.
type flaky struct{ fails bool }

var errFlaky = errors.New("connection lost")

func (f *flaky) plugin() collectors.Plugin {
	p := sockdiag.Plugin()
	real := p.New
	p.New = func(netns int) collectors.Collector { return flakyCollector{f, real(netns)} }
	return p
}

type flakyCollector struct {
	*flaky
	collectors.Collector
}

func (f flakyCollector) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		if f.fails {
			yield(nil, errFlaky)
			return
		}
		for s, err := range f.Collector.Collect(ctx, q) {
			if !yield(s, err) {
				return
			}
		}
	}
}

// Sockets are forgotten when two complete looks in a row that would have shown them did
// not; an incomplete look forgets nothing.
func TestPrune(t *testing.T) {
	source := &flaky{}
	l := newLab(t, Options{Sources: []collectors.Plugin{source.plugin()}})
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	stays := socklab.Make(t, socklab.Established, socklab.IPv6)
	p, others := l.rules(t, ruleFile(tcpEstablished, "log")), l.rules(t, ruleFile("state == 'CLOSE_WAIT' && age > 3600", "log"))
	looks := func(p string, want int) {
		t.Helper()
		if n := len(l.memory.Seen); n != want {
			t.Fatalf("%s: %d are remembered, not %d", p, n, want)
		}
	}
	l.cycle(t, p)
	looks("first", 2)
	l.cycle(t, p)
	looks("second", 2)
	must(t, "linger", unix.SetsockoptLinger(c.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	c.CloseFD()
	for range 5 {
		l.cycle(t, others)
	}
	looks("looks for other states", 2)
	l.cycle(t, p)
	looks("missed once", 2)
	source.fails = true
	for range 5 {
		if r, err := l.Cycle(t.Context(), p); !errors.Is(err, look.ErrNothingSeen) || !errors.Is(err, errFlaky) {
			t.Fatalf("%v, %v", r, err)
		}
	}
	looks("incomplete", 2)
	source.fails = false
	l.cycle(t, p)
	looks("missed twice", 1)
	if _, ok := procState(t, stays); !ok {
		t.Fatal("the other one is gone")
	}
	for range 3 {
		l.cycle(t, p)
	}
	looks("the other stays", 1)
}

// A miss does not count if the next look shows the socket.
func TestPruneInARow(t *testing.T) {
	m := memory.NewMemory()
	key := collectors.Key{Cookie: 1, Protocol: collectors.TCP, State: collectors.CloseWait}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.CloseWait)}
	for i, seen := range []bool{true, false, true, false, true} {
		now := float64(i)
		if seen {
			m.Observe(key, memory.Mark{}, collectors.NoAge(), now, now)
		}
		m.Prune(&q, now)
		if len(m.Seen) != 1 {
			t.Fatalf("forgotten at %d", i)
		}
	}
	m.Prune(&q, 6)
	m.Prune(&q, 7)
	if len(m.Seen) != 0 {
		t.Error("not forgotten")
	}
}

// Only sockets whose age decides are remembered, and no more than there is room for. A
// socket without a cookie is not remembered at all.
func TestMemoryIsBounded(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	l := newLab(t, Options{})
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	for text, want := range map[string]int{
		ruleFile("true", "log"):                                       0,
		ruleFile(`state == "CLOSE_WAIT" && age > 3600`, "log"):        1, // false now, but the socket will get older
		ruleFile(`port == 1 && age > 3600`, "log"):                    0,
		ruleFile(`age > 3600 && state == "ESTABLISHED"`, "log"):       1,
		ruleFile(`state == "ESTABLISHED"`, "log", "unless: age < 60"): 1,
	} {
		*l.memory = *memory.NewMemory()
		l.cycle(t, l.rules(t, text))
		if n := len(l.memory.Seen); n != want {
			t.Errorf("%d are remembered, not %d\n%s", n, want, text)
		}
	}
	m := memory.NewMemory()
	for i := range memory.MaxRemembered + 10 {
		m.Observe(collectors.Key{Cookie: uint64(i + 1)}, memory.Mark{}, collectors.NoAge(), 1, 1)
		m.Hold(memory.HoldKey{Socket: collectors.Key{Cookie: uint64(i + 1)}}, 0, 1)
	}
	m.Observe(collectors.Key{}, memory.Mark{}, collectors.NoAge(), 1, 1)
	if len(m.Seen) != memory.MaxRemembered || len(m.Holds) != memory.MaxRemembered {
		t.Errorf("%d and %d are remembered", len(m.Seen), len(m.Holds))
	}
	// Those for which there was no room are judged by their own evidence, not refused.
	full := newLab(t, Options{})
	*full.memory = *m
	if a := full.age(t, c); a.Source != collectors.AgeTCPInfo {
		t.Errorf("%+v", a)
	}
	if got := m.Observe(collectors.Key{Cookie: 5}, memory.Mark{}, collectors.NoAge(), 3, 3); got.Min != 2 {
		t.Errorf("what was remembered before: %+v", got)
	}
}

// A rule with for: does not act early when the memory is full of others.
func TestHoldsAreBounded(t *testing.T) {
	m := memory.NewMemory()
	for i := range memory.MaxRemembered {
		m.Hold(memory.HoldKey{Socket: collectors.Key{Cookie: uint64(i + 1)}}, 0, 1)
	}
	for _, now := range []float64{2, 100} {
		if since := m.Hold(memory.HoldKey{Rule: "new"}, 0, now); since != now {
			t.Errorf("held since %v at %v", since, now)
		}
	}
}

// In an incomplete cycle the matches of unseen sockets do not last, but what is known
// about them does.
func TestForAndIncompleteCycles(t *testing.T) {
	n := socklab.NewNamespace(t, "flaky")
	source := &flaky{}
	plugin := source.plugin()
	faulty := plugin.New
	plugin.New = func(netns int) collectors.Collector {
		if netns < 0 {
			return sockdiag.Plugin().New(netns)
		}
		return faulty(netns)
	}
	l := newLab(t, Options{Sources: []collectors.Plugin{plugin}})
	fd, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, "listen", unix.Listen(fd, 1))
	here := socklab.Make(t, socklab.Listen, socklab.IPv4)
	p := l.rules(t, "netns: [host, flaky]\n"+ruleFile(`state == "LISTEN"`, "{destroy: {listen: true}}", "for: 1h")+
		"  - {name: old, when: state == 'LISTEN' && age > 3600, mode: observe}\n")
	if r := l.cycle(t, p); len(r.Findings) != 2 || len(l.memory.Holds) != 2 || len(l.memory.Seen) != 2 {
		t.Fatalf("%d holds, %d remembered\n%s", len(l.memory.Holds), len(l.memory.Seen), describe(r))
	}
	source.fails = true
	for range 3 {
		l.cycle(t, p)
	}
	if len(l.memory.Seen) != 2 {
		t.Errorf("%d are remembered: an incomplete look made it forget", len(l.memory.Seen))
	}
	r := l.cycle(t, p)
	if len(r.Errors) != 1 || !errors.Is(r.Errors[0], errFlaky) || len(l.memory.Holds) != 1 {
		t.Errorf("errors %v, %d holds", r.Errors, len(l.memory.Holds))
	}
	expect(t, findingOf(t, r, here), report.DecidePending, "for 1h")
	if got := fmt.Sprint(r.Errors[0]); got != "namespace flaky: connection lost" {
		t.Errorf("error %q", got)
	}
}
