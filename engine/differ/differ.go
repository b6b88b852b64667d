package differ

import (
	"cmp"
	"context"
	"slices"

	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// Kind says how a fate differs.
type Kind string

// The kinds of changes: newly acted on, no longer acted on, and otherwise: acted on in
// another way, or spared or observed in another way.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

// Kinds are all kinds, in the order in which they are shown.
var Kinds = []Kind{Added, Removed, Changed}

// maxExamples bounds the examples of a change.
const maxExamples = 3

// Difference is what two programs make of one picture.
type Difference struct {
	Old, New *rules.Program
	Rules    rules.Changes // what the new one changed
	Changes  []*Change     // by kind, the largest first
	Totals   map[Kind]Total
	// Sockets is how many sockets some rule of either is about.
	Sockets int
	// Report is that of the judgement by the new rules, for what could not be seen.
	Report *report.Report
}

// Change is the sockets whose fate changes in the same way.
type Change struct {
	Kind Kind
	// Rule is the one whose doing it is: that which newly takes the sockets, or else that
	// which took them.
	Rule     string
	Count    int // sockets
	Living   int // what is not dead by evidence among what would end, or would have
	Old, New Fate
	// Examples are a few of the sockets: the living first, then the oldest.
	Examples []*look.Candidate
}

// Total sums up the changes of a kind.
type Total struct {
	Count, Living int
	Rules         []string // those with the most sockets first
}

// Compare judges a picture by both programs. It is that of the old one, with the new one
// among its younger ones, or the other way round.
func Compare(ctx context.Context, j *judge.Judge, p *look.Picture, was, now *rules.Program) *Difference {
	c := &comparison{judge: j, before: j.Steady(ctx, p, was)}
	c.after = j.Steady(ctx, p, now)
	d := &Difference{Old: was, New: now, Rules: now.Diff(was), Totals: map[Kind]Total{}, Sockets: len(p.Candidates), Report: c.after.Report}
	d.Report.Incomplete = p.Incomplete || c.before.Incomplete || c.after.Incomplete
	for _, pair := range c.pairs() {
		c.note(pair)
	}
	d.Changes = make([]*Change, 0, len(c.groups))
	for _, g := range c.groups {
		d.Changes = append(d.Changes, c.change(ctx, g))
	}
	slices.SortStableFunc(d.Changes, func(a, b *Change) int {
		return cmp.Or(cmp.Compare(slices.Index(Kinds, a.Kind), slices.Index(Kinds, b.Kind)), -cmp.Compare(a.Count, b.Count), cmp.Compare(a.Rule, b.Rule))
	})
	for _, kind := range Kinds {
		if t := c.total(ctx, d.Changes, kind); t.Count > 0 {
			d.Totals[kind] = t
		}
	}
	return d
}

// comparison compares two judgements of one picture.
type comparison struct {
	judge         *judge.Judge
	before, after *judge.Cycle
	groups        []*group
	byKey         map[string]*group
}

// pair is what both programs say about one socket, nil for nothing.
type pair struct{ old, now *judge.Case }

// group is the sockets of a change.
type group struct {
	kind  Kind
	pairs []pair
}

// pairs returns what both say about each socket, and about the empty groups of the host,
// which are told apart by their rules.
func (c *comparison) pairs() []pair {
	old, now := decided(c.before), decided(c.after)
	all := make([]pair, 0, len(c.before.Candidates))
	for i, cand := range c.before.Candidates {
		all = append(all, pair{old.bySocket[cand], now.bySocket[c.after.Candidates[i]]})
	}
	for _, f := range slices.Concat(old.ofNobody, now.ofNobody) {
		p := pair{ofRule(old.ofNobody, f.Rule), ofRule(now.ofNobody, f.Rule)}
		if !slices.Contains(all[len(c.before.Candidates):], p) {
			all = append(all, p)
		}
	}
	return all
}

// decisions are the deciding cases of a judgement.
type decisions struct {
	bySocket map[*look.Candidate]*judge.Case
	ofNobody []*judge.Case
}

func decided(c *judge.Cycle) decisions {
	d := decisions{bySocket: map[*look.Candidate]*judge.Case{}}
	for _, f := range c.Cases {
		if f.NoSocket() {
			d.ofNobody = append(d.ofNobody, f)
			continue
		}
		if was := d.bySocket[f.Candidate]; was == nil || weight(f) > weight(was) {
			d.bySocket[f.Candidate] = f
		}
	}
	return d
}

// weight orders what several rules say about a socket: the one that has it decides.
func weight(f *judge.Case) int {
	switch f.Decision { //nolint:exhaustive // the others have the socket
	case report.DecideUnless, report.DecideShadowed, report.DecidePending:
		return 0
	case report.DecideObserve:
		return 1
	}
	return 2
}

func ofRule(all []*judge.Case, r *rules.Rule) *judge.Case {
	if i := slices.IndexFunc(all, func(f *judge.Case) bool { return f.Rule.Name == r.Name }); i >= 0 {
		return all[i]
	}
	return nil
}

// note adds a socket to the others whose fate changes in the same way.
func (c *comparison) note(p pair) {
	was, now := fateOf(p.old), fateOf(p.now)
	if was.same(&now) {
		return
	}
	kind := Changed
	switch acted, acts := was.Decision == report.DecideAct, now.Decision == report.DecideAct; {
	case acts && !acted:
		kind = Added
	case acted && !acts:
		kind = Removed
	}
	key := string(kind) + "\x00" + was.key() + "\x00" + now.key()
	if c.byKey == nil {
		c.byKey = map[string]*group{}
	}
	g := c.byKey[key]
	if g == nil {
		g = &group{kind: kind}
		c.byKey[key], c.groups = g, append(c.groups, g)
	}
	g.pairs = append(g.pairs, p)
}
