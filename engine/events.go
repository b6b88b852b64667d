package engine

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

// watchStates opens the source of events if it is wanted.
func (e *Engine) watchStates() error {
	if e.events != nil || e.opts.Events == EventsOff || e.opts.Events != EventsOn && !e.watching {
		return nil
	}
	if e.world.OpenEvents == nil {
		return nil
	}
	events, err := e.world.OpenEvents()
	if err != nil && e.opts.Events == EventsOn {
		return fmt.Errorf("--events=on: %w", err)
	}
	if err != nil {
		e.log.Debug("ages without events", "error", err)
		return nil
	}
	e.log.Debug("ages by events")
	e.events = events
	return nil
}

// noteStates says of which states the program, or the breaker, needs ages.
func (e *Engine) noteStates(p *rules.Program) {
	// Of what is closed nothing but the descriptor is left: each would leave an entry.
	states := p.AgeStates() | p.EnforcedStates()&closing
	for _, g := range e.younger() {
		states |= g.judged.AgeStates() | g.judged.EnforcedStates()&closing
	}
	states &^= collectors.Mask(collectors.Close)
	if e.events == nil || e.noted == states {
		return
	}
	if err := e.events.SetStates(states); err != nil {
		e.log.Warn("events", "error", err)
		return
	}
	e.noted = states
}

// shownAge is what one record, read not later than now, and the kernel's own
// note of the time say of the age of a socket.
func (e *Engine) shownAge(s *collectors.Socket, now float64) collectors.Age {
	shown := evidence(s)
	if e.events == nil || !e.noted.Has(s.State) || s.Cookie == 0 || s.Protocol != collectors.TCP {
		return shown
	}
	since, ok := e.events.Since(s)
	if !ok {
		return shown
	}
	// It is in this state since then, and still was when it was looked up.
	age := math.Floor(max(0, now-since)*1000) / 1000
	return collectors.Age{Min: age, Max: age + 0.001, Bounded: true, Source: collectors.AgeEvent}
}

// ripens notes when a socket that a rule takes only later becomes old enough.
func (c *cycle) ripens(cand *Candidate) {
	age := &cand.Facts.Age
	if age.Source == collectors.AgeNone {
		return
	}
	for _, i := range cand.hits {
		rule := c.program.Rules[i]
		if rule.Mode != rules.ModeEnforce {
			continue
		}
		for _, limit := range rule.When.AgesOver() {
			if left := limit - still(cand, rule); left >= 0 {
				c.sooner(time.Duration(left * float64(time.Second)))
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

// grain is how far behind a threshold a look certainly finds it passed.
const grain = 2 * time.Millisecond

// sooner notes that another cycle would find something to do that long after this
// one's look.
func (c *cycle) sooner(d time.Duration) {
	at := c.ended.Add(d + grain)
	if c.report.Next.IsZero() || at.Before(c.report.Next) {
		c.report.Next = at
	}
}

// transitions tells, on the returned channel, that sockets have entered a state
// of interest. While nobody listens it waits.
func (e *Engine) transitions(ctx context.Context) <-chan struct{} {
	if e.events == nil {
		return nil
	}
	woke, events := make(chan struct{}), e.events
	go func() {
		for {
			if err := events.Wait(); err != nil {
				if !errors.Is(err, os.ErrClosed) {
					e.log.Warn("no more events", "error", err)
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
