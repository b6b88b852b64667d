package judge

import (
	"sync"
	"time"
)

// wholeFor is how long an answer counts about the processes of a unit or container.
// Finding one reads all processes, and a leak asks for thousands of sockets.
const wholeFor = 25 * time.Millisecond

// wholes remembers these answers for a moment.
type wholes struct {
	mu      sync.Mutex // guards are asked by several goroutines
	answers map[string]wholeAnswer
}

// wholeAnswer is why a unit or container is guarded, "" if it is not.
type wholeAnswer struct {
	why string
	at  float64 // when it was found, on CLOCK_MONOTONIC
}

// of returns the answer for a key, and finds a new one where the last is too old.
func (w *wholes) of(key string, mono func() float64, find func() string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a, ok := w.answers[key]; ok && mono()-a.at <= wholeFor.Seconds() {
		return a.why
	}
	if len(w.answers) > 1024 || w.answers == nil {
		w.answers = map[string]wholeAnswer{}
	}
	why := find()
	w.answers[key] = wholeAnswer{why, mono()}
	return why
}
