package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sockwarden/actions"
	"sockwarden/collectors"
)

// recheck is the last look before something is done for a ladder.
func (e *Engine) recheck(ctx context.Context, l *ladder) error {
	plugin, err := e.opts.Actions.Get(l.action())
	if err != nil || plugin.Harmless || !e.opts.Live {
		return err
	}
	return e.lookAgain(ctx, l, e.allowed)
}

// lookAgain looks each socket of a ladder up again and confirms who holds it: the
// rule's condition must still be true of it, a group still be one, and nothing may
// spare it. What changed, or is not allowed, is left out, with that result; the error
// is ErrGone if nothing of the ladder's own rule is left.
func (e *Engine) lookAgain(ctx context.Context, l *ladder, allowed func(*ladder, *Candidate) error) error {
	e.readRules()
	errs := make([]error, len(l.findings))
	for i, f := range l.findings { // counting takes a look at everything: first
		if errs[i] = e.stillGroup(ctx, l, f); errs[i] == nil {
			errs[i] = e.groupsAgree(ctx, f)
		}
	}
	if err := e.ready(ctx, l); err != nil {
		return err
	}
	began := e.mono()
	l.looked = began
	glance := e.world.Processes.Glance()
	defer glance.Close()
	now := make([]*Candidate, len(l.findings))
	for i, f := range l.findings {
		now[i] = glimpse(glance, f)
	}
	sockets := make([]collectors.Socket, len(l.findings))
	if !l.held {
		var lookErrs []error
		sockets, lookErrs = e.lookUpAll(ctx, l.findings)
		for i, err := range lookErrs {
			if err != nil {
				errs[i] = err
			}
		}
	}
	var keep []*Finding
	var slots []int
	var why error
	own := false
	for i, f := range l.findings {
		err := errs[i]
		if err == nil && !f.NoSocket() {
			if !l.held {
				now[i].Socket = sockets[i]
			}
			err = e.verdict(l, f, now[i], began)
		} else if err == nil {
			err = e.newerSpares(l, f, f.Candidate)
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
	if !own { // what another rule wants of the process is not this rule's to do
		return why
	}
	if len(keep) < len(l.findings) {
		l.findings, l.slots = keep, slots
	}
	return nil
}

// underWay reports whether a ladder that waits is for one of these targets, or
// for the same peer if both rules spare peers.
func (c *cycle) underWay(e *Engine, f *Finding, plugin *actions.Plugin) bool {
	if len(e.ladders) == 0 {
		return false
	}
	keys := func(f *Finding, plugin *actions.Plugin) []string {
		keys := targetKeys(f, plugin)
		if f.Rule.Limits.Peer > 0 && !f.NoSocket() {
			keys = append(keys, peerKey(f))
		}
		return keys
	}
	if c.waiting == nil {
		c.waiting = map[string]bool{}
		for _, l := range e.ladders {
			p, err := e.opts.Actions.Get(l.action())
			if err != nil {
				continue
			}
			for _, other := range l.findings {
				for _, k := range keys(other, &p) {
					c.waiting[k] = true
				}
			}
		}
	}
	return slices.ContainsFunc(keys(f, plugin), func(k string) bool { return c.waiting[k] })
}

// abandon ends a ladder in its middle: what is under way is ended, and how far it
// got is written down.
func (e *Engine) abandon(l *ladder, why error) {
	if l.waits && !l.done {
		e.giveBack(l)
		l.finish(actions.Outcome{Result: actions.Failed, Err: fmt.Errorf("not begun: %w", why)}, l.action())
		return
	}
	if l.done || l.effect == nil {
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	out := l.effect.Verify(ctx)
	l.note(out, l.effect.String())
	e.logOutcome(ctx, l, l.effect.String(), out)
	l.done = true
}

// errStopped and errRuleChanged say why a ladder is abandoned.
var (
	errStopped     = errors.New("sockwarden was told to stop")
	errRuleChanged = errors.New("its rule has changed")
)

// abandonAll ends every ladder that waits.
func (e *Engine) abandonAll() {
	for _, l := range e.ladders {
		e.abandon(l, errStopped)
	}
	e.ladders = nil
}
