package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
)

// recheck looks each socket of a ladder up again, immediately before something
// is done: it must still be in its state, the rule's condition must still be
// true of it, and nothing may exempt it. What does not is left out, with the
// result changed; the error is ErrGone if nothing of the ladder's own rule is
// left. Of a socket that is destroyed already only the descriptor is left, which
// the action proves.
func (e *Engine) recheck(ctx context.Context, l *ladder) error {
	plugin, err := e.opts.Actions.Get(l.action())
	if err != nil || plugin.Harmless || !e.opts.Live || l.held {
		return err
	}
	var keep []*Finding
	var slots []int
	var why error
	own := false
	for i, f := range l.findings {
		if !f.NoSocket() {
			if err := e.stillTrue(ctx, l, f); err != nil && !errors.Is(err, collectors.ErrGone) {
				return err
			} else if err != nil {
				why = err
				if len(l.findings) > 1 {
					l.slots[i] = len(f.Actions)
					f.Actions = append(f.Actions, l.result(actions.OutcomeOf(err), l.action()))
				}
				continue
			}
		}
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

// stillTrue compares a finding with the kernel's record of now.
func (e *Engine) stillTrue(ctx context.Context, l *ladder, f *Finding) error {
	fd, closeNS, err := openNS(f.ns)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", collectors.ErrGone, err)
	}
	if err != nil {
		return err
	}
	defer closeNS()
	began := monotonic()
	socket, err := lookUp(ctx, fd, &f.Socket)
	if err != nil {
		return err
	}
	return e.stillMatches(l, f, socket, began)
}

// stillMatches compares a finding with a record that was looked up since began.
func (e *Engine) stillMatches(l *ladder, f *Finding, socket collectors.Socket, began float64) error {
	if socket.NetNS == 0 {
		socket.NetNS = f.ns.Inode
	}
	key := collectors.KeyOf(&socket)
	if key != collectors.KeyOf(&f.Socket) {
		return fmt.Errorf("socket %x is now %s: %w", socket.Cookie, socket.State, collectors.ErrGone)
	}
	rule := l.ruleOf(f)
	if rule == nil {
		return fmt.Errorf("rule %s has changed: %w", f.Rule.Name, collectors.ErrGone)
	}
	now := f.clone()
	now.Socket = socket
	if plugin, err := e.opts.Actions.Get(l.action()); err == nil && !plugin.OnProcess && !plugin.Harmless {
		if why := e.quirk(&socket); why != "" {
			return fmt.Errorf("socket %x: %s: %w", socket.Cookie, why, collectors.ErrGone)
		}
	}
	at := monotonic()
	now.setAge(e.memory.recall(key, e.shownAge(&socket, at), began, at))
	if now.eval(rule.When) != rules.True || now.exempt(l.program, rule, time.Now()) {
		return fmt.Errorf("socket %x does not match any more: %w", socket.Cookie, collectors.ErrGone)
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
func (e *Engine) abandon(l *ladder) {
	if l.done || l.effect == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out := l.effect.Verify(ctx)
	l.note(out, l.effect.String())
	e.logOutcome(ctx, l, l.effect.String(), out)
	l.done = true
}

// abandonAll ends every ladder that waits.
func (e *Engine) abandonAll() {
	for _, l := range e.ladders {
		e.abandon(l)
	}
	e.ladders = nil
}
