package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
)

func watch(t testing.TB, o EventOptions) *Events {
	t.Helper()
	socklab.Need(t)
	e, err := OpenEvents(o)
	capable(t, err)
	t.Cleanup(func() { must(t, "close", e.Close()) })
	return e
}

// shown returns sock_diag's record of a socket of the lab.
func shown(t testing.TB, local, remote netip.AddrPort) collectors.Socket {
	t.Helper()
	c, err := sockdiag.Dial(-1)
	must(t, "sock_diag", err)
	defer c.Close()
	var found []collectors.Socket
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates}
	for s, err := range c.Dump(t.Context(), q) {
		must(t, "dump", err)
		if netip.AddrPortFrom(s.Local.Netip(), s.LocalPort) == local && netip.AddrPortFrom(s.Remote.Netip(), s.RemotePort) == remote {
			found = append(found, *s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s %s is there %d times, not once", local, remote, len(found))
	}
	return found[0]
}

// lookup returns the entry of a socket, which must or must not exist.
func lookup(t testing.TB, e *Events, cookie uint64, want bool) Entry {
	t.Helper()
	entry, ok, err := e.Lookup(cookie)
	if err != nil || ok != want {
		t.Fatalf("entry of %x: %t, not %t (%+v, %v)", cookie, ok, want, entry, err)
	}
	return entry
}

// checkEntry compares an entry with what made the socket and with sock_diag.
func checkEntry(t testing.TB, entry *Entry, s *collectors.Socket, c *socklab.Conn) {
	t.Helper()
	if entry.State != c.Kind.State() || !entry.Fits(s) {
		t.Errorf("%+v is not of %s, port %d to %d", entry, s.State, s.LocalPort, s.RemotePort)
	}
	// Reading the clocks in this order widens the bounds.
	start := host.Monotonic() - time.Since(c.StartedBefore).Seconds()
	seen := -time.Since(c.SeenAfter).Seconds()
	if seen += host.Monotonic(); entry.Since < start || entry.Since > seen {
		t.Errorf("since %f, not between %f and %f", entry.Since, start, seen)
	}
}

// The entry of a socket says exactly what sock_diag shows, and since when.
func TestEntry(t *testing.T) {
	if !inLab(t) {
		return
	}
	e := watch(t, EventOptions{States: collectors.AllStates})
	for _, k := range socklab.Kinds() {
		switch k {
		case socklab.UDPBound, socklab.UDPConnected, socklab.Bound, // no transition
			socklab.TimeWait, socklab.SynRecv, socklab.FinWait2Orphan: // no full socket
			continue
		}
		for _, f := range socklab.Families() {
			t.Run(fmt.Sprintf("%s/%s", k, f), func(t *testing.T) {
				c := socklab.Make(t, k, f)
				s := shown(t, c.Local, c.Remote)
				entry := lookup(t, e, s.Cookie, true)
				checkEntry(t, &entry, &s, c)
				if entry.Since < e.Attached() {
					t.Errorf("since %f, attached at %f", entry.Since, e.Attached())
				}
			})
		}
	}
}

// To the program these sockets are closed, although sock_diag shows them: they have no
// entry, or one in CLOSE, and it says nothing about their age.
func TestMiniSockets(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, states := range []collectors.StateMask{collectors.AllStates, collectors.AllStates &^ collectors.Mask(collectors.Close)} {
		e := watch(t, EventOptions{States: states})
		for _, k := range []socklab.Kind{socklab.TimeWait, socklab.FinWait2Orphan, socklab.SynRecv} {
			c := socklab.Make(t, k, socklab.IPv4)
			s := shown(t, c.Local, c.Remote)
			entry, ok, err := e.Lookup(s.Cookie)
			if err != nil || ok && (entry.Fits(&s) || entry.State != collectors.Close || !states.Has(collectors.Close)) {
				t.Errorf("%s: %+v, %t, %v", k, entry, ok, err)
			}
		}
	}
}

// Unwanted states are not noted, and a noted state goes when the socket leaves it.
func TestStates(t *testing.T) {
	if !inLab(t) {
		return
	}
	e := watch(t, EventOptions{States: collectors.Mask(collectors.CloseWait)})
	idle := socklab.Make(t, socklab.Established, socklab.IPv4)
	idleCookie := shown(t, idle.Local, idle.Remote).Cookie
	lookup(t, e, idleCookie, false)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	cookie := shown(t, c.Local, c.Remote).Cookie
	first := lookup(t, e, cookie, true)

	must(t, "states", e.SetStates(collectors.Mask(collectors.Established, collectors.LastAck)))
	lookup(t, e, idleCookie, false)                          // it was there before
	if entry := lookup(t, e, cookie, true); entry != first { // the entry is still right
		t.Errorf("%+v was %+v", entry, first)
	}
	next := socklab.Make(t, socklab.Established, socklab.IPv4)
	lookup(t, e, shown(t, next.Local, next.Remote).Cookie, true)
	other := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	lookup(t, e, shown(t, other.Local, other.Remote).Cookie, false)

	// Now neither CLOSE_WAIT nor CLOSE is wanted.
	must(t, "shut down", unix.SetsockoptLinger(c.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	c.CloseFD()
	lookup(t, e, cookie, false)
}

func TestBeforeAttach(t *testing.T) {
	if !inLab(t) {
		return
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	before := host.Monotonic()
	e := watch(t, EventOptions{States: collectors.AllStates})
	if at := e.Attached(); at < before || at > host.Monotonic() {
		t.Errorf("attached at %f, opened at %f", at, before)
	}
	cookie := shown(t, c.Local, c.Remote).Cookie
	lookup(t, e, cookie, false)
	must(t, "shut down", unix.Shutdown(c.FD, unix.SHUT_WR))
	socklab.WaitFor(t, "LAST_ACK or its end", func() bool {
		s, _ := c.Now()
		return s != collectors.CloseWait
	})
	if entry, ok, err := e.Lookup(cookie); err != nil || ok && entry.State == collectors.CloseWait {
		t.Errorf("%+v, %t, %v", entry, ok, err)
	}
}

// A reconnected socket keeps its cookie, but not its age.
func TestReuse(t *testing.T) {
	if !inLab(t) {
		return
	}
	e := watch(t, EventOptions{States: collectors.Mask(collectors.CloseWait)})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	s := shown(t, c.Local, c.Remote)
	first := lookup(t, e, s.Cookie, true)

	disconnect(t, c.FD)
	lookup(t, e, s.Cookie, false)
	l := socklab.Make(t, socklab.Listen, socklab.IPv4)
	if err := unix.Connect(c.FD, &unix.SockaddrInet4{Port: int(l.Local.Port()), Addr: l.Local.Addr().As4()}); !errors.Is(err, unix.EINPROGRESS) {
		must(t, "connect", err)
	}
	peer := -1
	socklab.WaitFor(t, "the connection", func() (ok bool) {
		var err error
		peer, _, err = unix.Accept4(l.FD, unix.SOCK_CLOEXEC)
		return err == nil
	})
	lookup(t, e, s.Cookie, false)
	before := host.Monotonic()
	must(t, "FIN", unix.Close(peer))
	again := *c
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
		state, _ := again.Now()
		return state == collectors.CloseWait
	})
	entry := lookup(t, e, s.Cookie, true)
	if entry.Since < before || entry.Since > host.Monotonic() || entry.Since <= first.Since || entry.Fits(&s) || entry.RemotePort != l.Local.Port() {
		t.Errorf("%+v after %+v, not before %f", entry, first, before)
	}
}

// disconnect is connect(AF_UNSPEC), which package unix lacks.
func disconnect(t testing.TB, fd int) {
	t.Helper()
	addr := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&addr)), unsafe.Sizeof(addr)); errno != 0 {
		t.Fatalf("disconnect: %v", errno)
	}
}

