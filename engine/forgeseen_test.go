package engine

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/tunpeer"
	"sockwarden/engine/look"
)

// observedAge is the age that a rule finds.
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

// A descriptor that is disconnected and connected again between the same ports keeps its
// cookie and its state.
func TestAgeConnectedAgain(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
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
			// The same holds for another run, which knows the socket from the state file.
			other := newLab(t, Options{StateFile: l.store.State.Path})
			for _, l := range []*lab{l, other} {
				if got := observedAge(t, l, text, s.local); got.Min > time.Since(state).Seconds() {
					t.Errorf("%d segments: %+v, it is at most %s old", talk, got, time.Since(state))
				}
			}
		}
	})
}

// Trying connect(2) again on a bound socket begins a new SYN_SENT.
func TestAgeConnectTriedAgain(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
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
			passes(t, first, 2300*time.Millisecond)
		}
		least := time.Since(first).Seconds() - 0.1
		if got := observedAge(t, l, text, s.local); got.Min < 1 || !got.Bounded || got.Max < least {
			t.Errorf("%+v after %.1fs", got, least)
		}
		s.disconnect(t)
		c.AwaitAgain()
		state := time.Now()
		s.connect(t, c.Peer)
		s.until(t, collectors.SynSent)
		got := observedAge(t, l, text, s.local)
		if truth := time.Since(state).Seconds(); got.Min > truth || !got.Bounded || got.Max > 2+truth {
			t.Errorf("%+v, it is at most %.3fs old", got, truth)
		}
	})
}

// The one forgery that remains: only the peer can do it, and only to its own connection.
// This is why one look is not enough to signal a process.
func TestAgeOldACKOnFIN(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
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
		if age := look.Evidence(&rec); age.Min <= now.Sub(state).Seconds() {
			t.Errorf("%+v: the kernel renews the stamp by now; take the exception out of docs/ages.md", age)
		}
	})
}

// A time namespace has its own CLOCK_MONOTONIC: what a state file says about time there
// means nothing here, whoever wrote it.
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
