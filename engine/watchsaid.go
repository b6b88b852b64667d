package engine

import (
	"errors"
	"math"
	"time"

	"sockwarden/engine/report"
)

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
		t, ok := errors.AsType[*report.TrippedError](err)
		if !ok {
			others = append(others, err)
			continue
		}
		was, known := w.tripped[t.Name]
		// While it calms down there is less to act on, and that is no news.
		changed := t.Calm == 0 && math.Max(float64(t.Living), float64(was.living)) > muchMore*math.Min(float64(t.Living), float64(was.living))
		if known && !changed && now.Sub(was.last) < heartbeat {
			continue
		}
		if !known {
			was.first = now
		}
		t.Log(w.log, now.Sub(was.first))
		w.tripped[t.Name] = said{was.first, now, t.Living}
	}
	for name := range w.tripped {
		if _, still := w.memory.Tripped[name]; !still {
			delete(w.tripped, name)
		}
	}
	return others
}
