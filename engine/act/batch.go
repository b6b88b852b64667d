package act

import (
	"context"
	"reflect"
	"slices"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/catalog"
	"sockwarden/engine/look"
)

const (
	// batchLen is how many ladders begin together, if their action allows that.
	batchLen = 1024
	// manyHolds is the number of sockets from which one search for all their holders is
	// cheaper than a search for each.
	manyHolds = 64
)

// together returns how many of the first ladders begin together, and what prepares them;
// one and nil if their action takes them one by one.
func together(ladders []*ladder) (int, actions.Batcher) {
	first := ladders[0]
	rung := &first.rule.Then[first.rung]
	batcher, ok := catalog.Bound(rung).Action.(actions.Batcher)
	if !ok || first.process != nil || first.held {
		return 1, nil
	}
	n := 1
	for n < min(batchLen, len(ladders)) {
		l := ladders[n]
		next := &l.rule.Then[l.rung]
		if l.process != nil || l.held || next != rung && (next.Action != rung.Action || !reflect.DeepEqual(next.Params, rung.Params)) {
			break
		}
		n++
	}
	return n, batcher
}

// all returns how far each unfinished ladder has come, verifying those of one action
// together.
func (v *verifier) all(ctx context.Context, ladders []*ladder) []actions.Outcome {
	outs := make([]actions.Outcome, len(ladders))
	var many []int
	for i, l := range ladders {
		switch {
		case l.done, l.waits:
		case l.batcher != nil:
			many = append(many, i)
		default:
			outs[i] = l.effect.Verify(ctx)
		}
	}
	for len(many) > 0 {
		batcher := ladders[many[0]].batcher
		n := 1
		for n < len(many) && ladders[many[n]].batcher == batcher {
			n++
		}
		part := many[:n]
		many = many[n:]
		effects := make([]actions.Effect, n)
		for k, i := range part {
			effects[k] = ladders[i].effect
		}
		workers, holds := v.workers, v.holdsNow(ctx, ladders, part)
		if holds == nil {
			workers = 1
		}
		verified := look.InParts(workers, effects, func(part []actions.Effect) []actions.Outcome { return batcher.VerifyAll(ctx, part, holds) })
		for k, out := range verified {
			outs[part[k]] = out
		}
	}
	return outs
}

// holdsNow finds the holders of the sockets of many ladders in one search; nil leaves that
// to the action.
func (v *verifier) holdsNow(ctx context.Context, ladders []*ladder, part []int) actions.Holds {
	if len(part) < manyHolds {
		return nil
	}
	inodes := make(map[uint32]bool, len(part))
	for _, i := range part {
		if f := ladders[i].findings[0]; f.Socket.Inode != 0 && len(f.Facts.Owners) > 0 {
			inodes[f.Socket.Inode] = true
		}
	}
	holders, err := v.world.Owners.Holders(ctx, inodes)
	if err != nil {
		return nil
	}
	return func(o *collectors.Owner, inode uint32) bool {
		return slices.ContainsFunc(holders.ByInode[inode], func(h collectors.Owner) bool {
			return h.PID == o.PID && h.StartTime == o.StartTime
		})
	}
}
