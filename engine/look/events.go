package look

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// EventSource says whether to learn from kernel events when sockets enter their states.
type EventSource string

// The choices about events. Auto uses them while watching, where permitted.
const (
	EventsAuto EventSource = "auto"
	EventsOn   EventSource = "on"
	EventsOff  EventSource = "off"
)

// Watch opens the source of events if the options ask for it.
func (a *ages) Watch(repeats bool) error {
	if a.Events != nil || a.choice == EventsOff || a.choice != EventsOn && !repeats {
		return nil
	}
	if a.world.OpenEvents == nil {
		return nil
	}
	events, err := a.world.OpenEvents()
	if err != nil && a.choice == EventsOn {
		return fmt.Errorf("--events=on: %w", err)
	}
	if err != nil {
		a.log.Debug("ages without events", "error", err)
		return nil
	}
	a.log.Debug("ages by events")
	a.Events = events
	return nil
}

// NoteStates notes the states whose ages the programs, or the breaker, need.
func (a *ages) NoteStates(w Wanted) {
	// A closed socket is only a descriptor; noting it would leave an entry behind.
	states := w.Program.AgeStates() | w.Program.EnforcedStates()&closing
	for _, p := range w.Younger {
		states |= p.AgeStates() | p.EnforcedStates()&closing
	}
	states &^= collectors.Mask(collectors.Close)
	if a.Events == nil || a.Noted == states || a.lent {
		return
	}
	if err := a.Events.SetStates(states); err != nil {
		a.log.Warn("events", "error", err)
		return
	}
	a.Noted = states
}

// evidence bounds the time that a socket has been in its state, from one record.
func (a *ages) evidence(s *collectors.Socket) collectors.Age {
	if a.world.Invented != nil {
		return a.world.Invented.Age(s)
	}
	return Evidence(s)
}

// Shown returns the age that one record, read no later than now, and the kernel's event
// prove for a socket.
func (a *ages) Shown(s *collectors.Socket, now float64) collectors.Age {
	shown := a.evidence(s)
	if a.Events == nil || !a.Noted.Has(s.State) || s.Cookie == 0 || s.Protocol != collectors.TCP {
		return shown
	}
	since, ok := a.Events.Since(s)
	if !ok {
		return shown
	}
	// It has been in this state since then, and still was when we looked it up.
	least := math.Floor(max(0, now-since)*1000) / 1000
	return collectors.Age{Min: least, Max: least + 0.001, Bounded: true, Source: collectors.AgeEvent}
}

// ripens notes when a socket will be old enough for a rule.
func (c *Picture) ripens(cand *Candidate) {
	age := &cand.Facts.Age
	if age.Source == collectors.AgeNone {
		return
	}
	for _, i := range cand.Hits {
		rule := c.Program.Rules[i]
		if rule.Mode != rules.ModeEnforce {
			continue
		}
		for _, limit := range rule.When.AgesOver() {
			if left := limit - still(cand, rule); left >= 0 {
				c.Sooner(time.Duration(left * float64(time.Second)))
			}
		}
	}
}

// still returns how long a socket has been in its state and, if the rule asks for that,
// moved no data. Rules usually ask for the same time for both.
func still(cand *Candidate, rule *rules.Rule) float64 {
	if !rule.When.ReadsIdle() || !cand.Socket.Known.Has(collectors.FieldIdle) {
		return cand.Facts.Age.Min
	}
	r := cand.Record()
	return min(cand.Facts.Age.Min, collectors.FieldIdle.Doc().Num(&r))
}

// Grain is how long after a threshold a look is certain to find it passed.
const Grain = 2 * time.Millisecond

// Sooner notes that a cycle would find something to do this long after the look.
func (c *Picture) Sooner(d time.Duration) {
	at := c.Ended.Add(d + Grain)
	if c.Next.IsZero() || at.Before(c.Next) {
		c.Next = at
	}
}

// Transitions returns a channel that gets a value when sockets enter a state of
// interest. It blocks while nobody receives.
func (a *ages) Transitions(ctx context.Context) <-chan struct{} {
	if a.Events == nil {
		return nil
	}
	woke, events := make(chan struct{}), a.Events
	go func() {
		for {
			if err := events.Wait(); err != nil {
				if !errors.Is(err, os.ErrClosed) {
					a.log.Warn("no more events", "error", err)
				}
				return
			}
			select {
			case woke <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return woke
}

// Lost returns how many events were lost so far, as far as that is known.
func (a *ages) Lost() uint64 {
	if a.Events == nil {
		return 0
	}
	n, err := a.Events.Lost()
	if err != nil {
		a.log.Debug("lost events are not counted", "error", err)
	}
	return n
}

// Lend returns the source of events for a look beside those of the looker, which neither
// chooses states nor ends it.
func (a *ages) Lend() Lent { return Lent{a.Events, a.Noted} }

// Lent is a source of events that belongs to another looker, and the states that this has
// chosen.
type Lent struct {
	events world.Events // nil for none
	noted  collectors.StateMask
}

// Close stops the events.
func (a *ages) Close() {
	if a.Events != nil && !a.lent {
		_ = a.Events.Close()
		a.Events = nil
	}
}
