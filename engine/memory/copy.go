package memory

import (
	"maps"
	"slices"
)

// Copy returns a memory that knows what this one knows now, for a judgement of its own. It
// lacks the results of actions, which no judgement reads.
func (m *Memory) Copy() *Memory {
	c := NewMemory()
	c.Cooldowns, c.Rules, c.Tripped = maps.Clone(m.Cooldowns), maps.Clone(m.Rules), maps.Clone(m.Tripped)
	c.Told, c.Descriptors = maps.Clone(m.Told), maps.Clone(m.Descriptors)
	for rule, at := range m.Acts {
		c.Acts[rule] = slices.Clone(at)
	}
	c.Seen, c.Holds = copied(m.Seen), copied(m.Holds)
	return c
}

// copied copies sightings, all into one piece of memory: there can be very many.
func copied[K comparable](all map[K]*sighting) map[K]*sighting {
	c, values := make(map[K]*sighting, len(all)), make([]sighting, len(all))
	for k, s := range all {
		values[0] = *s
		c[k], values = &values[0], values[1:]
	}
	return c
}
