package act

import (
	"context"
	"errors"
	"fmt"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/silence"
)

// recheck is the last look before a ladder acts.
func (k *lastLook) recheck(ctx context.Context, l *ladder) error {
	if l.bound().Harmless {
		return nil
	}
	return k.again(ctx, l, k.allowed)
}

// again looks up each socket of a ladder again and confirms who holds it. The rule's
// condition must still be true, a group must still be one, and nothing may spare the
// socket. Findings that fail this leave the ladder with that result; the error is ErrGone
// if nothing of the ladder's own rule is left.
func (k *lastLook) again(ctx context.Context, l *ladder, allowed func(*ladder, *look.Candidate) error) error {
	k.judge.Council.ReadRules()
	errs := make([]error, len(l.findings))
	for i, f := range l.findings { // counting first, as it looks at everything
		if errs[i] = k.stillGroup(ctx, l, f); errs[i] == nil {
			errs[i] = k.groupsAgree(ctx, f)
		}
	}
	if err := k.ready(ctx, l); err != nil {
		return err
	}
	began := k.world.Mono()
	l.looked = began
	glance := k.world.Processes.Glance()
	defer glance.Close()
	now := make([]*look.Candidate, len(l.findings))
	for i, f := range l.findings {
		now[i] = f.latest().Glimpse(glance)
	}
	sockets := make([]collectors.Socket, len(l.findings))
	if !l.held {
		var lookErrs []error
		sockets, lookErrs = look.Again(ctx, k.world, candidatesOf(l.findings))
		for i, err := range lookErrs {
			if err != nil {
				errs[i] = err
			}
		}
	}
	in := k.quiet()
	var keep []*subject
	var slots []int
	var why error
	own := false
	for i, f := range l.findings {
		err := errs[i]
		if err == nil && !f.NoSocket() {
			if !l.held {
				now[i].Socket = sockets[i]
			}
			err = k.verdict(l, f, now[i], began, in)
		} else if err == nil {
			err = k.ofNobody(l, f, in)
		}
		if err == nil && allowed != nil && !f.NoSocket() && l.own(f) {
			err = allowed(l, now[i])
		}
		if err != nil && !errors.Is(err, collectors.ErrGone) {
			return err
		}
		if err != nil {
			why = err
			if len(l.findings) > 1 {
				l.slots[i] = len(f.Actions)
				f.Actions = append(f.Actions, l.result(actions.OutcomeOf(err), l.action()))
			}
			continue
		}
		f.renewed = now[i]
		keep, slots, own = append(keep, f), append(slots, l.slots[i]), own || l.own(f)
	}
	if !own { // this rule does not act on behalf of another
		return why
	}
	if len(keep) < len(l.findings) {
		l.findings, l.slots = keep, slots
	}
	return nil
}

// ofNobody is verdict for a finding without a socket.
func (k *lastLook) ofNobody(l *ladder, f *subject, in silence.List) error {
	if rule := l.ruleOf(f); rule != nil && !rule.InWindow(k.world.Now()) {
		return actions.Changedf("the end of the window of %s spares it now", f.Rule.Name)
	}
	if err := silent(in, f.Rule.Name, f.Candidate); err != nil {
		return err
	}
	return k.judge.Council.NewerSpares(l.at(), f.Case, f.Candidate)
}

// UnderWay names what the ladders that wait are for.
func (h *Hand) UnderWay() map[string]bool {
	waiting := map[string]bool{}
	for _, l := range h.Ladders {
		for _, f := range l.findings {
			for _, key := range judge.TargetsAndPeer(f.Finding, l.bound()) {
				waiting[key] = true
			}
		}
	}
	return waiting
}

// abandon ends a ladder midway: it stops its effect and records how far that got.
func (h *Hand) abandon(ctx context.Context, l *ladder, why error) {
	if l.waits && !l.done {
		h.cooling.giveBack(l)
		l.finish(actions.Outcome{Result: actions.Failed, Err: fmt.Errorf("not begun: %w", why)}, l.action())
		return
	}
	if l.done || l.effect == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	out := actions.Stop(ctx, l.effect)
	l.note(out, l.effect.String())
	h.news.Outcome(ctx, l.outcome(l.effect.String(), out))
	l.done = true
}

// errStopped and errRuleChanged say why a ladder was abandoned.
var (
	errStopped     = errors.New("sockwarden was told to stop")
	errRuleChanged = errors.New("its rule has changed")
)

// AbandonAll ends every waiting ladder.
func (h *Hand) AbandonAll(ctx context.Context) {
	for _, l := range h.Ladders {
		h.abandon(ctx, l, errStopped)
	}
	h.Ladders = nil
}
