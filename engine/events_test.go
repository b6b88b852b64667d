package engine

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// A socket that enters its state while events are watched has an exact age; one
// that was in it before has what its record proves.
func TestEventAge(t *testing.T) {
	before := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	l := newLab(t, Options{Events: EventsOn})
	p := l.rules(t, "version: 1\nrules:\n  - {name: r, mode: observe, when: 'state == \"CLOSE_WAIT\" && age >= 0', then: [destroy]}\n")
	l.cycle(t, p) // from now on the state is of interest
	for _, f := range socklab.Families() {
		t.Run(string(f), func(t *testing.T) {
			from := monotonic()
			c := socklab.Make(t, socklab.CloseWait, f)
			to := monotonic()
			for range 3 {
				began := monotonic()
				r := l.cycle(t, p)
				ended := monotonic()
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

// Where events are off nothing is attached.
func TestEventsOff(t *testing.T) {
	for _, o := range []Options{{Events: EventsOff}, {}} {
		l := newLab(t, o)
		if l.events != nil {
			t.Errorf("%+v: events are watched", o)
		}
	}
}

// However long the interval, what becomes old enough is acted on in time: by a
// socket that the last look saw, and by one that has come since.
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
	w := watch(t, Options{Live: true, Events: EventsOn}, time.Hour, map[string]string{"a.yaml": ruleFile(rule, "note", "limits: {cooldown: 1h}")}, note)
	socklab.WaitFor(t, "the first cycle", func() bool { return len(w.journal.lines("msg=cycle")) > 0 })
	var late []time.Duration
	for i := range 4 {
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		holder(t, c)
		entered := time.Now()
		var at time.Time
		socklab.WaitFor(t, fmt.Sprintf("action %d", i), func() bool {
			mu.Lock()
			defer mu.Unlock()
			at = acted[c.Local.Port()]
			return !at.IsZero()
		})
		late = append(late, at.Sub(entered)-threshold)
	}
	slices.Sort(late)
	t.Logf("behind the threshold by %v", late)
	// The holder starts after the socket has entered its state.
	if late[0] < -500*time.Millisecond || late[len(late)/2] > 500*time.Millisecond {
		t.Errorf("behind the threshold by %v", late)
	}
}
