package look

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// SecondLook is how long a socket must stay in its state under our eyes before an action
// may harm its process. A peer can make its own connection look old to a single look (its
// FIN carries an old ACK number); a healthy program closes what its peer has closed within
// milliseconds.
const SecondLook = time.Second

// ProvenAt reports whether an event proves the age of the candidate, or whether we had
// seen it in its state for SecondLook when a look began at that time.
func (c *Candidate) ProvenAt(began float64) bool { return c.LeftAt(began) <= 0 }

// LeftAt is how much longer the candidate must be seen in its state.
func (c *Candidate) LeftAt(began float64) time.Duration {
	if c.Facts.Age.Source == collectors.AgeEvent || c.NoSocket() {
		return 0
	}
	if c.Since == 0 { // memory is full
		return SecondLook
	}
	return max(0, SecondLook-time.Duration((began-c.Since)*float64(time.Second)))
}

// LookTwice takes a second look at the sockets that a rule would take but that we have seen
// only once, so that one run is enough. A watcher leaves that to its next cycle.
func (k *Looker) LookTwice(ctx context.Context, c *Picture) {
	if k.Horizon > 0 {
		return
	}
	once := map[*Namespace][]*Candidate{}
	for _, cand := range c.Candidates {
		if !cand.ProvenAt(c.Looked) && cand.Since > 0 && slices.ContainsFunc(cand.Hits, func(i int) bool {
			rule := c.Program.Rules[i]
			return c.NeedsTwo[i] && cand.Eval(rule.When) == rules.True && cand.Exempt(c.Program, rule, c.Began) == ""
		}) {
			once[cand.NS] = append(once[cand.NS], cand)
		}
	}
	if len(once) == 0 {
		return
	}
	k.log.Debug("looking again before a process is acted on", "in", SecondLook)
	if world.Sleep(ctx, k.world, c.Ended.Add(SecondLook+Grain).Sub(k.world.Now())); ctx.Err() != nil {
		return
	}
	gone := map[*Candidate]bool{}
	for ns, cands := range once {
		k.seeAgain(ctx, c, ns, cands, gone)
	}
	c.Candidates = slices.DeleteFunc(c.Candidates, func(cand *Candidate) bool { return gone[cand] })
}

// seeAgain notes which candidates of a namespace are still in their state, and which are
// gone.
func (k *Looker) seeAgain(ctx context.Context, c *Picture, ns *Namespace, cands []*Candidate, gone map[*Candidate]bool) {
	socks := make([]*collectors.Socket, len(cands))
	for i, cand := range cands {
		socks[i] = &cand.Socket
	}
	began := k.world.Mono()
	now, errs, err := k.world.Sockets.LookUp(ctx, &ns.Namespace, socks)
	if err != nil {
		c.lacks(ns, err, fmt.Errorf("namespace %s: %w", ns.Name, err))
		return
	}
	at := k.world.Mono()
	for i, cand := range cands {
		key := collectors.KeyOf(&cand.Socket)
		if errs[i] != nil && !errors.Is(errs[i], collectors.ErrGone) {
			err = errs[i] // it may or may not still be there: it counts as seen once
			continue
		}
		if errs[i] != nil || collectors.KeyOf(&now[i]) != key {
			gone[cand] = true
			continue
		}
		cand.Socket = now[i]
		cand.SetAge(k.memory.Recall(key, memory.MarkOf(&now[i], began, at), k.Ages.Shown(&now[i], at), began, at))
		cand.SetStalled(k.Stalled(&now[i], began, at))
		cand.Since, cand.SeenAgain = k.memory.Since(key), began
	}
	if err != nil {
		c.fail(fmt.Errorf("namespace %s: second look: %w", ns.Name, err))
	}
}
