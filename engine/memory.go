package engine

import (
	"math"
	"slices"
	"time"

	"sockwarden/collectors"
)

// maxRemembered bounds the observations, and so the state file.
const maxRemembered = 200_000

// memory is what the engine knows from one cycle to the next. Times are
// seconds on CLOCK_MONOTONIC; all of it is about one boot.
type memory struct {
	// seen says since when a socket has been seen in its state.
	seen map[collectors.Key]*sighting
	// holds says since when a rule has matched a socket without a break.
	holds map[holdKey]*sighting
	// cooldowns says when something was last done to a socket or process.
	cooldowns map[string]cooldown
	// urgent says that something was noted which a crash must not lose.
	urgent bool
	// promises are the cool-downs of what has not begun yet; they are not kept.
	promises map[string]promise
	// acts says when each rule acted within the last minute.
	acts map[string][]float64
	// rules says since when each rule is as it is.
	rules map[string]ruleSince
	// tripped says how many calm cycles each breaker still needs.
	tripped map[string]int
	// descriptors says how many descriptors a process had when it was first noted.
	descriptors map[string]descriptorCount
}

// cooldown is when something was done, and when the longest cool-down of those
// that asked for one is over.
type cooldown struct {
	At    float64 `json:"at"`
	Until float64 `json:"until"`
}

// promise is a cool-down that was noted for something that has not begun yet.
type promise struct {
	was     cooldown // before
	ladders int      // that may still begin
}

// cool notes that something is done to the target of that key now.
func (m *memory) cool(key string, length time.Duration, now float64) {
	delete(m.promises, key)
	m.cooldowns[key] = cooldown{At: now, Until: max(m.cooldowns[key].Until, now+length.Seconds())}
}

// promise notes the same of what will be done, unless it is taken back.
func (m *memory) promise(key string, length time.Duration, now float64) {
	p, promised := m.promises[key]
	if !promised {
		p.was = m.cooldowns[key]
	}
	p.ladders++
	m.cool(key, length, now)
	m.promises[key] = p
}

// keep says that what was promised is done: it counts from when that was noted.
func (m *memory) keep(key string, length time.Duration, now float64) {
	if _, promised := m.promises[key]; !promised { // another one took it back
		m.cool(key, length, now)
	}
	delete(m.promises, key)
}

// takeBack ends one promise. When nobody has one and nothing was done, the key cools
// down as it did before.
func (m *memory) takeBack(key string) {
	p, promised := m.promises[key]
	if !promised {
		return // something was done
	}
	if p.ladders--; p.ladders > 0 {
		m.promises[key] = p
		return
	}
	delete(m.promises, key)
	if p.was == (cooldown{}) {
		delete(m.cooldowns, key)
		return
	}
	m.cooldowns[key] = p.was
}

// calmCycles is how many cycles in a row must stay below a threshold before what
// has tripped acts again.
const calmCycles = 2

// unbrokenFor is how far two looks may be apart for what both saw to count as
// unbroken, if the rule's own time is shorter: cron looks every few minutes.
const unbrokenFor = 10 * time.Minute

type ruleSince struct {
	Fingerprint string  `json:"fingerprint"`
	Since       float64 `json:"since"`
}

type descriptorCount struct {
	At    float64 `json:"at"`
	Last  float64 `json:"last"` // when it was looked at last
	Count float64 `json:"count"`
}

type sighting struct {
	since  float64
	last   float64
	missed int     // complete dumps that should have shown it and did not
	mark   mark    // of the last look
	unsure float64 // by how much since may be too early: see mark.unsure
}

// holdKey names a rule by its fingerprint too: a changed rule starts again.
type holdKey struct {
	rule, fingerprint string
	socket            collectors.Key
}

func newMemory() *memory {
	return &memory{
		seen: map[collectors.Key]*sighting{}, holds: map[holdKey]*sighting{}, cooldowns: map[string]cooldown{},
		promises: map[string]promise{},
		acts:     map[string][]float64{}, rules: map[string]ruleSince{}, tripped: map[string]int{}, descriptors: map[string]descriptorCount{},
	}
}

// acted notes that a rule acts on one more target, and recent counts how many it
// has acted on within the last minute.
func (m *memory) acted(rule string, now float64) { m.acts[rule] = append(m.acts[rule], now) }

// notActed takes the last of these back.
func (m *memory) notActed(rule string) {
	if n := len(m.acts[rule]); n > 0 {
		m.acts[rule] = m.acts[rule][:n-1]
	}
}

func (m *memory) recent(rule string, now float64) int {
	const window = 60
	m.acts[rule] = slices.DeleteFunc(m.acts[rule], func(at float64) bool { return now-at >= window })
	if len(m.acts[rule]) == 0 {
		delete(m.acts, rule)
	}
	return len(m.acts[rule])
}

