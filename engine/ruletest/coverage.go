package ruletest

import (
	"cmp"
	"slices"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/report"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// Coverage says what of the rules tests have tried.
type Coverage struct {
	Rules []*RuleCoverage // in the order of their files

	byPlace map[coveragePlace]*RuleCoverage
}

// coveragePlace identifies a rule: tests of several files can be of the same rules.
type coveragePlace struct{ file, name string }

// RuleCoverage says what of one rule tests have tried.
type RuleCoverage struct {
	File, Name string
	Line       int
	Taken      bool // some socket was taken
	Rungs      []RungCoverage
	Parts      []*PartCoverage
}

// RungCoverage says whether a rung was done, or would have been.
type RungCoverage struct {
	Text string
	Done bool
}

// PartCoverage says which values a part of a condition has had.
type PartCoverage struct {
	Key         string // when, unless, having, or if
	Text        string
	True, False bool
	// Fixed says that it does not count: it does not depend on the socket, or other parts
	// say the same.
	Fixed bool
}

// Numbers are how many there are, and how many of them tests have tried. A part is tried
// if it was true once and false once.
type Numbers struct{ Tried, All int }

func newCoverage() *Coverage { return &Coverage{byPlace: map[coveragePlace]*RuleCoverage{}} }

// enter adds the rules of a program.
func (c *Coverage) enter(p *rules.Program) {
	for _, r := range p.Rules {
		at := coveragePlace{r.File, r.Name}
		if r.Mode == rules.ModeDisabled || c.byPlace[at] != nil {
			continue
		}
		one := &RuleCoverage{File: r.File, Name: r.Name, Line: r.Line}
		for i := range r.Then {
			one.Rungs = append(one.Rungs, RungCoverage{Text: rungText(&r.Then[i])})
		}
		for _, cond := range conditionsOf(r) {
			tree := cond.Tree()
			one.Parts = append(one.Parts, partsOf(&tree, "", cond.key)...)
		}
		c.byPlace[at] = one
		c.Rules = append(c.Rules, one)
	}
	slices.SortStableFunc(c.Rules, func(a, b *RuleCoverage) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
}

func rungText(r *rules.Rung) string {
	if main, ok := r.Params[r.Action].(string); ok {
		return r.Action + " " + main
	}
	return r.Action
}

// condition is one of a rule's.
type condition struct {
	*rules.Cond
	key string
}

func conditionsOf(r *rules.Rule) []condition {
	all := []condition{{r.When, "when"}}
	if r.Unless != nil {
		all = append(all, condition{r.Unless, "unless"})
	}
	if r.Having != nil {
		all = append(all, condition{r.Having, "having"})
	}
	for i := range r.Then {
		if r.Then[i].If != nil {
			all = append(all, condition{r.Then[i].If, "if"})
		}
	}
	return all
}

// partsOf are a part and its parts, each before its own. What joins parts to a longer chain
// of and or or, and the name of a macro, say nothing new.
func partsOf(p *lang.Part, above lang.Op, key string) []*PartCoverage {
	link := p.Op == above && (p.Op == lang.OpAnd || p.Op == lang.OpOr) || p.Op == lang.OpMacro && len(p.Parts) == 1
	all := []*PartCoverage{{Key: key, Text: p.Text, Fixed: link || p.Op == lang.OpConstant || len(p.Names) == 0}}
	for i := range p.Parts {
		op := p.Op
		if op == lang.OpMacro {
			op = above
		}
		all = append(all, partsOf(&p.Parts[i], op, key)...)
	}
	return all
}

// flat visits a part and its parts, each before its own.
func flat(p *lang.Part, visit func(*lang.Part)) {
	visit(p)
	for i := range p.Parts {
		flat(&p.Parts[i], visit)
	}
}

// note notes what the last look of a test has tried.
func (c *Coverage) note(p *play) {
	found := map[identity]*report.Finding{}
	for _, f := range p.report.Findings {
		found[identityOf(&f.Socket)] = f
	}
	var values []rules.Tri
	for _, r := range p.program.Rules {
		one := c.byPlace[coveragePlace{r.File, r.Name}]
		if one == nil {
			continue
		}
		at := 0
		for _, cond := range conditionsOf(r) {
			n := 0
			for _, record := range p.records(found, cond.key == "having", r) {
				values = cond.Values(&record, values[:0])
				n = len(values)
				for i, v := range values {
					part := one.Parts[at+i]
					part.True, part.False = part.True || v == rules.True, part.False || v == rules.False
				}
			}
			if n == 0 {
				tree := cond.Tree()
				flat(&tree, func(*lang.Part) { n++ })
			}
			at += n
		}
	}
	for _, f := range p.report.Findings {
		if one := c.byPlace[coveragePlace{f.Rule.File, f.Rule.Name}]; one != nil {
			one.Taken = true
			one.would(f)
		}
	}
	for i := range p.world.Done {
		e := &p.world.Done[i]
		for _, one := range c.Rules {
			if one.Name == e.Rule && p.program.Rule(e.Rule).File == one.File {
				one.did(e.Called)
			}
		}
	}
}

// records are what conditions read: of each process that has a socket, or of each group.
func (p *play) records(found map[identity]*report.Finding, groups bool, r *rules.Rule) (all []collectors.Record) {
	if groups {
		seen := map[*report.Group]bool{}
		for _, f := range p.report.Findings {
			if f.Group != nil && f.Rule == r && !seen[f.Group] {
				seen[f.Group] = true
				all = append(all, collectors.Record{Group: &f.Group.Facts})
			}
		}
		return all
	}
	for _, a := range p.actors {
		f := found[a.identity()]
		switch {
		case f != nil:
			for i := range max(1, len(f.Facts.Owners)) {
				all = append(all, f.RecordOf(i))
			}
		case p.there(a):
			all = append(all, a.records()...)
		}
	}
	return all
}

// would notes the rungs that a dry test would have done.
func (c *RuleCoverage) would(f *report.Finding) {
	for i := range f.Actions {
		if r := &f.Actions[i]; r.Result == actions.Would {
			c.did(effectOf(r))
		}
	}
}

// did notes the rungs with an effect.
func (c *RuleCoverage) did(effect string) {
	for i := range c.Rungs {
		c.Rungs[i].Done = c.Rungs[i].Done || isEffect(effect, c.Rungs[i].Text)
	}
}

// Tried counts rules, rungs, and parts of conditions.
func (c *Coverage) Tried() (all, rungs, parts Numbers) {
	count := func(n *Numbers, tried bool) {
		n.All++
		if tried {
			n.Tried++
		}
	}
	for _, r := range c.Rules {
		count(&all, r.Taken)
		for _, rung := range r.Rungs {
			count(&rungs, rung.Done)
		}
		for _, part := range r.Parts {
			if !part.Fixed {
				count(&parts, part.True && part.False)
			}
		}
	}
	return all, rungs, parts
}