// With more sockets than it has room for, some have no entry, and none has a wrong one.
func TestCapacity(t *testing.T) {
	if !inLab(t) {
		return
	}
	const capacity, n = 64, 2000
	e := watch(t, EventOptions{States: collectors.Mask(collectors.Established, collectors.CloseWait), Capacity: capacity})
	conns := map[uint16]*socklab.Conn{}
	for _, c := range socklab.Many(t, socklab.CloseWait, socklab.IPv4, n) {
		conns[c.Local.Port()] = c
	}
	d, err := sockdiag.Dial(-1)
	must(t, "sock_diag", err)
	defer d.Close()
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.CloseWait)}
	seen, found := 0, 0
	for s, err := range d.Dump(t.Context(), q) {
		must(t, "dump", err)
		seen++
		entry, ok, err := e.Lookup(s.Cookie)
		must(t, "lookup", err)
		if ok {
			found++
			checkEntry(t, &entry, s, conns[s.LocalPort])
		}
	}
	if seen != n || found > capacity {
		t.Errorf("%d of %d sockets have an entry", found, seen)
	}
	lost, err := e.Lost()
	must(t, "lost", err)
	if lost < uint64(n-capacity) {
		t.Errorf("%d were lost of %d for which there is no room", lost, n-capacity)
	}
	again, err := e.Lost()
	if err != nil || again < lost {
		t.Errorf("%d were lost, and then %d (%v)", lost, again, err)
	}
	t.Logf("%d of %d sockets have an entry", found, seen)
	// Other tests on this machine also make sockets.
	socklab.WaitFor(t, "an entry of a new socket", func() bool {
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		s := shown(t, c.Local, c.Remote)
		entry, ok, err := e.Lookup(s.Cookie)
		return err == nil && ok && entry.Fits(&s)
	})
}

