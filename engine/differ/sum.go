package differ

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
)

// change describes a group.
func (c *comparison) change(ctx context.Context, g *group) *Change {
	first := g.pairs[0]
	out := &Change{Kind: g.kind, Count: len(g.pairs), Old: fateOf(first.old), New: fateOf(first.now), Living: c.living(ctx, []*group{g})}
	out.Rule = cmp.Or(out.New.Rule, out.Old.Rule)
	if g.kind == Removed {
		out.Rule = out.Old.Rule
	}
	var dead []*look.Candidate
	for _, p := range g.pairs {
		if f := cmp.Or(p.now, p.old); c.judge.Breaker.Dead(f.Candidate) {
			dead = append(dead, f.Candidate)
		} else if len(out.Examples) < maxExamples {
			out.Examples = append(out.Examples, f.Candidate)
		}
	}
	out.Examples = append(out.Examples, dead[:min(len(dead), maxExamples-len(out.Examples))]...)
	return out
}

// living counts what the groups, of one kind, would end that lives; if neither program acts
// on it, the sockets that live.
func (c *comparison) living(ctx context.Context, groups []*group) int {
	var old, now []*judge.Case
	sockets := 0
	for _, g := range groups {
		for _, p := range g.pairs {
			switch {
			case p.now != nil && p.now.Decision == report.DecideAct:
				now = append(now, p.now)
			case p.old != nil && p.old.Decision == report.DecideAct:
				old = append(old, p.old)
			case !cmp.Or(p.now, p.old).NoSocket() && !c.judge.Breaker.Dead(cmp.Or(p.now, p.old).Candidate):
				sockets++
			}
		}
	}
	return sockets + c.judge.Living(ctx, c.before, old) + c.judge.Living(ctx, c.after, now)
}

// total sums up the changes of a kind.
func (c *comparison) total(ctx context.Context, changes []*Change, kind Kind) Total {
	var t Total
	for _, ch := range changes {
		if ch.Kind != kind {
			continue
		}
		t.Count += ch.Count
		if !slices.Contains(t.Rules, ch.Rule) {
			t.Rules = append(t.Rules, ch.Rule)
		}
	}
	t.Living = c.living(ctx, slices.DeleteFunc(slices.Clone(c.groups), func(g *group) bool { return g.kind != kind }))
	return t
}

// Summary is the difference on one line, "" if there is none: "12 more sockets, 0 living,
// by rd-leak; 3 sockets fewer, 1 living, by hung".
func (d *Difference) Summary() string {
	var parts []string
	for _, k := range Kinds {
		t, ok := d.Totals[k]
		if !ok {
			continue
		}
		text := collectors.Counted(t.Count, "more socket")
		if k != Added {
			text = collectors.Counted(t.Count, "socket") + map[Kind]string{Removed: " fewer", Changed: " otherwise"}[k]
		}
		parts = append(parts, fmt.Sprintf("%s, %d living, by %s", text, t.Living, namesOf(t.Rules)))
	}
	return strings.Join(parts, "; ")
}

// namesOf joins names, of many only the first ones.
func namesOf(names []string) string {
	const most = 4
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %s", strings.Join(names[:most-1], ", "), collectors.Counted(len(names)-most+1, "more rule"))
}
