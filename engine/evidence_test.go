package engine

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/look"
)

// specimen is a socket whose state began between two known points in time.
type specimen struct {
	*socklab.Conn
	name    string
	disturb func() // before each look
	// proven is the age that must be provable in the end, as a fraction of the true age;
	// 0 for none.
	proven float64
	// unproven says that this kernel proves no age at all.
	unproven bool
	// bounded says that there must be an upper bound; tight says that it must be close to
	// the lower one.
	bounded, tight bool
	making         float64 // how long it took to make, in seconds

	best  collectors.Age
	age   float64 // least true age when best was seen
	wrong bool    // already reported
}

// glanceAt checks what the evidence of one dump claims about all subjects.
func glanceAt(t *testing.T, subjects []*specimen) {
	t.Helper()
	for _, s := range subjects {
		if s.disturb != nil {
			s.disturb()
		}
	}
	before, late := time.Now(), tickLate(t)
	all := map[[2]netip.AddrPort]collectors.Socket{}
	for _, s := range sockets(t) {
		l, r := ends(&s)
		all[[2]netip.AddrPort{l, r}] = s
	}
	after := time.Now()
	if late = max(late, tickLate(t)); late > 10*time.Millisecond {
		return // the machine had no processor: the stamps are as late as the tick
	}
	for _, s := range subjects {
		rec, ok := all[[2]netip.AddrPort{s.Local, s.Remote}]
		if !ok || rec.State != s.Kind.State() {
			continue // it has left the state
		}
		youngest, oldest := before.Sub(s.SeenAfter).Seconds(), after.Sub(s.StartedBefore).Seconds()
		got := look.Evidence(&rec)
		if s.wrong {
			continue
		}
		s.wrong = got.Min > oldest || got.Bounded && got.Max < youngest
		if got.Min > oldest {
			t.Errorf("%s: at least %.3fs, but it is at most %.3fs old: %+v", s.name, got.Min, oldest, rec)
		}
		if got.Bounded && got.Max < youngest {
			t.Errorf("%s: at most %.3fs, but it is at least %.3fs old: %+v", s.name, got.Max, youngest, rec)
		}
		if got.Bounded && got.Max < got.Min || (got.Min > 0) != (got.Source != collectors.AgeNone) {
			t.Errorf("%s: %+v", s.name, got)
		}
		s.best, s.age = got, youngest
	}
}

// tickLate returns the time since the last tick, which counts jiffies.
func tickLate(t *testing.T) time.Duration {
	t.Helper()
	var tick, now unix.Timespec
	must(t, "clock", unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &tick))
	must(t, "clock", unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return time.Duration(now.Nano() - tick.Nano())
}

func newSubject(t *testing.T, k socklab.Kind, f socklab.Family) *specimen {
	began := time.Now()
	s := &specimen{Conn: socklab.Make(t, k, f), name: fmt.Sprintf("%s %s", k, f)}
	s.making = time.Since(began).Seconds()
	switch k {
	case socklab.Established, socklab.EstablishedUnaccepted, socklab.Closing, socklab.ClosingOrphan, socklab.TimeWait:
		s.proven = 0.9
	case socklab.CloseWait, socklab.CloseWaitFIN, socklab.CloseWaitUnread, socklab.CloseWaitUnaccepted, socklab.FinWait2:
		s.proven, s.bounded, s.tight = 0.9, true, true
	case socklab.FinWait1, socklab.FinWait1Orphan, socklab.LastAck, socklab.LastAckOrphan:
		s.proven, s.bounded = 0.8, true // except for the first timeout
	case socklab.SynSent:
		s.Conn, s.proven, s.bounded = synSent(t, f), 0.5, true // except for the first second
	}
	s.bounded = s.bounded || k.State() == collectors.Closing
	// A peer that repeats its FIN renews the only evidence.
	if k.State() == collectors.Closing {
		s.proven = 0
	}
	// The kernel tells how long a FIN or SYN has waited only since Linux 6.7.
	if slices.Contains([]collectors.State{collectors.FinWait1, collectors.LastAck, collectors.SynSent}, k.State()) && socklab.KernelBefore(6, 7) {
		s.proven, s.unproven = 0, true
	}
	return s
}