// What ends in order is not lost, and neither is what is there.
func TestNothingLost(t *testing.T) {
	if !inLab(t) {
		return
	}
	e := watch(t, EventOptions{States: collectors.AllStates &^ collectors.Mask(collectors.Close), Capacity: 1 << 17})
	for range 3 {
		for _, c := range socklab.Many(t, socklab.CloseWait, socklab.IPv4, 100) {
			c.CloseFD()
		}
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		lookup(t, e, shown(t, c.Local, c.Remote).Cookie, true)
	}
	e.capacity = 0 // as if it were full: count them
	counts, err := e.counts()
	must(t, "counts", err)
	lost, err := e.Lost()
	must(t, "lost", err)
	stats, err := e.program.Stats()
	must(t, "stats", err)
	if counts[0] < 300 || counts[1] < 300 || lost > stats.RecursionMisses {
		t.Errorf("%d lost, %d not run, counts %v", lost, stats.RecursionMisses, counts)
	}
}

// The sockets of all namespaces are seen.
func TestOtherNamespace(t *testing.T) {
	if !inLab(t) {
		return
	}
	e := watch(t, EventOptions{States: collectors.Mask(collectors.Listen)})
	before := host.Monotonic()
	fd, err := socklab.NewNamespace(t, "elsewhere").Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	defer unix.Close(fd)
	must(t, "listen", unix.Listen(fd, 1))
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	must(t, "cookie", err)
	if entry := lookup(t, e, cookie, true); entry.State != collectors.Listen || entry.Since < before || entry.Since > host.Monotonic() {
		t.Errorf("%+v", entry)
	}
}

// An incoming connection begins in SYN_RECV, as a copy of its listener. That is not
// noted.
func TestClone(t *testing.T) {
	if !inLab(t) {
		return
	}
	e := watch(t, EventOptions{States: collectors.Mask(collectors.SynRecv)})
	c := socklab.Make(t, socklab.EstablishedUnaccepted, socklab.IPv4)
	lookup(t, e, shown(t, c.Local, c.Remote).Cookie, false)
	e.ring.SetDeadline(time.Unix(1, 0))
	if n, err := e.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d were noted (%v)", n, err)
	}
}

// For MPTCP, sock_diag shows the TCP socket beneath the one that the program holds.
func TestMPTCP(t *testing.T) {
	if !inLab(t) {
		return
	}
	e := watch(t, EventOptions{States: collectors.AllStates})
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		socklab.Lacks(t, fmt.Errorf("MPTCP: %w", err))
	}
	defer unix.Close(fd)
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Port: 4711}))
	must(t, "listen", unix.Listen(fd, 1))
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	must(t, "cookie", err)
	lookup(t, e, cookie, false)
	any4 := netip.IPv4Unspecified()
	s := shown(t, netip.AddrPortFrom(any4, 4711), netip.AddrPortFrom(any4, 0))
	if entry := lookup(t, e, s.Cookie, true); !entry.Fits(&s) || s.Cookie == cookie {
		t.Errorf("%+v of %x below %x", entry, s.Cookie, cookie)
	}
}

