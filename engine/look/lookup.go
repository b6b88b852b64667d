package look

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Again looks sockets up as they are now. For each it returns the record or an error.
func Again(ctx context.Context, w *world.World, cands []*Candidate) ([]collectors.Socket, []error) {
	now, errs := make([]collectors.Socket, len(cands)), make([]error, len(cands))
	byNS := map[*Namespace][]int{}
	for i, c := range cands {
		if !c.NoSocket() {
			byNS[c.NS] = append(byNS[c.NS], i)
		}
	}
	for ns, places := range byNS {
		socks := make([]*collectors.Socket, len(places))
		for k, i := range places {
			socks[k] = &cands[i].Socket
		}
		found, each, err := w.Sockets.LookUp(ctx, &ns.Namespace, socks)
		if errors.Is(err, fs.ErrNotExist) { // and all its sockets with it
			err = fmt.Errorf("%w: %w", collectors.ErrGone, err)
		}
		for k, i := range places {
			if err != nil {
				errs[i] = err
				continue
			}
			now[i], errs[i] = found[k], each[k]
		}
	}
	return now, errs
}

// RenewOwners finds out who holds the sockets of candidates now, and who owns the
// listeners of those that wait for accept. The plan says which fields conditions read.
func (k *Looker) RenewOwners(ctx context.Context, plan *rules.Program, cands []*Candidate) ([]*Candidate, error) {
	c := &Picture{Wanted: Wanted{Plan: plan}}
	namespaces := map[*Namespace]*Namespace{}
	for _, was := range cands {
		cand := was.Clone()
		cand.forgetOwners()
		ns, ok := namespaces[cand.NS]
		if !ok {
			again := *cand.NS
			again.asked, again.listening, again.listeners, again.addresses = false, false, nil, addresses{}
			ns = &again
			namespaces[cand.NS] = ns
		}
		cand.NS = ns
		c.Candidates = append(c.Candidates, cand)
	}
	k.findListeners(ctx, c)
	for _, cand := range c.Candidates {
		k.RenewGone(plan, cand, 0)
	}
	return c.Candidates, k.findOwners(ctx, c)
}
