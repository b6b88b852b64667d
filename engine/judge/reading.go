package judge

import (
	"sync"
	"sync/atomic"

	"sockwarden/collectors"
	"sockwarden/engine/silence"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// reading widens looks by the fields that silences read: what is not looked up is unknown,
// and a silence that reads it would spare everything.
type reading struct {
	silences *silence.Store
	clock    world.Clock
	wider    atomic.Pointer[wider] // nil for no further fields
}

// wider are the plans of one set of fields, by the program that was widened.
type wider struct {
	fields collectors.FieldSet
	mu     sync.Mutex
	plans  map[*rules.Program]*rules.Program
}

// maxPlans bounds the plans that are kept: one for each generation that counts.
const maxPlans = 32

// note finds out which fields the next look needs. A silence that is added after it spares
// what it reads and the look did not find out.
func (r *reading) note() {
	if r.silences == nil {
		return
	}
	fields := r.silences.At(r.clock.Now()).Reads()
	was := r.wider.Load()
	switch {
	case fields.Empty():
		r.wider.Store(nil)
	case was == nil || was.fields != fields:
		r.wider.Store(&wider{fields: fields, plans: map[*rules.Program]*rules.Program{}})
	}
}

// plan returns a plan with these fields.
func (r *reading) plan(p *rules.Program) *rules.Program {
	w := r.wider.Load()
	if w == nil {
		return p
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.plans[p] == nil {
		if len(w.plans) >= maxPlans {
			clear(w.plans)
		}
		w.plans[p] = p.Wider(&rules.Program{Reads: w.fields, Query: collectors.Query{Fields: w.fields}})
	}
	return w.plans[p]
}
