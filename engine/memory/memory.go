package memory

import (
	"math"
	"slices"
	"time"

	"sockwarden/collectors"
)

// MaxRemembered bounds the observations, and so the state file.
const MaxRemembered = 200_000

// Memory is what the engine knows from one cycle to the next. Times are
// seconds on CLOCK_MONOTONIC; all of it is about one boot.
type Memory struct {
	// Seen says when we first and last saw each socket in its state.
	Seen map[collectors.Key]*sighting
	// Holds says since when a rule has matched a socket without a break.
	Holds map[HoldKey]*sighting
	// Cooldowns says when an action last touched a socket or process.
	Cooldowns map[string]Cooldown
	// Urgent says that memory holds news which a crash must not lose.
	Urgent bool
	// promises are the cool-downs of actions that have not begun yet; the file omits them.
	promises map[string]promise
	// Acts says when each rule acted within the last minute.
	Acts map[string][]float64
	// Rules says since when each rule has been unchanged.
	Rules map[string]RuleSince
	// Tripped says how many calm cycles each breaker still needs.
	Tripped map[string]int
	// Told is what people have heard of and still stands, by key: the mode of the run, the
	// channel that told them, and the rest.
	Told map[string]Told
	// Descriptors says how many descriptors a process had when we first noted it.
	Descriptors map[string]DescriptorCount
	// Results counts what came of the actions of each rule.
	Results Results
}

// Cooldown is when an action took place, and when the longest cool-down that any rule asked
// for is over.
type Cooldown struct {
	At    float64 `json:"at"`
	Until float64 `json:"until"`
}

// promise is a cool-down for an action that has not begun yet.
type promise struct {
	was     Cooldown // before
	ladders int      // that may still begin
}

// cool notes that an action touches the target of that key now.
func (m *Memory) cool(key string, length time.Duration, now float64) {
	delete(m.promises, key)
	m.Cooldowns[key] = Cooldown{At: now, Until: max(m.Cooldowns[key].Until, now+length.Seconds())}
}

// Promise notes the same for an action to come; TakeBack undoes it.
func (m *Memory) Promise(key string, length time.Duration, now float64) {
	p, promised := m.promises[key]
	if !promised {
		p.was = m.Cooldowns[key]
	}
	p.ladders++
	m.cool(key, length, now)
	m.promises[key] = p
}

// Keep says that a promised action takes place: it counts from the promise.
func (m *Memory) Keep(key string, length time.Duration, now float64) {
	if _, promised := m.promises[key]; !promised { // another one took it back
		m.cool(key, length, now)
	}
	delete(m.promises, key)
}

// TakeBack ends one promise. When none is left and no action took place, the key cools down
// as before.
func (m *Memory) TakeBack(key string) {
	p, promised := m.promises[key]
	if !promised {
		return // an action took place
	}
	if p.ladders--; p.ladders > 0 {
		m.promises[key] = p
		return
	}
	delete(m.promises, key)
	if p.was == (Cooldown{}) {
		delete(m.Cooldowns, key)
		return
	}
	m.Cooldowns[key] = p.was
}

// CalmCycles is how many cycles in a row must stay below a threshold before a tripped breaker
// lets rules act again.
const CalmCycles = 2

// unbrokenFor is the longest gap between two looks that still counts as no break, unless the
// rule's own time is longer: cron looks every few minutes.
const unbrokenFor = 10 * time.Minute

// RuleSince says since when a rule has been unchanged.
type RuleSince struct {
	Fingerprint string  `json:"fingerprint"`
	Since       float64 `json:"since"`
}

// DescriptorCount is how many descriptors a process had when we first noted it.
type DescriptorCount struct {
	At    float64 `json:"at"`
	Last  float64 `json:"last"` // when we last looked
	Count float64 `json:"count"`
}

type sighting struct {
	First  float64 // when it was first seen, as far as the marks can tell; not kept in the state file
	Since  float64 // since when it is proven to be the same
	Last   float64
	Missed int  // complete dumps that should have shown it and did not
	Mark   Mark // of the last look
	stall  stall
	unsure float64 // by how much Since is too early if another connection took its place unseen
}