// synSent makes a connection to a listener that stays deaf.
func synSent(t *testing.T, f socklab.Family) *socklab.Conn {
	t.Helper()
	domain := func(v4 bool) int {
		if v4 {
			return unix.AF_INET
		}
		return unix.AF_INET6
	}
	to := func(v4 bool, a netip.AddrPort) unix.Sockaddr {
		if v4 {
			return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
		}
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	l, err := socklab.Peer(t).Socket(domain(f != socklab.IPv6), unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(l) })
	must(t, "bind", unix.Bind(l, to(f != socklab.IPv6, netip.AddrPortFrom(f.Remote(), 0))))
	must(t, "listen", unix.Listen(l, 1))
	dropAll(t, l)
	fd, err := socklab.Home(t).Socket(domain(f == socklab.IPv4), unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	c := &socklab.Conn{Kind: socklab.SynSent, Family: f, FD: fd, Peer: -1, Remote: addrPort(name(t, l)), StartedBefore: time.Now()}
	t.Cleanup(c.CloseFD)
	if err := unix.Connect(fd, to(f == socklab.IPv4, c.Remote)); err != unix.EINPROGRESS {
		t.Fatalf("connect: %v", err)
	}
	c.Local, c.SeenAfter = addrPort(name(t, fd)), time.Now()
	return c
}

// In every state, the true age stays within the bounds as it grows.
func TestEvidence(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	const long = 3.5 // seconds
	var all []*specimen
	for _, k := range socklab.Kinds() {
		for _, f := range socklab.Families() {
			all = append(all, newSubject(t, k, f))
		}
	}
	all = append(all, disturbed(t)...)
	all = append(all, late(t)...)
	begin := time.Now()
	socklab.WaitFor(t, "the sockets to be old", func() bool {
		glanceAt(t, all)
		return time.Since(begin).Seconds() > long
	})
	for _, s := range all {
		got := s.best
		if s.proven == 0 && !s.bounded && s.Kind != socklab.Established && s.Kind.Shown() && got.Source != collectors.AgeNone {
			t.Errorf("%s: %+v, although nothing proves it", s.name, got)
		}
		if s.unproven && got.Min > 0 {
			t.Errorf("%s: %+v, although this kernel does not prove it", s.name, got)
		}
		if got.Min < s.proven*s.age-0.05 {
			t.Errorf("%s: only %.3fs proven of %.3fs: %+v", s.name, got.Min, s.age, got)
		}
		if got.Bounded != s.bounded {
			t.Errorf("%s: %+v after %.3fs", s.name, got, s.age)
		}
		if s.tight && got.Max-got.Min > 0.3+s.making { // between handshake and FIN
			t.Errorf("%s: %+v is not tight", s.name, got)
		}
	}
}

// late makes connections that were idle for a while before they entered their state: the
// time without data is not the age.
func late(t *testing.T) []*specimen {
	t.Helper()
	begin := map[socklab.Kind]func(c *socklab.Conn) error{
		socklab.CloseWait: func(c *socklab.Conn) error { return unix.Shutdown(c.Peer, unix.SHUT_WR) },
		socklab.FinWait2:  func(c *socklab.Conn) error { return unix.Shutdown(c.FD, unix.SHUT_WR) },
		socklab.FinWait1:  func(c *socklab.Conn) error { dropAll(t, c.Peer); return unix.Shutdown(c.FD, unix.SHUT_WR) },
		socklab.LastAck: func(c *socklab.Conn) error {
			must(t, "shutdown", unix.Shutdown(c.Peer, unix.SHUT_WR))
			socklab.WaitFor(t, "CLOSE_WAIT", func() bool { s, _ := c.Now(); return s == collectors.CloseWait })
			socklab.WaitFor(t, "the ACK", func() bool { return tcpInfo(t, c.Peer).State == uint8(collectors.FinWait2) })
			dropAll(t, c.Peer)
			c.StartedBefore = time.Now()
			return unix.Shutdown(c.FD, unix.SHUT_WR)
		},
	}
	var all []*specimen
	for _, f := range socklab.Families() {
		for k := range begin {
			s := &specimen{Conn: socklab.Make(t, socklab.Established, f), name: fmt.Sprintf("late %s %s", k, f), bounded: true}
			s.Kind = k
			all = append(all, s)
		}
	}
	socklab.WaitFor(t, "idle connections", func() bool { return time.Since(all[len(all)-1].SeenAfter) > 400*time.Millisecond })
	for _, s := range all {
		s.StartedBefore = time.Now()
		must(t, s.name, begin[s.Kind](s.Conn))
		socklab.WaitFor(t, s.name, func() bool { now, _ := s.Now(); return now == s.Kind.State() })
		s.SeenAfter = time.Now()
	}
	return all
}

// disturbed makes sockets on which something happens all the time.
func disturbed(t *testing.T) []*specimen {
	t.Helper()
	write := func(fd *int, every time.Duration) func() {
		var last time.Time
		return func() {
			if time.Since(last) > every {
				last = time.Now()
				_, err := unix.Write(*fd, []byte("x"))
				must(t, "write", err)
			}
		}
	}
	var all []*specimen
	add := func(name string, k socklab.Kind, f socklab.Family, bounded bool) *specimen {
		s := &specimen{Conn: socklab.Make(t, k, f), name: name, bounded: bounded}
		all = append(all, s)
		return s
	}
	for _, f := range socklab.Families() {
		for _, k := range []socklab.Kind{socklab.Established, socklab.CloseWait, socklab.CloseWaitUnread, socklab.FinWait2} {
			s := add(fmt.Sprintf("keepalive %s %s", k, f), k, f, k != socklab.Established)
			for opt, v := range map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 1} {
				must(t, "keepalive", unix.SetsockoptInt(s.FD, unix.SOL_TCP, opt, v))
			}
			must(t, "keepalive", unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
			s.proven = 0.01
		}
		s := add("data sent in CLOSE_WAIT "+string(f), socklab.CloseWait, f, true)
		s.disturb = write(&s.FD, 300*time.Millisecond)
		s = add("data received in FIN_WAIT2 "+string(f), socklab.FinWait2, f, true)
		s.disturb = write(&s.Peer, 300*time.Millisecond)
		s = add("data sent in ESTABLISHED "+string(f), socklab.Established, f, false)
		s.disturb = write(&s.FD, 300*time.Millisecond) // nothing was received: that stamp may mean no time at all
		s = add("data received in ESTABLISHED "+string(f), socklab.Established, f, false)
		s.disturb, s.proven = write(&s.Peer, 300*time.Millisecond), 0.9 // nothing was sent
	}
	return all
}

// filter makes a socket drop the segments that code (with offsets from the TCP header)
// selects.
func filter(t *testing.T, fd int, code []unix.SockFilter) {
	t.Helper()
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	must(t, "SO_ATTACH_FILTER", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}

func dropAll(t *testing.T, fd int) {
	filter(t, fd, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}})
}

