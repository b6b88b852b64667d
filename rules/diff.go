package rules

import (
	"maps"
	"slices"
)

// Changes names the rules that differ between two generations, and the sets whose
// contents do: contents are data and do not change a rule.
type Changes struct {
	Added, Changed, Removed                      []string // rules
	ProtectAdded, ProtectChanged, ProtectRemoved []string // entries of protect
	Sets                                         []string
}

// Diff compares p with the generation before it, by the rules' names.
func (p *Program) Diff(before *Program) Changes {
	var c Changes
	old := map[string]string{}
	for _, r := range before.Rules {
		old[r.Name] = r.Fingerprint
	}
	now := map[string]bool{}
	for _, r := range p.Rules {
		now[r.Name] = true
		switch print, had := old[r.Name]; {
		case !had:
			c.Added = append(c.Added, r.Name)
		case print != r.Fingerprint:
			c.Changed = append(c.Changed, r.Name)
		}
	}
	for _, r := range before.Rules {
		if !now[r.Name] {
			c.Removed = append(c.Removed, r.Name)
		}
	}
	c.protect(p, before)
	for _, name := range sortedKeys(p.Sets) {
		if was := before.Sets[name]; was != nil && !p.Sets[name].Equal(was) {
			c.Sets = append(c.Sets, name)
		}
	}
	return c
}

// protect compares the entries of protect.
func (c *Changes) protect(p, before *Program) {
	was := map[string]*Protect{}
	for _, pr := range before.Protect {
		was[pr.Name] = pr
	}
	kept := map[string]bool{}
	for _, pr := range p.Protect {
		kept[pr.Name] = true
		switch old := was[pr.Name]; {
		case old == nil:
			c.ProtectAdded = append(c.ProtectAdded, pr.Name)
		case !old.sameAs(pr):
			c.ProtectChanged = append(c.ProtectChanged, pr.Name)
		}
	}
	for _, pr := range before.Protect {
		if !kept[pr.Name] {
			c.ProtectRemoved = append(c.ProtectRemoved, pr.Name)
		}
	}
}

// sameAs reports whether two entries spare the same, but for what is in sets.
func (p *Protect) sameAs(o *Protect) bool {
	return p.When.Text == o.When.Text && maps.Equal(p.When.Uses, o.When.Uses) && slices.EqualFunc(p.During, o.During, func(a, b Window) bool { return a.String() == b.String() })
}
