package engine

import (
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/tunpeer"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
)

// envRounds overrides how often a descriptor is connected again.
const envRounds = "SOCKWARDEN_ROUNDS"

// eye looks at one socket again and again, and remembers what it saw.
type eye struct {
	conn   *sockdiag.Conn
	memory *memory.Memory
	sock   collectors.Socket
}

// opens returns an eye on the socket with that local end.
func opens(t *testing.T, local netip.AddrPort) *eye {
	t.Helper()
	conn, err := sockdiag.Dial(-1)
	must(t, "dial", err)
	t.Cleanup(func() { _ = conn.Close() })
	rec, _ := recordOf(t, local)
	return &eye{conn: conn, memory: memory.NewMemory(), sock: rec}
}

// age returns what this look and those before it prove.
func (e *eye) age(t *testing.T) collectors.Age {
	t.Helper()
	began := world.Mono()
	rec, err := e.conn.Get(t.Context(), &e.sock)
	must(t, "look", err)
	now := world.Mono()
	return e.memory.Observe(collectors.KeyOf(&rec), memory.MarkOf(&rec, began, now), look.Evidence(&rec), began, now)
}

// notOlderThan checks the age against the time of the descriptor's last disconnect, and
// returns how much too old it was, 0 if it was not.
func (e *eye) notOlderThan(t *testing.T, round int, since time.Time) float64 {
	t.Helper()
	got := e.age(t)
	if truth := time.Since(since).Seconds(); got.Min > truth+tolerance {
		t.Errorf("round %d: %+v, but the connection is at most %.3fs old", round, got, truth)
		return got.Min - truth
	}
	return 0
}

// rounds returns how often a descriptor is connected again.
func rounds(t *testing.T, usual int) int {
	if text := os.Getenv(envRounds); text != "" {
		n, err := strconv.Atoi(text)
		must(t, envRounds, err)
		return n
	}
	return usual
}

// A descriptor is connected again every few milliseconds, with a look at each connection:
// a stamp cannot tell one from the next, but together they are not one old connection.
func TestAgeConnectedAgainAndAgain(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	d := tunpeer.Open(t)
	for _, c := range []struct {
		name  string
		state collectors.State
		gap   time.Duration
	}{
		{"to itself", collectors.Established, 14 * time.Millisecond},
		{"to itself, fast", collectors.Established, time.Millisecond},
		{"to nobody", collectors.SynSent, 14 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			families(t, func(t *testing.T, v6 bool) {
				var s *sock
				var to netip.AddrPort
				if c.state == collectors.SynSent {
					s = keepsPort(t, tunpeer.Local(v6))
					peer := d.Await(v6)
					peer.Quiet(true)
					to = peer.Peer
				} else {
					s = keepsPort(t, loopback(v6))
					to = s.local
				}
				s.connect(t, to)
				s.until(t, c.state)
				e := opens(t, s.local)
				wrong, worst := 0, 0.0
				n := rounds(t, 40)
				for i := range n {
					since := time.Now()
					s.disconnect(t)
					s.connect(t, to)
					s.until(t, c.state)
					if by := e.notOlderThan(t, i, since); by > 0 {
						wrong, worst = wrong+1, max(worst, by)
					}
					passes(t, since, c.gap)
				}
				t.Logf("%d of %d ages were too old, by %.3fs at most", wrong, n, worst)
			})
		})
	}
}

func loopback(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Loopback()
	}
	return netip.MustParseAddr("127.0.0.1")
}

// An old connection has just moved data when another takes its place and moves as much:
// the old one's stamps are as new as the new one's.
func TestAgeConnectedAgainAfterData(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	families(t, func(t *testing.T, v6 bool) {
		s := keepsPort(t, loopback(v6))
		var e *eye
		talk := func() {
			_, err := unix.Write(s.fd, []byte("x"))
			must(t, "write", err)
			socklab.WaitFor(t, "the ACK", func() bool { return tcpInfo(t, s.fd).Unacked == 0 })
			_, err = unix.Read(s.fd, make([]byte, 1))
			must(t, "read", err)
		}
		wrong, worst := 0, 0.0
		n := rounds(t, 5)
		for i := range n {
			since := time.Now()
			if i > 0 {
				s.disconnect(t)
			}
			s.connect(t, s.local)
			s.until(t, collectors.Established)
			if i == 0 {
				e = opens(t, s.local)
			}
			talk()
			if by := e.notOlderThan(t, i, since); by > 0 {
				wrong, worst = wrong+1, max(worst, by)
			}
			passes(t, since, 150*time.Millisecond)
			e.notOlderThan(t, i, since)
			s.disconnect(t) // the next one begins with counters of its own
			since = time.Now()
			s.connect(t, s.local)
			s.until(t, collectors.Established)
			e.notOlderThan(t, i, since)
			passes(t, since, 250*time.Millisecond)
			if got := e.age(t); got.Min < 0.1 {
				t.Errorf("round %d: %+v after 0.25s", i, got)
			}
			talk() // just before the look
			e.notOlderThan(t, i, since)
		}
		t.Logf("%d of %d ages were too old, by %.3fs at most", wrong, n, worst)
	})
}
