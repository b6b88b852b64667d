package rules

import "maps"

// Steady returns p as if everything were over that only delays or rations what its rules
// do: for, soak, canary, cool-downs, and limits of how many. What max_collateral spares
// stays spared: no time ends that.
func (p *Program) Steady() *Program {
	s := *p
	s.Rules = make([]*Rule, len(p.Rules))
	for i, r := range p.Rules {
		steady := *r
		steady.For, steady.Soak, steady.Canary = 0, 0, 0
		steady.Limits = Limits{MaxCollateral: r.Limits.MaxCollateral}
		s.Rules[i] = &steady
	}
	return &s
}

// Same reports whether two rungs do the same under the same conditions.
func (r *Rung) Same(o *Rung) bool {
	return r.String() == o.String() && (r.If == nil || maps.Equal(r.If.Uses, o.If.Uses))
}
