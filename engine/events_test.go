package engine

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/look"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// A socket that enters its state while events are watched has an exact age; one that was
// in it before has the age that its record proves.
func TestEventAge(t *testing.T) {
	before := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	l := newLab(t, Options{Events: look.EventsOn})
	p := l.rules(t, "version: 1\nrules:\n  - {name: r, mode: observe, when: 'state == \"CLOSE_WAIT\" && age >= 0', then: [destroy]}\n")
	l.cycle(t, p) // from now on the state is of interest
	for _, f := range socklab.Families() {
		t.Run(string(f), func(t *testing.T) {
			from := world.Mono()
			c := socklab.Make(t, socklab.CloseWait, f)
			to := world.Mono()
			for range 3 {
				began := world.Mono()
				r := l.cycle(t, p)
				ended := world.Mono()
				age := findingOf(t, r, c).Facts.Age
				if age.Source != collectors.AgeEvent || !age.Bounded || age.Min > ended-from || age.Max < began-to {
					t.Errorf("age %+v, it is between %f and %f", age, began-to, ended-from)
				}
				if age := findingOf(t, r, before).Facts.Age; age.Source == collectors.AgeEvent {
					t.Errorf("of a socket from before: %+v", age)
				}
			}
		})
	}
}

// With events off, nothing is attached.
func TestEventsOff(t *testing.T) {
	for _, o := range []Options{{Events: look.EventsOff}, {}} {
		l := newLab(t, o)
		if l.looker.Ages.Events != nil {
			t.Errorf("%+v: events are watched", o)
		}
	}
}

// However long the interval, the engine acts in time on a socket that becomes old enough,
// whether the last look saw it or it has come since.
func TestActsInTime(t *testing.T) {
	const threshold = time.Second
	var mu sync.Mutex
	acted := map[uint16]time.Time{}
	note := &script{name: "note"}
	note.apply = func(target actions.Target) actions.Outcome {
		mu.Lock()
		defer mu.Unlock()
		acted[target.Sockets[0].Socket.LocalPort] = time.Now()
		return actions.Outcome{Result: actions.Gone}
	}
	note.verify = func(actions.Target) actions.Outcome { return actions.Outcome{Result: actions.Gone} }
	rule := fmt.Sprintf(`state == "CLOSE_WAIT" && age > %d`, threshold/time.Second)
	w := watchRules(t, Options{Live: true, Events: look.EventsOn}, time.Hour, map[string]string{"a.yaml": ruleFile(rule, "note", "limits: {cooldown: 1h}")}, note)
	socklab.WaitFor(t, "the first cycle", func() bool { return len(w.journal.lines("msg=cycle")) > 0 })
	// On a busy machine some come late; if nothing announced them, all would come only after
	// an hour. The start of a process shows how busy it is.
	var late []time.Duration
	quickest, inTime := time.Hour, 0
	for i, end := 0, time.Now().Add(2*time.Minute); i < 2 || inTime < 2; i++ {
		if time.Now().After(end) {
			t.Fatalf("behind the threshold by %v, a process starts in %s", late, quickest)
		}
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		began := time.Now()
		holder(t, c)
		entered := time.Now()
		quickest = min(quickest, entered.Sub(began))
		var at time.Time
		socklab.WaitFor(t, fmt.Sprintf("action %d", i), func() bool {
			mu.Lock()
			defer mu.Unlock()
			at = acted[c.Local.Port()]
			return !at.IsZero()
		})
		if age := at.Sub(c.StartedBefore); age < threshold {
			t.Errorf("acted on at the age of %s at most", age)
		}
		late = append(late, at.Sub(entered)-threshold)
		inTime = 0
		for _, d := range late {
			if d <= max(time.Second, 20*quickest) {
				inTime++
			}
		}
	}
	t.Logf("behind the threshold by %v", late)
}

// Cycles that come early because something ripens share the limits and the breaker of
// their interval, and do not reset a tripped breaker.
func TestEarlyCyclesShareLimits(t *testing.T) {
	more := func() { holder(t, socklab.Many(t, socklab.CloseWait, socklab.IPv4, 3)...) }
	acted := func(l *lab, p *rules.Program, early bool) int {
		l.watching().judge.Early = early
		return l.run(t, p).Summary.Acted
	}
	t.Run("per_cycle", func(t *testing.T) {
		l := newLab(t, Options{Live: true})
		p := l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "destroy", "limits: {per_cycle: 4, cooldown: 0}"))
		more()
		more()
		for i, want := range []int{4, 0, 0} {
			if n := acted(l, p, i > 0); n != want {
				t.Errorf("cycle %d acted on %d, not %d", i, n, want)
			}
		}
		if n := acted(l, p, false); n != 2 {
			t.Errorf("the next interval acted on %d, not 2", n)
		}
	})
	t.Run("breaker", func(t *testing.T) {
		l := newLab(t, Options{Live: true})
		p := l.rules(t, "version: 1\ndefaults: {breaker: {count: 5}}\nrules:\n  - {name: r, when: 'state == \"CLOSE_WAIT\"', then: [destroy]}\n")
		more()
		if n := acted(l, p, false); n != 3 {
			t.Fatalf("acted on %d", n)
		}
		more()
		for range 4 {
			if n := acted(l, p, true); n != 0 {
				t.Errorf("an early cycle acted on %d", n)
			}
		}
		for i, want := range []int{0, 3} {
			if n := acted(l, p, false); n != want {
				t.Errorf("calm cycle %d acted on %d, not %d", i, n, want)
			}
		}
	})
}
