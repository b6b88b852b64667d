package memory

import "strconv"

// The results of actions are counted in slots of time: fine enough for the last hour, few
// enough for a day.
const (
	slot        = 300 // seconds
	slotsOfHour = 3600 / slot
	slotsOfDay  = 24 * slotsOfHour
	maxResults  = 64   // results of one rule in one slot: there are about 20
	maxTallies  = 2000 // rules that are counted
)

// Results counts what came of the actions of each rule: by its name, the slot of time in
// decimal, and the result.
type Results map[string]map[string]map[string]int

// Count adds one result of a rule.
func (m *Memory) Count(rule, result string, now float64) {
	if _, known := m.Results[rule]; !known && len(m.Results) >= maxTallies {
		return
	}
	m.Results.add(rule, strconv.Itoa(slotOf(now)), result, 1)
}

func (r Results) add(rule, at, result string, n int) {
	if r[rule] == nil {
		r[rule] = map[string]map[string]int{}
	}
	if r[rule][at] == nil {
		r[rule][at] = map[string]int{}
	}
	if _, known := r[rule][at][result]; known || len(r[rule][at]) < maxResults {
		r[rule][at][result] += n
	}
}

func slotOf(now float64) int { return int(now) / slot }

// Lately sums the results of a rule up: those of about the last hour, and of the last day.
func (m *Memory) Lately(rule string, now float64) (hour, day map[string]int) {
	hour, day = map[string]int{}, map[string]int{}
	last := slotOf(now)
	for at, results := range m.Results[rule] {
		age := last - asSlot(at)
		if age < 0 || age >= slotsOfDay {
			continue
		}
		for result, n := range results {
			day[result] += n
			if age <= slotsOfHour {
				hour[result] += n
			}
		}
	}
	return hour, day
}

func asSlot(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// expire forgets what is older than a day.
func (r Results) expire(now float64) {
	for rule, slots := range r {
		for at := range slots {
			if slotOf(now)-asSlot(at) >= slotsOfDay {
				delete(slots, at)
			}
		}
		if len(slots) == 0 {
			delete(r, rule)
		}
	}
}

// take adds what a state file says, as far as it can be true.
func (r Results) take(doc Results, now float64) {
	for rule, slots := range doc {
		if len(r) >= maxTallies {
			return
		}
		for at, results := range slots {
			if n := asSlot(at); n < 0 || n > slotOf(now) || strconv.Itoa(n) != at {
				continue
			}
			for result, n := range results {
				if n > 0 {
					r.add(rule, at, result, n)
				}
			}
		}
	}
	r.expire(now)
}