// Wait returns for each transition into a wanted state, even one that happened while
// nobody waited, and ends with Close.
func TestWait(t *testing.T) {
	if !inLab(t) {
		return
	}
	leakCheck(t)
	e, err := OpenEvents(EventOptions{States: collectors.Mask(collectors.Listen)})
	capable(t, err)
	woken := make(chan error)
	go func() {
		defer close(woken)
		for {
			n, err := e.Wait()
			if err == nil && n < 1 {
				err = fmt.Errorf("woken for %d", n)
			}
			woken <- err
			if err != nil {
				return
			}
		}
	}()
	for range 20 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(t, "socket", err)
		must(t, "listen", unix.Listen(fd, 1))
		must(t, "wait", <-woken)
		must(t, "close", unix.Close(fd))
	}
	ended := make(chan error)
	go func() { ended <- e.Close() }()
	for err := range woken {
		if err != nil && !errors.Is(err, os.ErrClosed) {
			t.Errorf("it ends with %v", err)
		}
	}
	must(t, "close", <-ended)
	must(t, "close again", e.Close())
	if _, err := e.Wait(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A flood that nobody reads does not stop the entries, and is read in turns.
func TestWaitFlood(t *testing.T) {
	if !inLab(t) {
		return
	}
	e := watch(t, EventOptions{States: collectors.Mask(collectors.Listen)})
	const n = 2 * ringSize / ringRecord
	var cookie uint64
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(t, "socket", err)
		must(t, "listen", unix.Listen(fd, 1))
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		must(t, "cookie", err)
		lookup(t, e, cookie, true)
		must(t, "close", unix.Close(fd))
		lookup(t, e, cookie, false)
	}
	if got, err := e.Wait(); err != nil || got < 1 || got > ringSize/ringRecord {
		t.Errorf("%d, %v", got, err)
	}
}

func TestEventsUnprivileged(t *testing.T) {
	if !asNobody(t) {
		return
	}
	leakCheck(t)
	if _, err := OpenEvents(EventOptions{}); !errors.Is(err, collectors.ErrNotPermitted) || errors.Is(err, collectors.ErrNotSupported) {
		t.Errorf("%v", err)
	}
}

func TestEventsClose(t *testing.T) {
	leakCheck(t)
	e, err := OpenEvents(EventOptions{States: collectors.AllStates})
	capable(t, err)
	must(t, "close", e.Close())
	if _, _, err := e.Lookup(1); err == nil {
		t.Error("a lookup after Close")
	}
	if err := e.SetStates(0); err == nil {
		t.Error("states after Close")
	}
	for _, capacity := range []int{-1, maxCapacity + 1} {
		if _, err := OpenEvents(EventOptions{Capacity: capacity}); err == nil {
			t.Errorf("a capacity of %d", capacity)
		}
	}
}

// A value that is half another socket's is not an entry.
func TestDecodeEntry(t *testing.T) {
	var mine, other [valueSize]byte
	fill := func(v *[valueSize]byte, cookie, since uint64) {
		ne := binary.NativeEndian
		ne.PutUint64(v[valueCookie:], cookie)
		ne.PutUint64(v[valueSince:], since)
		ne.PutUint64(v[valueSeal:], cookie^since)
		copy(v[valueRemote:], []byte{0x01, 0xbb})
		ne.PutUint16(v[valueState:], 8)
	}
	fill(&mine, 7, 1_500_000_000)
	fill(&other, 9, 4_000_000_000)
	if got, ok := decodeEntry(7, &mine); !ok || got != (Entry{State: collectors.CloseWait, Since: 1.5, RemotePort: 443}) {
		t.Errorf("%+v, %t", got, ok)
	}
	for cut := 8; cut < valueSize; cut += 8 {
		torn := mine
		copy(torn[cut:], other[cut:])
		if got, ok := decodeEntry(7, &torn); ok {
			t.Errorf("torn at %d: %+v", cut, got)
		}
	}
	if _, ok := decodeEntry(7, &other); ok {
		t.Error("the entry of another socket")
	}
}

// A verdict of the verifier is not about permission, whatever its number.
func TestClassify(t *testing.T) {
	for err, want := range map[error]error{
		unix.EPERM:         collectors.ErrNotPermitted,
		syscall.EACCES:     collectors.ErrNotPermitted,
		unix.EINVAL:        collectors.ErrNotSupported,
		unix.ENOENT:        collectors.ErrNotSupported,
		syscall.Errno(524): collectors.ErrNotSupported,
		&ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"R1 invalid mem access"}}: collectors.ErrNotSupported,
		&ebpf.VerifierError{Cause: unix.EPERM}:                                          collectors.ErrNotPermitted,
		unix.ENOMEM:                                                                     nil,
	} {
		got := classify(fmt.Errorf("load: %w", err))
		for _, sentinel := range []error{collectors.ErrNotPermitted, collectors.ErrNotSupported} {
			if errors.Is(got, sentinel) != errors.Is(want, sentinel) || !errors.Is(got, err) {
				t.Errorf("%v: %v", err, got)
			}
		}
	}
}
