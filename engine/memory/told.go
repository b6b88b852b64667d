package memory

import "strings"

// Told is something that people have heard of and that still stands.
type Told struct {
	As    string  `json:"as"`    // what they were told: a decision
	Since float64 `json:"since"` // when they first heard of it
	Last  float64 `json:"last"`  // when we last saw it
}

// Tell notes that people hear of something now, by its key, and as what. It returns what
// they heard it as before, "" if they did not.
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

// Stands reports whether people have heard of something, and notes that it still stands.
func (m *Memory) Stands(key string, now float64) bool {
	t, known := m.Told[key]
	if known {
		t.Last = now
		m.Told[key] = t
	}
	return known
}

// Ended forgets what people heard of one kind from the rules that asked selects, if it no
// longer stands at that time. It returns what it forgot, by rule. Keys are the kind, the
// rule and the rest, separated by spaces.
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

// AnyTold reports whether people have heard of anything whose key begins with prefix.
func (m *Memory) AnyTold(prefix string) bool {
	for key := range m.Told {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