// observe notes that a socket was seen in its state, by a look that lasted from
// began to now and left this mark, and returns the larger of the proven lower
// bounds. An event wins over all others. An observation is of an earlier stay in
// the same state if the record's own evidence contradicts it, or if the marks show
// another connection: it is forgotten.
func (m *memory) observe(key collectors.Key, mk mark, shown collectors.Age, began, now float64) collectors.Age {
	s, ok := m.seen[key]
	if !ok {
		if len(m.seen) >= maxRemembered || key.Cookie == 0 {
			return shown
		}
		m.seen[key] = &sighting{since: now, last: now, mark: mk}
		return shown
	}
	before := s.mark
	if key.State == collectors.SynRecv && mk.Known {
		s.since = now // a full socket: nothing tells one SYN from the next
	}
	if !mk.Known && before.Known {
		return shown // looked at without what would tell them apart
	}
	s.last, s.missed, s.mark = now, 0, mk
	// From the end of one look to the beginning of the other: both saw it there.
	s.unsure = max(s.unsure, before.unsure(&mk))
	observed := began - s.since - s.unsure
	if shown.Bounded && observed > shown.Max || !before.continuedBy(&mk) {
		s.since, s.unsure = now, 0
		return shown
	}
	// Within a jiffy the evidence of the record itself is as good.
	if shown.Source != collectors.AgeEvent && observed > shown.Min+jiffy {
		shown.Min, shown.Source = math.Floor(observed*1000)/1000, collectors.AgeObserved
	}
	return shown
}

// recall returns the age like observe, but remembers nothing new.
func (m *memory) recall(key collectors.Key, mk mark, shown collectors.Age, began, now float64) collectors.Age {
	if _, ok := m.seen[key]; ok {
		return m.observe(key, mk, shown, began, now)
	}
	return shown
}

// since is when a socket was first seen in its state, 0 if it is not remembered.
func (m *memory) since(key collectors.Key) float64 {
	if s, ok := m.seen[key]; ok {
		return s.since
	}
	return 0
}

// hold notes that a rule matches a socket and returns since when it has. Looks
// too far apart prove nothing about the time between them.
func (m *memory) hold(k holdKey, length time.Duration, now float64) (since float64) {
	h, ok := m.holds[k]
	if ok && now-h.last > max(length, unbrokenFor).Seconds() {
		ok = false
		delete(m.holds, k)
	}
	if !ok {
		if len(m.holds) >= maxRemembered {
			return now
		}
		h = &sighting{since: now}
		m.holds[k] = h
	}
	h.last, h.missed = now, 0
	return h.since
}

// breakHolds forgets the holds that were not renewed in this cycle: the rule
// matched with a break.
func (m *memory) breakHolds(now float64) {
	for k, h := range m.holds {
		if h.last < now {
			delete(m.holds, k)
		}
	}
}

// prune forgets sockets that two complete dumps in a row did not show although
// the query covered them.
func (m *memory) prune(q *collectors.Query, now float64) {
	for k, s := range m.seen {
		if s.last >= now || !q.Covers(&k) {
			continue
		}
		if s.missed++; s.missed >= 2 {
			delete(m.seen, k)
		}
	}
}

// expire forgets what is over.
func (m *memory) expire(now float64) {
	for k, c := range m.cooldowns {
		if now >= c.Until {
			delete(m.cooldowns, k)
		}
	}
	for rule := range m.acts {
		m.recent(rule, now)
	}
	const forgotten = 3600      // seconds after which a process that is not seen any more is
	const stale = 7 * 24 * 3600 // seconds: no rule has asked for such a socket since
	for k, s := range m.seen {
		if now-s.last > stale {
			delete(m.seen, k)
		}
	}
	for k, d := range m.descriptors {
		if now-d.Last > forgotten {
			delete(m.descriptors, k)
		}
	}
}

// adopt takes over what another run has kept meanwhile: its cool-downs, and
// what it has seen later than this one.
func (m *memory) adopt(theirs *memory) {
	m.cooldowns = theirs.cooldowns
	for k, d := range theirs.descriptors {
		if ours, ok := m.descriptors[k]; !ok || d.At < ours.At {
			m.descriptors[k] = d
		}
	}
	for k, s := range theirs.seen {
		if ours, ok := m.seen[k]; !ok || ours.last < s.last {
			m.seen[k] = s
		}
	}
	for k, h := range theirs.holds {
		if ours, ok := m.holds[k]; !ok || ours.last < h.last {
			m.holds[k] = h
		}
	}
}

// coolingDown returns how long the target of that key must still be left alone.
func (m *memory) coolingDown(key string, length time.Duration, now float64) time.Duration {
	c, ok := m.cooldowns[key]
	if !ok {
		return 0
	}
	return max(0, length-time.Duration((now-c.At)*float64(time.Second)))
}