// HoldKey includes the fingerprint of the rule, so that a changed rule starts again.
type HoldKey struct {
	Rule, Fingerprint string
	Socket            collectors.Key
}

// NewMemory returns an empty memory.
func NewMemory() *Memory {
	return &Memory{
		Seen: map[collectors.Key]*sighting{}, Holds: map[HoldKey]*sighting{}, Cooldowns: map[string]Cooldown{},
		promises: map[string]promise{},
		Acts:     map[string][]float64{}, Rules: map[string]RuleSince{}, Tripped: map[string]int{}, Told: map[string]Told{}, Descriptors: map[string]DescriptorCount{},
		Results: Results{},
	}
}

// Acted notes that a rule acts on one more target.
func (m *Memory) Acted(rule string, now float64) { m.Acts[rule] = append(m.Acts[rule], now) }

// NotActed takes the last of these back.
func (m *Memory) NotActed(rule string) {
	if n := len(m.Acts[rule]); n > 0 {
		m.Acts[rule] = m.Acts[rule][:n-1]
	}
}

// Recent counts how many targets a rule has acted on within the last minute.
func (m *Memory) Recent(rule string, now float64) int {
	const window = 60
	m.Acts[rule] = slices.DeleteFunc(m.Acts[rule], func(at float64) bool { return now-at >= window })
	if len(m.Acts[rule]) == 0 {
		delete(m.Acts, rule)
	}
	return len(m.Acts[rule])
}

// Observe notes that a socket was seen in its state, by a look that lasted from
// began to now and left this mark, and returns the larger of the proven lower
// bounds. An event wins over all others. An observation is of an earlier stay in
// the same state if the record's own evidence contradicts it, or if the marks show
// another connection: it is forgotten.
func (m *Memory) Observe(key collectors.Key, mk Mark, shown collectors.Age, began, now float64) collectors.Age {
	s, ok := m.Seen[key]
	if !ok {
		if len(m.Seen) >= MaxRemembered || key.Cookie == 0 {
			return shown
		}
		m.Seen[key] = &sighting{First: now, Since: now, Last: now, Mark: mk, stall: newStall(&mk, now)}
		return shown
	}
	if key.State == collectors.SynRecv && mk.Known {
		s.First, s.Since = now, now // a full socket: nothing tells one SYN from the next
	}
	if !mk.Known && s.Mark.Known {
		return shown // looked at without what would tell them apart
	}
	s.follow(&mk, now)
	// From the end of one look to the beginning of the other: both saw it there.
	observed := began - s.Since
	if shown.Bounded && observed > shown.Max {
		s.First, s.Since, s.unsure, s.stall = now, now, 0, newStall(&mk, now)
		return shown
	}
	observed -= s.unsure
	// Within a jiffy the evidence of the record itself is as good.
	if shown.Source != collectors.AgeEvent && observed > shown.Min+Jiffy {
		shown.Min, shown.Source = math.Floor(observed*1000)/1000, collectors.AgeObserved
	}
	return shown
}

// follow goes on with what a look that ended now says of the connection. Where another
// may have taken its place since the look before, it counts as new; for now, if it has
// moved data and so much alike is a coincidence: that it goes on shows when it grows.
func (s *sighting) follow(mk *Mark, now float64) {
	before, looked := s.Mark, s.Last-s.Mark.Look
	s.stall.follow(&before, mk, looked, now)
	s.Last, s.Missed, s.Mark = now, 0, *mk
	switch {
	case !before.continuedBy(mk):
		s.First, s.Since, s.unsure = now, now, 0
	case before.hides(mk, looked) && before.bare():
		s.Since, s.unsure = now, 0
	case before.hides(mk, looked):
		s.unsure = now - s.Since
	case before.grew(mk):
		s.unsure = 0
	}
}

