package engine

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/tunpeer"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// forged returns a connection held by a process of its own, whose peer has just closed it
// in a way that makes it look old; it was closed after that time.
func forged(t *testing.T, d *tunpeer.Device, v6 bool) (*sock, *socklab.Holder, time.Time) {
	t.Helper()
	s, c := bound(t, tunpeer.Local(v6)), d.Await(v6)
	s.connect(t, c.Peer)
	began := s.until(t, collectors.Established)
	_, err := unix.Write(s.fd, []byte("data"))
	must(t, "write", err)
	socklab.WaitFor(t, "the ACK", func() bool { return tcpInfo(t, s.fd).Unacked == 0 })
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: s.fd, Peer: -1}}})
	s.fd = -1
	passes(t, began, 800*time.Millisecond)
	closed := time.Now()
	c.Send(tunpeer.FIN|tunpeer.ACK, nil, -2)
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool { rec, _ := recordOf(t, s.local); return rec.State == collectors.CloseWait })
	return s, h, closed
}

// seenOnceRules are rules that act on the process of such a connection, each in another
// way: at once, later in a ladder, by group, by idle times.
var seenOnceRules = map[string]string{
	"signal":  ruleFile("state == 'CLOSE_WAIT' && age > 0.5", "{signal: TERM}"),
	"exec":    ruleFile("state == 'CLOSE_WAIT' && age > 0.5", "wide"),
	"idle":    ruleFile("state == 'CLOSE_WAIT' && ack_idle > 0.5", "{signal: TERM}"),
	"unless":  ruleFile("state == 'CLOSE_WAIT'", "{signal: TERM}", "unless: age < 0.5"),
	"later":   ruleFile("state == 'CLOSE_WAIT' && age > 0.5", "refuses, {signal: TERM}"),
	"held":    ruleFile("state == 'CLOSE_WAIT' && age > 0.5", "destroy, {signal: TERM, if: result == 'fd_still_held'}"),
	"group":   ruleFile("state == 'CLOSE_WAIT' && age > 0.5", "{signal: TERM}", "group: pid", "having: count > 0"),
	"max_age": ruleFile("state == 'CLOSE_WAIT'", "{signal: TERM}", "group: pid", "having: max_age > 0.5"),
}

// scripts returns an action that does more than end a connection, and an action on a
// connection that fails.
func scripts() (wide, refuses *script) {
	wide = outcomes("wide", actions.Outcome{Result: actions.Done})
	refuses = outcomes("refuses", actions.Outcome{Result: actions.Refused})
	refuses.single = true
	return wide, refuses
}

// closesBefore is a clock that does something before the first long wait, that for the second
// look.
type closesBefore struct {
	world.Clock
	once sync.Once
	f    func()
}

func (c *closesBefore) After(d time.Duration) <-chan time.Time {
	if d > look.SecondLook/10 { // shorter than that is the wait for an effect
		c.once.Do(c.f)
	}
	return c.Clock.After(d)
}

// A peer that forges the age of its own connection does not get a program killed that
// closes what the peer has closed.
func TestForgedAgeKillsNobody(t *testing.T) {
	t.Parallel()
	for name, text := range seenOnceRules {
		t.Run(name, func(t *testing.T) {
			if socklab.Apart(t) {
				return
			}
			d := tunpeer.Open(t)
			for end := time.Now().Add(2 * time.Minute); !sparesWhatCloses(t, d, text, len(name)%2 == 1); { // in both families
				if time.Now().After(end) {
					t.Fatal("it does not wait for a second look")
				}
			}
		})
	}
}

// sparesWhatCloses is one try; it returns false if there was no need to wait for the second
// look: on a busy machine the time is over by then.
func sparesWhatCloses(t *testing.T, d *tunpeer.Device, text string, v6 bool) (waited bool) {
	t.Helper()
	wide, refuses := scripts()
	l := newLab(t, Options{Live: true}, wide, refuses)
	l.stranger()
	p := l.rules(t, text)
	_, h, _ := forged(t, d, v6)
	l.world.Clock = &closesBefore{Clock: l.world.Clock, f: func() { h.CloseSockets(t); waited = true }}
	r := l.run(t, p)
	if waited && (!h.Running() || len(wide.applied) > 0) {
		t.Errorf("its process was acted on\n%s", describe(r))
	}
	h.Kill(t)
	return waited
}

