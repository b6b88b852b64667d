package judge

import (
	"sync"

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
	mu       sync.Mutex
	plans    map[planKey]*rules.Program
}

// planKey is what a plan depends on.
type planKey struct {
	of     *rules.Program
	fields collectors.FieldSet
}

// maxPlans bounds the plans that are kept: one for each generation that counts, and each
// set of fields that silences have read.
const maxPlans = 32

// plan returns a plan with the fields that silences read now.
func (r *reading) plan(p *rules.Program) *rules.Program {
	if r.silences == nil {
		return p
	}
	in := r.silences.At(r.clock.Now())
	fields := in.Reads()
	if fields.Empty() {
		return p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := planKey{p, fields}
	if r.plans == nil || len(r.plans) >= maxPlans {
		r.plans = map[planKey]*rules.Program{}
	}
	if r.plans[key] == nil {
		r.plans[key] = p.Wider(&rules.Program{Reads: fields, Query: collectors.Query{Fields: fields}})
	}
	return r.plans[key]
}