// Recall returns the age like Observe, but begins to remember no further socket.
func (m *Memory) Recall(key collectors.Key, mk Mark, shown collectors.Age, began, now float64) collectors.Age {
	if _, ok := m.Seen[key]; ok {
		return m.Observe(key, mk, shown, began, now)
	}
	return shown
}

// Since is when a socket was first seen in its state, as far as marks can tell, 0 if it
// is not remembered. It may be before what Observe proves.
func (m *Memory) Since(key collectors.Key) float64 {
	if s, ok := m.Seen[key]; ok {
		return s.First
	}
	return 0
}

// Hold notes that a rule matches a socket and returns since when it has. Looks
// too far apart prove nothing about the time between them.
func (m *Memory) Hold(k HoldKey, length time.Duration, now float64) (since float64) {
	h, ok := m.Holds[k]
	if ok && now-h.Last > max(length, unbrokenFor).Seconds() {
		ok = false
		delete(m.Holds, k)
	}
	if !ok {
		if len(m.Holds) >= MaxRemembered {
			return now
		}
		h = &sighting{Since: now}
		m.Holds[k] = h
	}
	h.Last, h.Missed = now, 0
	return h.Since
}

// HeldSince returns what Hold would, and notes nothing.
func (m *Memory) HeldSince(k HoldKey, length time.Duration, now float64) float64 {
	if h, ok := m.Holds[k]; ok && now-h.Last <= max(length, unbrokenFor).Seconds() {
		return h.Since
	}
	return now
}

// BreakHolds forgets the holds that this cycle has not renewed: there was a break.
func (m *Memory) BreakHolds(now float64) {
	for k, h := range m.Holds {
		if h.Last < now {
			delete(m.Holds, k)
		}
	}
}

// Prune forgets sockets that two complete dumps in a row did not show, although the query
// covered them.
func (m *Memory) Prune(q *collectors.Query, now float64) {
	for k, s := range m.Seen {
		if s.Last >= now || !q.Covers(&k) {
			continue
		}
		if s.Missed++; s.Missed >= 2 {
			delete(m.Seen, k)
		}
	}
}

// Expire forgets what is over.
func (m *Memory) Expire(now float64) {
	for k, c := range m.Cooldowns {
		if now >= c.Until {
			delete(m.Cooldowns, k)
		}
	}
	for rule := range m.Acts {
		m.Recent(rule, now)
	}
	m.Results.expire(now)
	const forgotten = 3600      // seconds without a sight of a process
	const stale = 7 * 24 * 3600 // seconds: no rule has asked for such a socket since
	for k, s := range m.Seen {
		if now-s.Last > stale {
			delete(m.Seen, k)
		}
	}
	for k, t := range m.Told {
		if now-t.Last > stale {
			delete(m.Told, k)
		}
	}
	for k, d := range m.Descriptors {
		if now-d.Last > forgotten {
			delete(m.Descriptors, k)
		}
	}
}

// adopt takes over what another run has saved in the meantime: its cool-downs, and what it
// has seen later than this one.
func (m *Memory) adopt(theirs *Memory) {
	m.Cooldowns = theirs.Cooldowns
	for k, d := range theirs.Descriptors {
		if ours, ok := m.Descriptors[k]; !ok || d.At < ours.At {
			m.Descriptors[k] = d
		}
	}
	for k, s := range theirs.Seen {
		if ours, ok := m.Seen[k]; !ok || ours.Last < s.Last {
			m.Seen[k] = s
		}
	}
	for k, h := range theirs.Holds {
		if ours, ok := m.Holds[k]; !ok || ours.Last < h.Last {
			m.Holds[k] = h
		}
	}
}

// CoolingDown returns how much longer actions must leave the target of that key alone.
func (m *Memory) CoolingDown(key string, length time.Duration, now float64) time.Duration {
	c, ok := m.Cooldowns[key]
	if !ok {
		return 0
	}
	return max(0, length-time.Duration((now-c.At)*float64(time.Second)))
}
