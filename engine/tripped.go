package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"
)

// TrippedError says that a breaker has tripped: nothing of what it is about was
// acted on.
type TrippedError struct {
	What   string // what would be acted on
	Limit  string // that was exceeded, as it is written: count 500
	Rule   string // that most of it is for, "" for none
	GoOn   string // what to do if it is right
	Living int    // how much would be acted on
	Of     int    // sockets there are
	Calm   int    // how many calm cycles it still needs; 0 while the limit is exceeded

	name string // of the threshold
}

// Error says it all on one line.
func (t *TrippedError) Error() string {
	return fmt.Sprintf("breaker: would act on %s: %s; acted on none. %s", t.What, t.why(), t.GoOn)
}

func (t *TrippedError) why() string {
	if t.Calm > 0 {
		return fmt.Sprintf("tripped before (%s), %d calm cycle(s) to go", t.Limit, t.Calm)
	}
	return "more than " + t.Limit
}

// reason is that of each finding: the whole is said once.
func (t *TrippedError) reason() string { return "breaker: " + t.why() }

// Log writes the line for a log, with how long it has lasted if that is known.
func (t *TrippedError) Log(log *slog.Logger, lasts time.Duration) {
	attrs := []any{"would_act", t.What, "limit", t.Limit}
	if t.Rule != "" {
		attrs = append(attrs, "rule", t.Rule)
	}
	if t.Calm > 0 {
		attrs = append(attrs, "calm_cycles_to_go", t.Calm)
	}
	if lasts > 0 {
		attrs = append(attrs, "lasts", short(lasts))
	}
	log.Warn("breaker tripped, acted on none", append(attrs, "go_on", t.GoOn)...)
}

// said is what a watcher has said of a breaker.
type said struct {
	first, last time.Time
	living      int
}

// muchMore is by what factor a number must have changed to be said again.
const muchMore = 1.5

// tellTripped says what has tripped: at once, and again every hour, or when what
// would be acted on has changed much, for as long as it lasts. Its end is said by
// who resets it. It returns the other errors.
func (w *watcher) tellTripped(errs []error, now time.Time) []error {
	var others []error
	for _, err := range errs {
		t, ok := errors.AsType[*TrippedError](err)
		if !ok {
			others = append(others, err)
			continue
		}
		was, known := w.tripped[t.name]
		// While it calms down there is less to act on, and that is no news.
		changed := t.Calm == 0 && math.Max(float64(t.Living), float64(was.living)) > muchMore*math.Min(float64(t.Living), float64(was.living))
		if known && !changed && now.Sub(was.last) < heartbeat {
			continue
		}
		if !known {
			was.first = now
		}
		t.Log(w.log, now.Sub(was.first))
		w.tripped[t.name] = said{was.first, now, t.Living}
	}
	for name := range w.tripped {
		if _, still := w.memory.Tripped[name]; !still {
			delete(w.tripped, name)
		}
	}
	return others
}