// dropFIN lets everything through that does not have the FIN flag.
func dropFIN(t *testing.T, fd int) {
	filter(t, fd, []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 1, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
	})
}

func tcpInfo(t testing.TB, fd int) *unix.TCPInfo {
	t.Helper()
	i, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
	must(t, "TCP_INFO", err)
	return i
}

// Seconds spent repeating data before the FIN must not pass for the age of the FIN: not
// while the data is still unacknowledged, and not afterwards, when the timeout keeps its
// length (without time stamps, an ACK of repeated data is not a sample of the round
// trip).
func TestEvidenceDataBeforeFIN(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	var all, inFlight []*specimen
	for _, stamps := range []string{"1", "0"} {
		socklab.Home(t).Sysctl(t, "net/ipv4/tcp_timestamps", stamps)
		for _, timeout := range []int{0, 1500, 2500, 30_000} { // TCP_USER_TIMEOUT, ms
			for _, acked := range []bool{false, true} {
				c := socklab.Make(t, socklab.Established, socklab.IPv4)
				c.Kind = socklab.FinWait1
				if timeout > 0 {
					must(t, "user timeout", unix.SetsockoptInt(c.FD, unix.SOL_TCP, unix.TCP_USER_TIMEOUT, timeout))
				}
				dropAll(t, c.Peer)
				_, err := unix.Write(c.FD, []byte("in flight"))
				must(t, "write", err)
				s := &specimen{Conn: c, name: fmt.Sprintf("stamps %s, user timeout %d, acked %t", stamps, timeout, acked)}
				all = append(all, s)
				if !acked {
					inFlight = append(inFlight, s)
				}
			}
		}
	}
	for i, s := range all {
		socklab.WaitFor(t, "retransmissions", func() bool { return tcpInfo(t, s.FD).Retransmits >= 2 })
		s.StartedBefore = time.Now()
		must(t, "shutdown", unix.Shutdown(s.FD, unix.SHUT_WR))
		s.SeenAfter = time.Now()
		if i%2 == 1 {
			dropFIN(t, s.Peer)
		}
	}
	var most uint8
	begin := time.Now()
	socklab.WaitFor(t, "the FINs to be old", func() bool {
		glanceAt(t, all)
		for _, s := range inFlight {
			if s.best.Min > 0 && !s.wrong {
				s.wrong = true
				t.Errorf("%s: %+v with data in flight", s.name, s.best)
			}
		}
		most = max(most, tcpInfo(t, all[1].FD).Retransmits)
		return time.Since(begin) > 3500*time.Millisecond
	})
	if most < 2 {
		t.Errorf("nothing was put to the test: %+v, %d retransmissions of the FIN", all[1].best, most)
	}
}

