package act

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/silence"
	"sockwarden/rules"
)

const (
	// When an effect begins, the last answer to who holds the sockets, and how many a group
	// has, may be this old: four times as long as asking takes, so that asking takes a fifth
	// of the time, within these bounds.
	recentAtLeast, recentAtMost = 25 * time.Millisecond, 250 * time.Millisecond
	// renewedAtOnce is how many ladders share one search for holders: for more of them the
	// answer would be too old before their turn.
	renewedAtOnce = 16384
)

// subject is a case with ladders for it.
type subject struct {
	*judge.Case
	*standing // of its group, nil for none
	// renewed is the candidate with the holders that the last look found, nil if the
	// decision is recent enough.
	renewed *look.Candidate
}

// standing is the state of a group while ladders act on its sockets.
type standing struct {
	at    time.Time         // when it was counted last
	taken []*look.Candidate // the sockets that ladders have acted on since
	now   *judge.Group      // as it was counted last, nil if that was for the decision
	over  error             // why the last count found no such group any more
}

// latest is the socket with its last known holders.
func (f *subject) latest() *look.Candidate {
	if f.renewed != nil {
		return f.renewed
	}
	return f.Candidate
}

// RecentFor is how old these answers may be on this machine.
func (k *lastLook) RecentFor() time.Duration {
	return min(max(recentAtLeast, 4*k.looker.Asking), recentAtMost)
}

// recent reports whether the known holders of a ladder's sockets are recent enough.
func (k *lastLook) recent(l *ladder) bool {
	return !slices.ContainsFunc(l.findings, func(f *subject) bool {
		return !f.NoSocket() && k.world.Now().Sub(f.latest().OwnersAt) > k.RecentFor()
	})
}

// ready searches again for the holders of the ladders' sockets if the last answer is too
// old; one walk covers all ladders that may begin soon.
func (k *lastLook) ready(ctx context.Context, ladders ...*ladder) error {
	if !slices.ContainsFunc(ladders, func(l *ladder) bool { return !k.recent(l) }) {
		return nil
	}
	var findings []*subject
	known := map[*subject]bool{}
	for i, l := range slices.Concat(ladders, k.queue) {
		if i >= len(ladders) && (l.done || l.effect != nil && l.rung+1 >= len(l.rule.Then) || i > renewedAtOnce) {
			continue // it is finished, or will not begin soon
		}
		for _, f := range l.findings {
			if !f.NoSocket() && !known[f] {
				known[f] = true
				findings = append(findings, f)
			}
		}
	}
	renewed, err := k.looker.RenewOwners(ctx, k.judge.Council.Plan(ladders[0].program), candidatesOf(findings))
	if err != nil {
		return err
	}
	for i, f := range findings {
		f.renewed = renewed[i]
	}
	return nil
}

func candidatesOf(findings []*subject) []*look.Candidate {
	cands := make([]*look.Candidate, len(findings))
	for i, f := range findings {
		cands[i] = f.Candidate
	}
	return cands
}

// verdict compares the decision about a finding with its socket now, looked up at began
// (CLOCK_MONOTONIC) or later: nil if the decision would be the same, and none of the silences
// is about it. Of a destroyed socket only the descriptor is left.
func (k *lastLook) verdict(l *ladder, f *subject, now *look.Candidate, began float64, in silence.List) error {
	rule := l.ruleOf(f)
	if rule == nil {
		return actions.Changedf("rule %s has changed", f.Rule.Name)
	}
	if l.held && len(now.Facts.Owners) == 0 {
		return fmt.Errorf("nobody has the descriptor any more: %w", collectors.ErrGone)
	}
	if !l.held {
		key := collectors.KeyOf(&now.Socket)
		switch was := collectors.KeyOf(&f.Socket); {
		case key.State != was.State:
			return actions.Changedf("it is %s now", now.Socket.State)
		case key != was:
			return actions.Changedf("it is another connection now")
		}
		at := k.world.Mono()
		now.SetAge(k.memory.Recall(key, memory.MarkOf(&now.Socket, began, at), k.looker.Ages.Shown(&now.Socket, at), began, at))
		now.SetStalled(k.looker.Stalled(&now.Socket, began, at))
		if since := k.memory.Since(key); f.Since > 0 && since > f.Since {
			return actions.Changedf("it is another connection now") // on the same descriptor, which the counters show
		}
	}
	if o := f.NewProcess(now, l.bound()); o != nil {
		return actions.Changedf("%s[%d] holds it now", o.Name, o.PID)
	}
	k.looker.RenewGone(k.judge.Council.Plan(l.program), now, k.RecentFor())
	if v := now.Eval(rule.When); v != rules.True {
		return actions.Changedf("%s does not match any more%s", rule.Name, look.NotKnown(v))
	}
	if why := now.Exempt(l.program, rule, k.world.Now()); why != "" {
		return actions.Changedf("%s spares it now", why)
	}
	if err := silent(in, f.Rule.Name, now); err != nil {
		return err
	}
	return k.judge.Council.NewerSpares(l.at(), f.Case, now)
}

