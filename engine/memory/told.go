package memory

import "strings"

// Told is something that people were told of, and that stands.
type Told struct {
	As    string  `json:"as"`    // what they were told: a decision
	Since float64 `json:"since"` // when it was told first
	Last  float64 `json:"last"`  // when it was seen last
}

// Tell notes that people are told of something, by its key, and as what; it returns as
// what they were told before, "" if they were not.
func (m *Memory) Tell(key, as string, now float64) (was string) {
	t, known := m.Told[key]
	if !known {
		if len(m.Told) >= MaxRemembered {
			return ""
		}
		t.Since = now
	}
	was, t.As, t.Last = t.As, as, now
	m.Told[key] = t
	return was
}

// Stands reports whether people were told of something that stands, and notes that it
// still does.
func (m *Memory) Stands(key string, now float64) bool {
	t, known := m.Told[key]
	if known {
		t.Last = now
		m.Told[key] = t
	}
	return known
}

// Ended forgets what was told of a kind by rules that are asked for, and did not stand at
// that time or since. It returns when each was told first, by rule. Keys are the kind,
// the rule and the rest, with a space between them.
func (m *Memory) Ended(kind string, asked func(rule string) bool, now float64) map[string][]Told {
	ended := map[string][]Told{}
	for key, t := range m.Told {
		rest, ok := strings.CutPrefix(key, kind+" ")
		if !ok || t.Last >= now {
			continue
		}
		if rule, _, _ := strings.Cut(rest, " "); asked(rule) {
			ended[rule] = append(ended[rule], t)
			delete(m.Told, key)
		}
	}
	return ended
}

// AnyTold reports whether anything is told under keys that begin so.
func (m *Memory) AnyTold(prefix string) bool {
	for key := range m.Told {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
