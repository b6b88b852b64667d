package watch

import "time"

// stretch returns the time until the next cycle begins, counted from the end of
// this one: a cycle that takes more than half the interval would otherwise keep
// the machine busy.
func (w *watcher) stretch(interval, took time.Duration) time.Duration {
	if took <= interval/2 {
		if w.stretched > 0 {
			if w.stretched--; w.stretched == 0 {
				w.Log.Info("interval as configured again", "interval", interval)
			}
		}
		return interval - took
	}
	if w.stretched == 0 {
		w.Log.Warn("cycles take long, interval stretched", "took", took.Round(time.Millisecond), "interval", interval, "stretched", (2 * took).Round(time.Millisecond))
	}
	w.stretched = calmCycles
	return max(interval-took, took)
}
