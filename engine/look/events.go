package look

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"sockwarden/collectors"
	"sockwarden/rules"
)

// EventSource says whether the kernel is asked when sockets enter their states.
type EventSource string

// The choices about events. Auto takes them while watching, where it may.
const (
	EventsAuto EventSource = "auto"
	EventsOn   EventSource = "on"
	EventsOff  EventSource = "off"
)

// Watch opens the source of events if it is wanted.
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

// NoteStates says of which states programs, or the breaker, need ages.
func (a *ages) NoteStates(w Wanted) {
	// Of what is closed nothing but the descriptor is left: each would leave an entry.
	states := w.Program.AgeStates() | w.Program.EnforcedStates()&closing
	for _, p := range w.Younger {
		states |= p.AgeStates() | p.EnforcedStates()&closing
	}
	states &^= collectors.Mask(collectors.Close)
	if a.Events == nil || a.Noted == states {
		return
	}
	if err := a.Events.SetStates(states); err != nil {
		a.log.Warn("events", "error", err)
		return
	}
	a.Noted = states
}

// Shown is what one record, read not later than now, and the kernel's own
// note of the time say of the age of a socket.
func (a *ages) Shown(s *collectors.Socket, now float64) collectors.Age {
	shown := Evidence(s)
	if a.Events == nil || !a.Noted.Has(s.State) || s.Cookie == 0 || s.Protocol != collectors.TCP {
		return shown
	}
	since, ok := a.Events.Since(s)
	if !ok {
		return shown
	}
	// It is in this state since then, and still was when it was looked up.
	least := math.Floor(max(0, now-since)*1000) / 1000
	return collectors.Age{Min: least, Max: least + 0.001, Bounded: true, Source: collectors.AgeEvent}
}

// ripens notes when a socket that a rule takes only later becomes old enough.
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

// still returns for how long a socket has been in its state and, if the rule asks
// for that, moved no data: the two are mostly asked to be as long.
func still(cand *Candidate, rule *rules.Rule) float64 {
	if !rule.When.ReadsIdle() || !cand.Socket.Known.Has(collectors.FieldIdle) {
		return cand.Facts.Age.Min
	}
	r := cand.Record()
	return min(cand.Facts.Age.Min, collectors.FieldIdle.Doc().Num(&r))
}

// Grain is how far behind a threshold a look certainly finds it passed.
const Grain = 2 * time.Millisecond

// Sooner notes that another cycle would find something to do that long after this
// one's look.
func (c *Picture) Sooner(d time.Duration) {
	at := c.Ended.Add(d + Grain)
	if c.Next.IsZero() || at.Before(c.Next) {
		c.Next = at
	}
}

// Transitions tells, on the returned channel, that sockets have entered a state
// of interest. While nobody listens it waits.
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

// Close gives the events up.
func (a *ages) Close() {
	if a.Events != nil {
		_ = a.Events.Close()
		a.Events = nil
	}
}
