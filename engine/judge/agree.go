package judge

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// opinion is the view of a younger generation on the sockets of a cycle: a cycle of its own
// with the same candidates.
type opinion struct {
	younger
	*Cycle
	grouped []map[*look.Candidate]*Group
	news    []*Case // about sockets that the rules in force do not take
}

// opinions asks every younger generation. Each sees all candidates, so that its groups and
// timers count as they will when it is in force.
func (k *council) opinions(c *Cycle) []*opinion {
	var all []*opinion
	for _, g := range k.younger() {
		o := &opinion{younger: g, Cycle: k.cycleOf(g.judged, c)}
		o.Candidates = make([]*look.Candidate, len(c.Candidates))
		for i, cand := range c.Candidates {
			o.Candidates[i] = cand.Clone()
			r := cand.Record()
			o.Candidates[i].Hits = append([]int(nil), g.matches.Match(&r)...)
		}
		o.grouped = make([]map[*look.Candidate]*Group, len(g.judged.Rules))
		for i := range o.grouped {
			o.grouped[i] = k.groups(o.Cycle, i)
		}
		all = append(all, o)
	}
	return all
}

// cycleOf is a cycle for asking a generation.
func (k *council) cycleOf(judged *rules.Program, c *Cycle) *Cycle {
	p := &look.Picture{
		Wanted: k.wantedOf(judged), Incomplete: c.Incomplete, Namespaces: c.Namespaces, Moments: c.Moments,
		Extra: look.ExtraLooks{Ports: c.Extra.Ports},
	}
	return &Cycle{Picture: p, Report: &report.Report{}, Silences: c.Silences}
}

// askAll returns what each younger generation finds about a candidate.
func (k *council) askAll(opinions []*opinion, n int) [][]*Case {
	var said [][]*Case
	for _, o := range opinions {
		h := &hearing{Cycle: o.Cycle}
		var found []*Case
		cand := o.Candidates[n]
		for _, i := range cand.Hits {
			if f := k.consider(h, cand, o.judged.Rules[i], o.grouped[i][cand]); f != nil {
				found = append(found, f)
			}
		}
		said, o.news = append(said, found), append(o.news, found...)
	}
	return said
}

// askOfNobody is askAll for the empty group of a host.
func (k *council) askOfNobody(opinions []*opinion) [][]*Case {
	var said [][]*Case
	for _, o := range opinions {
		var found []*Case
		for i, rule := range o.judged.Rules {
			if g := o.grouped[i][o.none]; o.none != nil && g != nil {
				found = append(found, k.consider(&hearing{Cycle: o.Cycle}, o.none, rule, g))
			}
		}
		said = append(said, found)
	}
	return said
}

// agree has every younger generation confirm what the rules in force would do: each must
// have a rule that does the same to the socket now. Otherwise it spares the finding, and
// the reason says why. said holds their findings about its candidate.
func (k *council) agree(ctx context.Context, c *Cycle, f *Case, opinions []*opinion, said [][]*Case, q *quota) {
	if f.Decision != report.DecideAct {
		return
	}
	for i, o := range opinions {
		theirs := owning(said[i])
		if f.NoSocket() { // each rule has an empty group of its own
			theirs = ofRule(said[i], f.Rule.Name)
		}
		f.Unsettled = true
		switch {
		case theirs == nil:
			f.set(report.DecidePending, "%s: none of the new ones takes it", ago(o.Generation, c.Began))
			return
		case theirs.Decision != report.DecideAct:
			f.set(theirs.Decision, "%s: the new ones spare it: %s", ago(o.Generation, c.Began), theirs.Reason)
			return
		case !sameEffect(f.Rule, 0, theirs.Rule):
			f.set(report.DecidePending, "%s: with the new ones rule %s does something else", ago(o.Generation, c.Began), theirs.Rule.Name)
			return
		}
		if theirs.Rule.Fingerprint != f.Rule.Fingerprint {
			if k.limit(ctx, theirs, o.Cycle, q); theirs.Decision != report.DecideAct {
				f.set(theirs.Decision, "%s: %s", ago(o.Generation, c.Began), theirs.Reason)
				f.throttled = theirs.throttled
				return
			}
		}
		if f.agreed == nil {
			f.agreed = map[*Generation]*Group{}
		}
		f.agreed[o.Generation], f.Unsettled = theirs.group, false
	}
}

// owning returns the finding of the rule that owns the socket; if none does, the first
// finding that says why, nil if no rule takes it.
func owning(found []*Case) *Case {
	if i := slices.IndexFunc(found, func(f *Case) bool { return f.owns }); i >= 0 {
		return found[i]
	}
	if len(found) > 0 {
		return found[0]
	}
	return nil
}

// ofRule returns the finding of the rule of that name, nil if there is none.
func ofRule(found []*Case, name string) *Case {
	if i := slices.IndexFunc(found, func(f *Case) bool { return f.Rule.Name == name }); i >= 0 {
		return found[i]
	}
	return nil
}

func ago(g *Generation, now time.Time) string {
	return fmt.Sprintf("rules changed %.1f s ago", max(0, now.Sub(g.at).Seconds()))
}

