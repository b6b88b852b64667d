package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// lookUpAll looks sockets up as they are now; of each it returns
// the record or an error.
func lookUpAll(ctx context.Context, w *world.World, cands []*Candidate) ([]collectors.Socket, []error) {
	now, errs := make([]collectors.Socket, len(cands)), make([]error, len(cands))
	byNS := map[*namespace][]int{}
	for i, c := range cands {
		if !c.NoSocket() {
			byNS[c.ns] = append(byNS[c.ns], i)
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

// renewOwners looks who holds the sockets of candidates now, and who listens where they
// wait to be accepted. The plan says what is read of them.
func (k *looker) renewOwners(ctx context.Context, plan *rules.Program, cands []*Candidate) ([]*Candidate, error) {
	c := &Picture{Wanted: Wanted{Plan: plan}}
	namespaces := map[*namespace]*namespace{}
	for _, was := range cands {
		cand := was.clone()
		cand.forgetOwners()
		ns, ok := namespaces[cand.ns]
		if !ok {
			again := *cand.ns
			again.asked, again.listening, again.listeners = false, false, nil
			ns = &again
			namespaces[cand.ns] = ns
		}
		cand.ns = ns
		c.candidates = append(c.candidates, cand)
	}
	k.findListeners(ctx, c)
	return c.candidates, k.findOwners(ctx, c)
}
