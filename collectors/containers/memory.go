package containers

import (
	"errors"
	"sync"
	"time"
)

// memory is what was answered, for a while.
type memory struct {
	keep, retry time.Duration
	now         func() time.Time

	mu sync.Mutex
	of map[string]entry
}

// entry is the last answer about a container.
type entry struct {
	answer Answer
	podUID string
	// until is when it is time to ask again, and usable how long the answer counts
	// while the next one does not come.
	until, usable time.Time
	// silent says that the engine kept back something of this container alone: nobody
	// waits for that again.
	silent bool
}

// recall puts what is known into answers, and returns what is not, or not any
// more, and whether waiting for some of that has hope.
func (m *memory) recall(refs []Ref, answers map[string]Answer) (wanted []Ref, hope bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, seen := m.now(), make(map[string]bool, len(refs))
	for _, ref := range refs {
		if seen[ref.ID] {
			continue
		}
		seen[ref.ID] = true
		if !isID(ref.ID) {
			answers[ref.ID] = Answer{Err: ErrNoID}
			continue
		}
		e, ok := m.of[ref.ID]
		if ok && e.podUID != ref.PodUID {
			ok = false // a control group of the same name, elsewhere
		}
		if ok && now.Before(e.usable) {
			answers[ref.ID] = e.answer
		}
		if !ok || !now.Before(e.until) {
			wanted = append(wanted, ref)
			hope = hope || !ok || !e.silent
		}
	}
	return wanted, hope
}

// put remembers an answer. One that the engine kept something back of is not
// complete, and is asked for again soon.
func (m *memory) put(ref Ref, a Answer, silent bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	e := entry{answer: a, podUID: ref.PodUID, until: now.Add(m.retry), usable: now.Add(m.retry), silent: silent}
	old, ok := m.of[ref.ID]
	switch {
	case a.Err == nil:
		e.usable = now.Add(m.keep)
		if !silent {
			e.until = e.usable
		}
	case ok && errors.Is(a.Err, ErrSilent) && old.answer.Err == nil && now.Before(old.usable) && old.podUID == ref.PodUID:
		e.answer, e.usable = old.answer, old.usable // what was known still counts
	}
	if !ok && len(m.of) >= maxKept {
		m.forget(now)
	}
	m.of[ref.ID] = e
}

// forget makes room: of what is too old or, if nothing is, of an eighth.
func (m *memory) forget(now time.Time) {
	for id, e := range m.of {
		if !now.Before(e.usable) {
			delete(m.of, id)
		}
	}
	for id := range m.of {
		if len(m.of) <= maxKept-maxKept/8 {
			break
		}
		delete(m.of, id)
	}
}
