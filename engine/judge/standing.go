package judge

import (
	"log/slog"
	"maps"

	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Standing is what a judge goes by at one time, apart from its memory. The judge may go on
// while others judge by it.
type Standing struct {
	options Options
	gens    *Generations // nil if it does not watch
	spent   *spent
	young   map[string]float64
	repeats bool
}

// Standing returns what the judge goes by now.
func (j *Judge) Standing() *Standing {
	s := &Standing{
		options: Options{AllowUnknownOwner: j.guards.allowUnknown, NoBreaker: j.noBreaker, OptIn: j.guards.optInText, Silences: j.Council.quiet.silences},
		young:   maps.Clone(j.young), repeats: j.Repeats,
	}
	if j.spent != nil {
		s.spent = &spent{maps.Clone(j.spent.rules), maps.Clone(j.spent.listeners), j.spent.all}
	}
	if j.Council.Gens != nil {
		s.gens = j.Council.Gens.copied()
	}
	return s
}

// Judge makes a judge that decides like the other one now, in the same interval: what that
// has spent is spent, and a cycle of this one is none of the calm ones that the breaker
// waits for. It looks through k and w, and remembers by m.
func (s *Standing) Judge(w *world.World, log *slog.Logger, m *memory.Memory, k *look.Looker) *Judge {
	j := New(w, log, m, k, s.options)
	j.Early, j.Repeats, j.spent, j.young = true, s.repeats, s.spent, s.young
	if s.gens != nil {
		s.gens.changed()
		j.Council.Gens = s.gens
	}
	return j
}

// InForce returns the rules that are in force for the judge that it has made; nil if the
// other one does not watch.
func (s *Standing) InForce() *rules.Program {
	if s.gens == nil {
		return nil
	}
	return s.gens.InForce()
}

// copied returns the same generations, without what changed makes of them.
func (g *Generations) copied() *Generations {
	c := &Generations{confirmed: g.confirmed}
	for _, one := range g.All {
		c.All = append(c.All, &Generation{Read: one.Read, at: one.at, seen: one.seen})
	}
	return c
}
