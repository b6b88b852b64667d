package memory

// Doc is all that is remembered, as the state file has it.
func (m *Memory) Doc() StateDoc {
	doc := StateDoc{
		Cooldowns: m.Cooldowns, Acts: m.Acts, Rules: m.Rules, Tripped: m.Tripped, Told: m.Told, Descriptors: m.Descriptors,
		Results: m.Results,
	}
	for k, v := range m.Seen {
		doc.Seen = append(doc.Seen, SeenDoc{k, v.Since, v.Last, v.Missed, v.Mark, v.unsure, v.stall.since, v.stall.moved, v.stall.sure})
	}
	for k, v := range m.Holds {
		doc.Holds = append(doc.Holds, HoldDoc{k.Rule, k.Fingerprint, k.Socket, v.Since, v.Last})
	}
	return doc
}

// Recalled returns a memory of what a document says at that time (CLOCK_MONOTONIC,
// seconds), and a state file that keeps nothing.
func Recalled(doc *StateDoc, now float64) (*StateFile, *Memory) {
	m := NewMemory()
	doc.fill(m, now)
	return &StateFile{}, m
}
