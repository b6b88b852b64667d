package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// stuckAt returns a listener in the tests' namespace whose queue takes two connections
// and has two, the process that holds it and never accepts, and the processes that share
// its port and accept.
func stuckAt(t *testing.T, port int, siblings ...string) (stuck *socklab.Conn, server *socklab.Holder, others []*socklab.Holder) {
	t.Helper()
	at := &unix.SockaddrInet4{Port: port}
	stuck = listenOn(t, unix.AF_INET, at, "", unix.SO_REUSEPORT)
	must(t, "listen", unix.Listen(stuck.FD, 1)) // one more is let in
	come(t, socklab.Peer(t), netip.AddrPortFrom(netip.MustParseAddr("10.9.0.1"), uint16(port)), 2)
	if n := backlog(t, stuck.FD); n != 2 {
		t.Fatalf("%d wait", n)
	}
	server = socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{stuck}, Program: "stuck"})
	for _, name := range siblings {
		c := listenOn(t, unix.AF_INET, at, "", unix.SO_REUSEPORT)
		others = append(others, socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: name}))
	}
	return stuck, server, others
}

// untilAll runs cycles until all findings of one cycle have a given decision.
func (l *lab) untilAll(t *testing.T, text string, want report.Decision) (r *report.Report) {
	t.Helper()
	p := l.rules(t, text)
	socklab.WaitFor(t, string(want), func() bool {
		r = l.run(t, p)
		for _, f := range r.Findings {
			if f.Decision != want {
				return false
			}
		}
		return len(r.Findings) > 0
	})
	return r
}

const (
	fullQueue = `port == 7301 and state == "LISTEN" and recv_queue > send_queue`
	queueing  = `port == 7302 and unaccepted and age > 0.1`
	forIt     = "{signal: TERM, listener: true, wait: 1m}"
)

// A server that no longer accepts is signalled, because of its listener or of what waits
// for it; the one that shares its port is not, and a rung without listener: true signals
// nobody.
func TestStuckServer(t *testing.T) {
	for when, port := range map[string]int{fullQueue: 7301, queueing: 7302} {
		t.Run(when, func(t *testing.T) {
			_, server, others := stuckAt(t, port, "sibling")
			l := newLab(t, Options{Live: true})
			for _, f := range l.untilAll(t, ruleFile("'"+when+"'", "{signal: TERM}"), report.DecideGuarded).Findings {
				if !server.Running() {
					t.Fatalf("it was signalled: %s", line(f))
				}
			}
			r := l.untilAll(t, ruleFile("'"+when+"'", forIt), report.DecideAct)
			noErrors(t, r)
			for _, f := range r.Findings {
				expect(t, f, report.DecideAct, "", actions.Ended)
			}
			if n := len(r.Findings); port == 7301 && n != 1 || port == 7302 && n != 2 {
				t.Errorf("%d findings:\n%s", n, describe(r))
			}
			if ws := server.Wait(t); ws.Signal() != unix.SIGTERM || !others[0].Running() {
				t.Errorf("it ended by %v, its sibling runs: %t", ws, others[0].Running())
			}
		})
	}
}

// A change between the decision and the effect spares the process: the server accepts
// again, or another process listens, too.
func TestStuckServerRecovers(t *testing.T) {
	for when, port := range map[string]int{fullQueue: 7301, queueing: 7302} {
		for _, change := range []string{"accepts", "shares"} {
			t.Run(when+" "+change, func(t *testing.T) {
				stuck := listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: port}, "")
				must(t, "listen", unix.Listen(stuck.FD, 1))
				come(t, socklab.Peer(t), netip.AddrPortFrom(netip.MustParseAddr("10.9.0.1"), uint16(port)), 2)
				dup, err := unix.FcntlInt(uintptr(stuck.FD), unix.F_DUPFD_CLOEXEC, 3)
				must(t, "dup", err)
				t.Cleanup(func() { _ = unix.Close(dup) })
				server := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{stuck}, Program: "stuck"})
				l := newLab(t, Options{Live: true}).stranger()
				text := ruleFile("'"+when+"'", "{signal: {signal: TERM, listener: true, owners: all}}")
				p := l.rules(t, text)
				var looked *report.Report
				socklab.WaitFor(t, "a decision", func() bool {
					var err error
					looked, err = l.Look(t.Context(), p)
					must(t, "look", err)
					return len(looked.Findings) > 0 && looked.Findings[0].Decision == report.DecideAct
				})
				want := "does not match any more"
				if change == "accepts" {
					for range 2 {
						fd, _, err := accept(dup)
						must(t, "accept", err)
						t.Cleanup(func() { _ = unix.Close(fd) })
					}
				} else {
					socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: dup}}, Program: "second"})
					want = "holds it now"
				}
				// The engine asks again who holds it only if the last answer is not
				// recent.
				socklab.WaitFor(t, "the answer to be old", func() bool {
					return time.Since(looked.Findings[0].OwnersAt) > l.hand.Last.RecentFor()
				})
				r := l.Act(t.Context(), p, looked)
				l.Finish(t.Context(), r)
				for _, f := range r.Findings {
					for _, a := range f.Actions { // on both processes
						if a.Result != actions.Changed || !strings.Contains(a.Detail, want) {
							t.Errorf("not %s: %s", want, line(f))
						}
					}
				}
				if !server.Running() {
					t.Errorf("it was signalled:\n%s", describe(r))
				}
			})
		}
	}
}

func accept(listener int) (fd int, sa unix.Sockaddr, err error) {
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if fd, sa, err = unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); err != unix.EAGAIN || time.Since(began) > time.Minute {
			return fd, sa, err
		}
	}
}
