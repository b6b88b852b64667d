package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
)

// secondLook is how much later a socket must still be in its state before its
// process has to suffer for it. A peer can make its own connection look old to a
// single look (its FIN carries an old ACK number); a program that is well closes
// what its peer has closed within milliseconds.
const secondLook = time.Second

// wide reports whether an action does more than end or change one connection:
// it is for a process, or runs a program.
func wide(p *actions.Plugin) bool { return !p.Harmless && !p.Single() }

// needsTwo reports whether a rule leads to a wide action by what it knows of
// time: by its first rung that changes anything, or, if later is set, by any.
func (e *Engine) needsTwo(rule *rules.Rule, later bool) bool {
	if !rule.ReadsTime() {
		return false
	}
	if !later {
		rung, plugin := e.effective(rule)
		return rung != nil && wide(&plugin)
	}
	return slices.ContainsFunc(rule.Then, func(r rules.Rung) bool {
		p, err := e.opts.Actions.Get(r.Action)
		return err != nil || wide(&p)
	})
}

// findNeeds says of which of the program's rules the sockets are remembered, for
// a later rung too, and of which they are to be seen twice before they are decided
// about. A group is decided about by all its members at once.
func (e *Engine) findNeeds(c *cycle) {
	c.remembers, c.needsTwo = make([]bool, len(c.program.Rules)), make([]bool, len(c.program.Rules))
	for i, rule := range c.program.Rules {
		c.remembers[i] = e.needsTwo(rule, true)
		c.needsTwo[i] = rule.Mode == rules.ModeEnforce && e.needsTwo(rule, rule.Grouped())
	}
}

// provenAt reports whether the age of the candidate is by an event, or whether
// we ourselves had seen it in its state that much before a look that began then.
func (c *Candidate) provenAt(began float64) bool { return c.leftAt(began) <= 0 }

// leftAt is how much longer the candidate must be seen in its state.
func (c *Candidate) leftAt(began float64) time.Duration {
	if c.Facts.Age.Source == collectors.AgeEvent || c.NoSocket() {
		return 0
	}
	if c.since == 0 { // there is no room to remember it
		return secondLook
	}
	return max(0, secondLook-time.Duration((began-c.since)*float64(time.Second)))
}

// lookTwice looks again, once, at the sockets that a rule would take but that were
// seen only once, so that one run is enough. A watcher's next cycle does it.
func (e *Engine) lookTwice(ctx context.Context, c *cycle) {
	if e.watching {
		return
	}
	once := map[*namespace][]*Candidate{}
	for _, cand := range c.candidates {
		if !cand.provenAt(c.looked) && cand.since > 0 && slices.ContainsFunc(cand.hits, func(i int) bool {
			rule := c.program.Rules[i]
			return c.needsTwo[i] && cand.eval(rule.When) == rules.True && cand.exempt(c.program, rule, c.began) == ""
		}) {
			once[cand.ns] = append(once[cand.ns], cand)
		}
	}
	if len(once) == 0 {
		return
	}
	e.log.Debug("looking again before a process is acted on", "in", secondLook)
	if e.sleep(ctx, e.until(c.ended.Add(secondLook+grain))); ctx.Err() != nil {
		return
	}
	gone := map[*Candidate]bool{}
	for ns, cands := range once {
		e.seeAgain(ctx, c, ns, cands, gone)
	}
	c.candidates = slices.DeleteFunc(c.candidates, func(cand *Candidate) bool { return gone[cand] })
}

// seeAgain notes that candidates of a namespace are still in their state, and
// which are not.
func (e *Engine) seeAgain(ctx context.Context, c *cycle, ns *namespace, cands []*Candidate, gone map[*Candidate]bool) {
	socks := make([]*collectors.Socket, len(cands))
	for i, cand := range cands {
		socks[i] = &cand.Socket
	}
	began := e.mono()
	now, errs, err := e.world.Sockets.LookUp(ctx, &ns.Namespace, socks)
	if err != nil {
		c.fail(fmt.Errorf("namespace %s: %w", ns.Name, err))
		return
	}
	at := e.mono()
	for i, cand := range cands {
		key := collectors.KeyOf(&cand.Socket)
		if errs[i] != nil && !errors.Is(errs[i], collectors.ErrGone) {
			err = errs[i] // whether it is there is not known: it was seen once
			continue
		}
		if errs[i] != nil || collectors.KeyOf(&now[i]) != key {
			gone[cand] = true
			continue
		}
		cand.Socket = now[i]
		cand.setAge(e.memory.recall(key, markOf(&now[i], began, at), e.shownAge(&now[i], at), began, at))
		cand.since, cand.seenAgain = e.memory.since(key), began
	}
	if err != nil {
		c.fail(fmt.Errorf("namespace %s: second look: %w", ns.Name, err))
	}
}

// seenOnce spares what was not seen for long enough to act on its process.
func (e *Engine) seenOnce(c *cycle, f *Finding) bool {
	left := f.leftAt(max(c.looked, f.seenAgain))
	if left <= 0 || !e.needsTwo(f.Rule, false) {
		return false
	}
	c.sooner(left)
	rung, _ := e.effective(f.Rule)
	f.Held = f.Rule.For
	f.set(DecidePending, "seen for less than %s: %s needs a second look, by watch, --observe, or the next run with this state file",
		short(secondLook), rung.Action)
	return true
}

// climbsTwice is nil if a further rung may be begun that does more than end one
// connection: what led to it was seen for long enough, which is waited for.
func (e *Engine) climbsTwice(ctx context.Context, l *ladder, plugin *actions.Plugin) error {
	if !wide(plugin) || !l.rule.ReadsTime() {
		return nil
	}
	left := e.unseen(l)
	if left <= 0 {
		return nil
	}
	if e.sleep(ctx, left+grain); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := e.lookAgain(ctx, l, nil); err != nil {
		return err
	}
	if e.unseen(l) > 0 {
		return fmt.Errorf("%s: it was seen for less than %s", plugin.Name, short(secondLook)) //nolint:err113 // for people
	}
	return nil
}

// unseen is how much longer the sockets of a ladder must be seen. Of one that is
// destroyed it is since when its process has kept the descriptor.
func (e *Engine) unseen(l *ladder) (left time.Duration) {
	now := e.mono()
	for _, f := range l.findings {
		if !l.own(f) {
			continue
		}
		cand := f.latest().clone()
		cand.since = f.since
		if began := e.memory.since(collectors.KeyOf(&f.Socket)); began > cand.since {
			cand.since = began
		}
		left = max(left, cand.leftAt(now))
	}
	return left
}