// allowed is a ChangedError if a guard, or the rung itself, now spares the target.
func (k *lastLook) allowed(l *ladder, now *look.Candidate) error {
	rung := &l.rule.Then[l.rung]
	if cond := rung.If; cond != nil && l.rung == 0 && now.Eval(cond) != rules.True {
		return actions.Changedf("if of %s is no longer true", l.rule.Name)
	}
	if why := k.judge.Guard(now, rung); why != "" {
		return actions.Changedf("guarded by now: %s", why)
	}
	return nil
}

// recount is a fresh look at all sockets, to count the groups of a program again.
type recount struct {
	*look.Picture
	at time.Time
}

// stillGroup is a ChangedError if a group no longer meets the demands of its rule. Sockets
// that the rule itself has destroyed still count, because the decision was about all.
func (k *lastLook) stillGroup(ctx context.Context, l *ladder, f *subject) error {
	g := f.standing
	if g == nil {
		return nil
	}
	if k.world.Now().Sub(g.at) > k.RecentFor() {
		g.over = nil
		now, err := k.regroup(ctx, l.program, l.ruleOf(f), f)
		switch {
		case err != nil:
			return fmt.Errorf("count the group again: %w", err)
		case now == nil:
			g.over = actions.Changedf("%s", overText(f.Rule))
		}
		g.at, g.now = k.counted.at, now
	}
	if g.over == nil && g.now != nil {
		if why := g.now.Keeps(f.Rule, &f.Socket); why != "" {
			return actions.Changedf("%s", why)
		}
	}
	return g.over
}

// overText says that a rule has no such group any more.
func overText(rule *rules.Rule) string {
	if rule.Having == nil {
		return fmt.Sprintf("nothing is beyond keep: %d of %s any more", rule.Keep, rule.Name)
	}
	return fmt.Sprintf("having of %s is no longer true", rule.Name)
}

// regroup returns the group of a subject as it is now, nil if having no longer holds of it.
func (k *lastLook) regroup(ctx context.Context, p *rules.Program, rule *rules.Rule, of *subject) (*judge.Group, error) {
	index := slices.Index(p.Rules, rule)
	if index < 0 {
		return nil, nil //nolint:nilnil // its rule has changed
	}
	if k.counted.Picture == nil || k.counted.Program != p || k.world.Now().Sub(k.counted.at) > k.RecentFor() {
		picture, err := k.looker.Look(ctx, k.judge.Council.Wanted(p))
		if err != nil {
			return nil, err
		}
		if picture.Incomplete {
			return nil, errors.Join(picture.Errors...)
		}
		k.counted = recount{picture, k.world.Now()}
	}
	picture := *k.counted.Picture
	picture.Candidates = slices.Clone(picture.Candidates)
	for _, taken := range of.taken {
		if !slices.ContainsFunc(picture.Candidates, func(o *look.Candidate) bool {
			return o.Socket.Cookie == taken.Socket.Cookie && o.Socket.NetNS == taken.Socket.NetNS
		}) {
			again := taken.Clone()
			again.Hits = []int{index}
			picture.Candidates = append(picture.Candidates, again)
		}
	}
	return k.judge.GroupNow(&picture, index, of.Group.ID), nil
}

// groupsAgree counts the group of a subject under the generations of rules that are newer
// than the decision.
func (k *lastLook) groupsAgree(ctx context.Context, f *subject) error {
	return k.judge.Council.GroupsAgree(f.Case, func(p *rules.Program, rule *rules.Rule) (*judge.Group, error) { return k.regroup(ctx, p, rule, f) })
}