// showNews adds what only the youngest generation finds; it waits until that is in force.
func (k *council) showNews(c *Cycle, opinions []*opinion) {
	if len(opinions) == 0 {
		return
	}
	for _, o := range opinions {
		if next := o.Report.Next; !next.IsZero() && (c.Report.Next.IsZero() || next.Before(c.Report.Next)) {
			c.Report.Next = next
		}
	}
	o := opinions[len(opinions)-1]
	if o.Read != k.Gens.Newest() {
		return // the newest rules are the ones in force
	}
	has := map[report.Key]bool{}
	for _, f := range c.Cases {
		has[report.KeyOf(f.Finding)] = true
	}
	for _, f := range o.news {
		if has[report.KeyOf(f.Finding)] {
			continue
		}
		if f.Decision == report.DecideAct {
			left := max(0, rules.Settle-c.Began.Sub(o.at))
			f.set(report.DecidePending, "%s: they are in force in %.1f s", ago(o.Generation, c.Began), left.Seconds())
		}
		f.Unsettled, f.throttled = true, false
		c.Cases = append(c.Cases, f)
	}
}

// ReadRules checks whether the rules have changed. Reading files can take long, so it comes
// before a look, and not between a look and its effect.
func (k *council) ReadRules() {
	k.asks.Lock()
	defer k.asks.Unlock()
	if k.Refresh != nil {
		k.Refresh()
	}
}

// Place is where a ladder stands.
type Place struct {
	Rule *rules.Rule
	Rung int
}

// NewerSpares is a ChangedError if any other generation of rules that counts now would not
// do to the finding's socket, as just seen, what the ladder is about to do. It is safe for
// concurrent use.
func (k *council) NewerSpares(at Place, f *Case, fresh *look.Candidate) error {
	k.asks.Lock()
	defer k.asks.Unlock()
	for _, g := range k.younger() {
		if why := k.sparedBy(g, at, f, fresh); why != "" {
			return actions.Changedf("%s: %s", ago(g.Generation, k.world.Now()), why)
		}
	}
	return nil
}

func (k *council) sparedBy(g younger, at Place, f *Case, fresh *look.Candidate) string {
	group, agreed := f.agreed[g.Generation]
	if !agreed && (f.Group != nil || f.NoSocket()) {
		return "the next cycle decides on the group again"
	}
	if f.NoSocket() {
		return ""
	}
	now := k.world.Mono()
	p := &look.Picture{Wanted: k.wantedOf(g.judged), Moments: look.Moments{Began: k.world.Now(), Looked: now, Now: now, Ended: k.world.Now()}}
	c := &Cycle{Picture: p, Report: &report.Report{}}
	h := &hearing{Cycle: c}
	var found []*Case
	r := fresh.Record()
	for _, i := range append([]int(nil), g.matches.Match(&r)...) {
		if theirs := k.consider(h, fresh, g.judged.Rules[i], group); theirs != nil {
			found = append(found, theirs)
		}
	}
	rule, rung := at.Rule, at.Rung
	if f.Rule.Name != at.Rule.Name {
		rule, rung = f.Rule, 0 // it only shares the process
	}
	theirs := owning(found)
	switch {
	case theirs == nil:
		return "none of the new ones takes it"
	case theirs.Decision != report.DecideAct:
		return "the new ones spare it: " + theirs.Reason
	case !sameEffect(rule, rung, theirs.Rule):
		return fmt.Sprintf("with the new ones rule %s does something else", theirs.Rule.Name)
	case at.Rung > 0:
		return k.Guard(fresh, &at.Rule.Then[at.Rung])
	}
	return ""
}

// HeldBack reports whether a ladder must wait at its rung: the generations differ about its
// rule, and it will be clear in a moment which of them stay.
func (k *council) HeldBack(at Place, before actions.Result) bool {
	if at.Rung+1 >= len(at.Rule.Then) || !before.Climbs() && !at.Rule.Then[at.Rung+1].ReadsResult() {
		return false
	}
	for _, g := range k.younger() {
		if now := g.judged.Rule(at.Rule.Name); now == nil || now.Fingerprint != at.Rule.Fingerprint {
			return true
		}
	}
	return false
}

// GroupsAgree counts the group of a case under the generations that are newer than the
// decision. It is a ChangedError if one of them has no such group.
func (k *council) GroupsAgree(f *Case, count func(*rules.Program, *rules.Rule) (*Group, error)) error {
	if f.Group == nil {
		return nil
	}
	for _, g := range k.younger() {
		if _, agreed := f.agreed[g.Generation]; agreed {
			continue
		}
		var now *Group
		if rule := g.judged.Rule(f.Rule.Name); rule != nil {
			var err error
			if now, err = count(g.judged, rule); err != nil {
				return fmt.Errorf("count the group again: %w", err)
			}
		}
		if now == nil {
			return actions.Changedf("%s: with the new ones %s has no such group", ago(g.Generation, k.world.Now()), f.Rule.Name)
		}
		if f.agreed == nil {
			f.agreed = map[*Generation]*Group{}
		}
		f.agreed[g.Generation] = now
	}
	return nil
}
