package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// secondLook is how much later a socket must still be in its state before its
// process has to suffer for it. A peer can make its own connection look old to a
// single look (its FIN carries an old ACK number); a program that is well closes
// what its peer has closed within milliseconds.
const secondLook = time.Second

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
func (k *looker) lookTwice(ctx context.Context, c *Picture) {
	if k.horizon > 0 {
		return
	}
	once := map[*namespace][]*Candidate{}
	for _, cand := range c.candidates {
		if !cand.provenAt(c.looked) && cand.since > 0 && slices.ContainsFunc(cand.hits, func(i int) bool {
			rule := c.Program.Rules[i]
			return c.NeedsTwo[i] && cand.eval(rule.When) == rules.True && cand.exempt(c.Program, rule, c.began) == ""
		}) {
			once[cand.ns] = append(once[cand.ns], cand)
		}
	}
	if len(once) == 0 {
		return
	}
	k.log.Debug("looking again before a process is acted on", "in", secondLook)
	if world.Sleep(ctx, k.world, c.ended.Add(secondLook+grain).Sub(k.world.Now())); ctx.Err() != nil {
		return
	}
	gone := map[*Candidate]bool{}
	for ns, cands := range once {
		k.seeAgain(ctx, c, ns, cands, gone)
	}
	c.candidates = slices.DeleteFunc(c.candidates, func(cand *Candidate) bool { return gone[cand] })
}

// seeAgain notes that candidates of a namespace are still in their state, and
// which are not.
func (k *looker) seeAgain(ctx context.Context, c *Picture, ns *namespace, cands []*Candidate, gone map[*Candidate]bool) {
	socks := make([]*collectors.Socket, len(cands))
	for i, cand := range cands {
		socks[i] = &cand.Socket
	}
	began := k.world.Mono()
	now, errs, err := k.world.Sockets.LookUp(ctx, &ns.Namespace, socks)
	if err != nil {
		c.fail(fmt.Errorf("namespace %s: %w", ns.Name, err))
		return
	}
	at := k.world.Mono()
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
		cand.setAge(k.memory.recall(key, markOf(&now[i], began, at), k.ages.shown(&now[i], at), began, at))
		cand.since, cand.seenAgain = k.memory.since(key), began
	}
	if err != nil {
		c.fail(fmt.Errorf("namespace %s: second look: %w", ns.Name, err))
	}
}
