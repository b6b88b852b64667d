package containers

import (
	"errors"
	"sync"
	"time"
)

// memory keeps answers for a while.
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
	// until is when to ask again; usable is how long the answer counts while the next one
	// is outstanding.
	until, usable time.Time
	// silent says that the engine withheld something about this container alone: nobody
	// waits for it again.
	silent bool
}

// recall puts valid answers into answers. It returns the references without one, and
// whether waiting for any of them is worthwhile.
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
			ok = false // a control group of the same name elsewhere
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

// put remembers an answer. One from which the engine withheld something is incomplete,
// and we ask again soon.
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
		e.answer, e.usable = old.answer, old.usable // the earlier answer still counts
	}
	if !ok && len(m.of) >= maxKept {
		m.forget(now)
	}
	m.of[ref.ID] = e
}

// forget makes room: it drops what is too old or, if nothing is, one eighth.
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
