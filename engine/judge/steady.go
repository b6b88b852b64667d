package judge

import (
	"context"
	"slices"

	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/rules"
)

// Steady judges a picture by a program as if everything were over that only delays or
// rations what rules do (see rules.Program.Steady), second looks too, and without the
// breaker. The picture must be one of this program or have it among its younger ones. What
// is remembered neither counts nor changes.
func (j *Judge) Steady(ctx context.Context, p *look.Picture, program *rules.Program) *Cycle {
	calm := &Judge{world: j.world, memory: memory.NewMemory(), noBreaker: true, guards: j.guards, Harms: j.Harms, steady: true}
	calm.Council = &council{Judge: calm}
	calm.Breaker = &Breaker{off: true, memory: calm.memory, harms: j.Harms, council: calm.Council, DeadAfter: j.Breaker.DeadAfter}
	picture, matches := *p, program.NewEvaluator()
	picture.Wanted = calm.Council.wantedOf(program.Steady())
	clear(picture.NeedsTwo)
	picture.Errors = slices.Clone(p.Errors)
	picture.Candidates = make([]*look.Candidate, len(p.Candidates))
	for i, cand := range p.Candidates {
		again := cand.Clone()
		r := again.Record()
		again.Hits = slices.Clone(matches.Match(&r))
		picture.Candidates[i] = again
	}
	c := NewCycle(&picture, false)
	calm.Decide(ctx, c)
	p.Extra = picture.Extra // looked at once for all programs
	return c
}

// Living counts what the cases would end that is not dead by evidence, as the breaker does:
// each socket and each process once, and the healthy connections that end with a process.
func (j *Judge) Living(ctx context.Context, c *Cycle, cases []*Case) int {
	acting := slices.DeleteFunc(slices.Clone(cases), func(f *Case) bool { return f.NoSocket() || Harmless(f.Rule) })
	return j.Breaker.toll(ctx, c, acting).living
}