// The same run acts on what is still there a second later.
func TestSeenTwiceInOneRun(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"signal", "exec", "later", "held", "group"} {
		text := seenOnceRules[name]
		t.Run(name, func(t *testing.T) {
			if socklab.Apart(t) {
				return
			}
			wide, refuses := scripts()
			l := newLab(t, Options{Live: true}, wide, refuses)
			l.stranger()
			_, h, _ := forged(t, tunpeer.Open(t), false)
			p, began := l.rules(t, text), time.Now()
			r := l.run(t, p)
			if took := time.Since(began); took < time.Second {
				t.Errorf("after %s", took)
			}
			if name == "exec" {
				if len(wide.applied) != 1 {
					t.Errorf("not acted on\n%s", describe(r))
				}
				return
			}
			h.Wait(t)
		})
	}
}

// A rule that reads no time does not wait, nor does one that acts only on the connection.
func TestSeenOnceIsEnough(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	d := tunpeer.Open(t)
	for text, signals := range map[string]bool{
		ruleFile("state == 'CLOSE_WAIT'", "{signal: TERM}"):            true,
		ruleFile("state == 'CLOSE_WAIT' && age > 0.5", "destroy"):      false,
		ruleFile("state == 'CLOSE_WAIT' && age > 0.5", "log, destroy"): false,
	} {
		l := newLab(t, Options{Live: true})
		l.stranger()
		_, h, _ := forged(t, d, false)
		r := l.cycle(t, l.rules(t, text))
		if again := l.journal.lines("looking again before"); len(again) > 0 {
			t.Errorf("%s: %s", text, again)
		}
		if len(r.Findings) != 1 || r.Findings[0].Decision != report.DecideAct {
			t.Errorf("%s\n%s", describe(r), text)
		}
		l.Finish(t.Context(), r)
		if !signals { // what it still holds must not reach the next one
			must(t, "kill", unix.Kill(h.PID, unix.SIGKILL))
		}
		h.Wait(t)
	}
}

// A watcher does not wait in its cycle: it looks again a second later, and says why.
func TestWatcherLooksTwice(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	d := tunpeer.Open(t)
	l := newLab(t, Options{Live: true, Events: look.EventsOff, StateFile: t.TempDir() + "/state.json"})
	l.stranger().watching()
	_, h, _ := forged(t, d, false)
	p := l.rules(t, seenOnceRules["signal"])
	r := l.cycle(t, p)
	seen := time.Now()
	if len(r.Findings) != 1 || r.Findings[0].Decision != report.DecidePending {
		t.Fatalf("%s", describe(r))
	}
	expect(t, r.Findings[0], report.DecidePending, "second look")
	if left := time.Until(r.Next); r.Next.IsZero() || left > time.Second+look.Grain {
		t.Errorf("looks again in %s", left)
	}
	passes(t, seen, time.Second+100*time.Millisecond)
	// The first look counts for another run with the same state file.
	must(t, "save", l.store.Save())
	next := newLab(t, Options{StateFile: l.store.State.Path})
	next.stranger().watching()
	if r := next.cycle(t, next.rules(t, seenOnceRules["signal"])); len(r.Findings) != 1 || r.Findings[0].Decision != report.DecideAct {
		t.Errorf("from the state file: %s", describe(r))
	}
	r = l.run(t, p)
	if len(r.Findings) != 1 || r.Findings[0].Decision != report.DecideAct {
		t.Fatalf("%s", describe(r))
	}
	h.Wait(t)
}

// An event needs no second look, and is not forged.
func TestEventNeedsNoSecondLook(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	d := tunpeer.Open(t)
	l := newLab(t, Options{Live: true, Events: look.EventsOn})
	l.stranger().watching()
	p := l.rules(t, ruleFile("state == 'CLOSE_WAIT' && age > 0.3", "{signal: TERM}"))
	l.looker.Ages.NoteStates(l.judge.Council.Wanted(p))
	_, h, closed := forged(t, d, false)
	if r := l.cycle(t, p); time.Since(closed) < 300*time.Millisecond && len(r.Findings) > 0 {
		t.Errorf("the event does not win: %s", describe(r))
	}
	passes(t, time.Now(), 300*time.Millisecond)
	r := l.cycle(t, p)
	if time.Since(closed) < time.Second && (len(r.Findings) != 1 || r.Findings[0].Decision != report.DecideAct || r.Findings[0].Facts.Age.Source != collectors.AgeEvent) {
		t.Errorf("%s %s", describe(r), fmt.Sprint(r.Findings))
	}
	l.Finish(t.Context(), r)
	h.Wait(t)
}