// A SYN or FIN that does not even leave this host is repeated sooner than the
// timeout says (TCP_RESOURCE_PROBE_INTERVAL).
func TestEvidenceLocalCongestion(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	fin := socklab.Make(t, socklab.Established, socklab.IPv4)
	tc := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("tc", args...).CombinedOutput(); err != nil {
			t.Skipf("tc: %v: %s", err, out)
		}
	}
	// A queue that is too small for any packet.
	tc("qdisc", "add", "dev", "lab0", "root", "bfifo", "limit", "1")
	t.Cleanup(func() { tc("qdisc", "del", "dev", "lab0", "root") })
	syn := synSent(t, socklab.IPv4)
	fin.StartedBefore, fin.Kind = time.Now(), socklab.FinWait1
	must(t, "shutdown", unix.Shutdown(fin.FD, unix.SHUT_WR))
	fin.SeenAfter = time.Now()
	all := []*specimen{{Conn: syn, name: "SYN"}, {Conn: fin, name: "FIN"}}
	socklab.WaitFor(t, "retransmissions", func() bool {
		glanceAt(t, all)
		return tcpInfo(t, syn.FD).Retransmits >= 4
	})
}

// What the kernel did not show is not evidence.
func TestEvidenceMissing(t *testing.T) {
	full := collectors.TCPInfo{Len: 280, Retransmits: 3, Backoff: 3, RTO: 1_600_000, LastDataSent: 5000, LastDataRecv: 5000, LastAckRecv: 5000, BusyTime: 5_000_000}
	for s := range collectors.State(14) {
		for _, p := range []collectors.Protocol{collectors.TCP, collectors.UDP} {
			// Without any known field there is at most the timer of TIME_WAIT.
			got := look.Evidence(&collectors.Socket{Protocol: p, State: s, SendQueue: 1})
			if got != collectors.NoAge() {
				t.Errorf("%s %s: %+v", p, s, got)
			}
			known := collectors.InfoFields()
			got = look.Evidence(&collectors.Socket{Protocol: collectors.UDP, State: s, SendQueue: 1, Known: known, Info: full, Timer: collectors.TimerTimeWait})
			if got != collectors.NoAge() {
				t.Errorf("udp %s: %+v", s, got)
			}
		}
	}
	// A mini-socket in FIN_WAIT2 counts down from a time that it does not show.
	if got := look.Evidence(&collectors.Socket{Protocol: collectors.TCP, State: collectors.FinWait2, Timer: collectors.TimerTimeWait, TimerExpires: 1}); got != collectors.NoAge() {
		t.Errorf("FIN_WAIT2: %+v", got)
	}
	// Absurd values lead to no claim, or to a finite one.
	for _, i := range []collectors.TCPInfo{{Retransmits: 255, Backoff: 255, RTO: 1<<32 - 1}, {Retransmits: 255, Backoff: 0, RTO: 1<<32 - 1}, {Retransmits: 1, Backoff: 30, RTO: 0}} {
		for _, s := range []collectors.State{collectors.FinWait1, collectors.LastAck, collectors.SynSent} {
			got := look.Evidence(&collectors.Socket{Protocol: collectors.TCP, State: s, SendQueue: 1, Known: collectors.InfoFields(), Info: i})
			if got.Min != got.Min || got.Min < 0 || got.Min > 1e9 {
				t.Errorf("%s %+v: %+v", s, i, got)
			}
		}
	}
}
