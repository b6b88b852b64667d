package watch

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// journal keeps what is logged.
type journal struct{ text bytes.Buffer }

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&j.text, nil)) }

// lines returns the lines that contain all of the words.
func (j *journal) lines(words ...string) (found []string) {
	for line := range strings.Lines(j.text.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// A cycle that takes more than half the interval stretches it to twice the cycle's
// length; the log says once that this begins, and once that it ends.
func TestStretch(t *testing.T) {
	var j journal
	w := &watcher{Parts: Parts{Log: j.logger()}}
	const s = time.Second
	for i, step := range []struct {
		took, wait            time.Duration
		stretched, configured int // lines so far
	}{
		{0, 10 * s, 0, 0},
		{3 * s, 7 * s, 0, 0},
		{5 * s, 5 * s, 0, 0}, // half is not more than half
		{6 * s, 6 * s, 1, 0},
		{5*s + 1, 5*s + 1, 1, 0},
		{10 * s, 10 * s, 1, 0},
		{25 * s, 25 * s, 1, 0},
		// Nothing more is logged until ten cycles in a row were short.
		{4 * s, 6 * s, 1, 0},
		{20 * s, 20 * s, 1, 0},
		{4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 0},
		{4 * s, 6 * s, 1, 1},
		{4 * s, 6 * s, 1, 1},
		{20 * s, 20 * s, 2, 1},
	} {
		if wait := w.stretch(10*s, step.took); wait != step.wait {
			t.Errorf("%d: waits %s after %s, not %s", i, wait, step.took, step.wait)
		}
		if a, b := len(j.lines("interval stretched")), len(j.lines("interval as configured again")); a != step.stretched || b != step.configured {
			t.Errorf("%d: said %d and %d times", i, a, b)
		}
	}
	if len(j.lines("level=WARN", "took=6s interval=10s stretched=12s")) != 1 {
		t.Errorf("said %q", j.lines("stretched"))
	}
}

// TestReadSoon: rules are read when their directory has been quiet for a moment, and not
// much later where it never is.
func TestReadSoon(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration // between two events, 0 for one event
		after time.Duration
	}{
		"one event":       {0, debounce},
		"a few":           {debounce / 2, patience},
		"always":          {time.Millisecond, patience},
		"now and then":    {debounce, debounce},
		"as an afterword": {2 * debounce, debounce},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &watcher{Parts: Parts{World: &world.World{Clock: world.SystemClock()}}}
				w.schedule.quiet = time.NewTimer(time.Hour)
				w.schedule.quiet.Stop()
				tick := make(<-chan time.Time)
				if c.every > 0 {
					ticker := time.NewTicker(c.every)
					defer ticker.Stop()
					tick = ticker.C
				}
				began := time.Now()
				w.readSoon()
				for {
					select {
					case <-tick:
						if time.Since(began) < c.after { // both at the same time: either may come first
							w.readSoon()
						}
						continue
					case <-w.schedule.quiet.C:
					}
					break
				}
				if took := time.Since(began); took != c.after {
					t.Errorf("read after %s, not %s", took, c.after)
				}
			})
		})
	}
}

// A watcher reports what has tripped at once, hourly, and when the number changes much,
// but not in between.
func TestTrippedIsSaid(t *testing.T) {
	var j journal
	known := memory.NewMemory()
	n := notices{log: j.logger(), memory: known, tripped: map[string]said{}}
	now, other := time.Now(), errors.New("other")
	for i, c := range []struct {
		after        time.Duration
		living, calm int
		lines        int
	}{
		{0, 600, 0, 1},
		{time.Minute, 601, 0, 0},
		{time.Minute, 901, 0, 1},  // half as much again
		{time.Minute, 1000, 0, 0}, // of what was reported
		{58 * time.Minute, 1000, 0, 0},
		{time.Minute, 1000, 0, 1}, // an hour after the last report
		{time.Minute, 600, 0, 1},
		{time.Minute, 3, 2, 0}, // it calms down
	} {
		now = now.Add(c.after)
		before := len(j.lines("breaker tripped, acted on none"))
		known.Tripped["x"] = memory.CalmCycles
		rest := n.trips([]error{other, &report.TrippedError{Name: "x", Living: c.living, Calm: c.calm, What: "w", Limit: "count 5", GoOn: "--breaker"}}, now)
		if len(rest) != 1 || !errors.Is(rest[0], other) {
			t.Errorf("%d: %v", i, rest)
		}
		if got := len(j.lines("level=WARN", "breaker tripped, acted on none")) - before; got != c.lines {
			t.Errorf("%d: %d lines", i, got)
		}
	}
	if lines := j.lines("breaker tripped"); !strings.HasSuffix(lines[len(lines)-1], `would_act=w limit="count 5" lasts=1h3m go_on=--breaker`) {
		t.Errorf("%q", lines[len(lines)-1])
	}
	// It has ended, and trips again.
	delete(known.Tripped, "x")
	n.trips(nil, now)
	known.Tripped["x"] = memory.CalmCycles
	before := len(j.lines("breaker tripped"))
	n.trips([]error{&report.TrippedError{Name: "x", Living: 600}}, now)
	if len(j.lines("breaker tripped")) != before+1 {
		t.Error("it is not said again")
	}
}
