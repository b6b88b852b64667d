package news

import (
	"slices"
	"sync"

	"sockwarden/actions"
	"sockwarden/rules"
)

// receiver is somebody who gets messages, and those that wait for him.
type receiver struct {
	name    string
	removed chan struct{}  // closed when rules no longer name it
	refused rules.Notifier // the last configuration of which no notifier could be made

	mu      sync.Mutex
	by      *way              // how messages reach it
	waiting []actions.Message // oldest first
	slow    bool              // the log has said that messages are summed up
	closed  bool              // no more come
	wake    chan struct{}     // with room for one
}

// way is how messages reach a receiver, as one generation of rules says.
type way struct {
	config   rules.Notifier
	notifier actions.Notifier
	delivery actions.Delivery
	left     chan struct{} // closed when another one has replaced it
}

func (w *way) isLeft() bool { return isClosed(w.left) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func newReceiver(name string, by *way) *receiver {
	return &receiver{name: name, by: by, removed: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// serves reports whether messages reach the receiver as a configuration says.
func (r *receiver) serves(config rules.Notifier) bool { return r.way().config.Equal(config) }

func (r *receiver) way() *way {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by
}

// replace says how messages reach the receiver from now on, and how many wait for that.
func (r *receiver) replace(by *way) (waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.by.left)
	r.by = by
	return len(r.waiting)
}

// remove says that nothing is to be delivered any more.
func (r *receiver) remove() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	close(r.removed)
	r.poke()
}

func (r *receiver) isRemoved() bool { return isClosed(r.removed) }

// drop forgets the messages that wait, and says how many these are.
func (r *receiver) drop() (count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.waiting {
		count += messagesIn(m)
	}
	r.waiting = nil
	return count
}

// messagesIn is how many messages one stands for.
func messagesIn(m actions.Message) int {
	if m.Event == actions.EventSum {
		return m.Total
	}
	return 1
}

// put lets a message wait. If there is no room, it joins the last one in a sum; first says
// that this has just begun.
func (r *receiver) put(m actions.Message) (summed, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.waiting); n < MaxQueued {
		r.waiting = append(r.waiting, m)
	} else {
		r.waiting[n-1] = sum(r.waiting[n-1], m)
		summed, first, r.slow = true, !r.slow, true
	}
	r.poke()
	return summed, first
}

// back puts a message back that was not delivered.
func (r *receiver) back(m actions.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = slices.Insert(r.waiting, 0, m)
}

// end says that no more messages come.
func (r *receiver) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.poke()
}

func (r *receiver) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// await waits until a message waits. It reports false when none is left and none comes, and
// when the receiver is removed.
func (r *receiver) await() bool {
	for {
		r.mu.Lock()
		there, closed := len(r.waiting) > 0, r.closed
		r.mu.Unlock()
		if there || closed {
			return there && !r.isRemoved()
		}
		<-r.wake
	}
}

// take takes the oldest message, or all in one.
func (r *receiver) take(all bool) actions.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.waiting[0]
	if !all {
		r.waiting = r.waiting[1:]
		return m
	}
	for _, next := range r.waiting[1:] {
		m = sum(m, next)
	}
	r.waiting = nil
	return m
}

// left is how many messages wait.
func (r *receiver) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

// delivered notes that the receiver takes messages again.
func (r *receiver) delivered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slow = r.slow && len(r.waiting) >= MaxQueued
}

// sum adds a message to another one, which may be a sum itself.
func sum(a, b actions.Message) actions.Message {
	s := actions.Message{Time: b.Time, Host: b.Host, Mode: b.Mode, Generation: b.Generation, Event: actions.EventSum}
	if a.Rule == b.Rule {
		s.Rule, s.Labels = b.Rule, b.Labels
	}
	for _, m := range []actions.Message{a, b} {
		counts := m.Counts
		s.Total += messagesIn(m)
		if m.Event != actions.EventSum {
			counts = []actions.Count{{What: m.Rule + " " + string(m.Event), Count: 1}}
		}
		for _, c := range counts {
			i := slices.IndexFunc(s.Counts, func(known actions.Count) bool { return known.What == c.What })
			if i < 0 {
				i, s.Counts = len(s.Counts), append(s.Counts, actions.Count{What: c.What})
			}
			s.Counts[i].Count += c.Count
		}
	}
	return s
}
