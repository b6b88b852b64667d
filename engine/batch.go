package engine

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"

	"sockwarden/actions"
	"sockwarden/collectors"
)

const (
	// batchLen is how many effects are applied at a time, if the action can: they
	// take a few milliseconds. Between them it is looked at the pause switch, and
	// whether to stop.
	batchLen = 1024
	// partLen is from how many on they are divided among workers.
	partLen = 64
	// manyHolds is from how many sockets on it is cheaper to look once who holds
	// any of them than for each.
	manyHolds = 64
)

// together returns how many of the first ladders begin at a time, and with what;
// one with nothing if their action takes one after the other.
func (e *Engine) together(ladders []*ladder) (int, actions.Batcher) {
	first := ladders[0]
	rung := &first.rule.Then[first.rung]
	action, err := e.action(rung)
	batcher, ok := action.(actions.Batcher)
	if err != nil || !ok || first.process != nil || first.held {
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

// startAll is startRung for several ladders: each is looked up, compared with
// what was decided, applied and concluded by itself.
func (e *Engine) startAll(ctx context.Context, ladders []*ladder, batcher actions.Batcher) {
	if e.hostError != nil {
		e.leave(ladders, hostOutcome(e.hostError))
		return
	}
	targets := make([]actions.Target, len(ladders))
	for i, l := range ladders {
		targets[i] = e.target(l)
	}
	began := monotonic()
	var ready []*ladder
	prepared := inParts(e.workers, targets, func(part []actions.Target) []actions.Prepared { return batcher.PrepareAll(ctx, part) })
	if ctx.Err() != nil {
		e.leave(ladders, actions.Outcome{Result: actions.Failed, Err: context.Cause(ctx)})
		return
	}
	var alone []*ladder
	for i, p := range prepared {
		l, err := ladders[i], p.Err
		if p.Alone {
			alone = append(alone, l)
			continue
		}
		if err == nil && e.opts.Live {
			err = e.stillMatches(l, l.findings[0], *p.Now, began)
		}
		switch {
		case e.hostError != nil: // since one before it
			e.leave(ladders[i:i+1], hostOutcome(e.hostError))
		case err != nil:
			e.notPrepared(ctx, l, err)
		case !e.opts.Live:
			l.finish(actions.Outcome{Result: actions.Would}, p.Effect.String())
		default:
			l.effect, l.batcher = p.Effect, batcher
			ready = append(ready, l)
		}
	}
	e.applyReady(ctx, ready, batcher)
	for _, l := range alone {
		if ctx.Err() != nil {
			e.leave([]*ladder{l}, actions.Outcome{Result: actions.Failed, Err: context.Cause(ctx)})
			continue
		}
		e.startRung(ctx, l)
	}
}

// applyReady applies effects that are prepared together.
func (e *Engine) applyReady(ctx context.Context, ready []*ladder, batcher actions.Batcher) {
	switch {
	case len(ready) == 0:
		return
	case e.hostError != nil:
		e.leave(ready, hostOutcome(e.hostError))
		return
	case e.pausedNow(ready...):
		for _, l := range ready {
			e.untouched(l)
		}
		return
	}
	effects := make([]actions.Effect, len(ready))
	for i, l := range ready {
		e.begin(l)
		effects[i] = l.effect
	}
	for i, out := range e.applyAll(ctx, batcher, effects) {
		if out.Err != nil && ctx.Err() != nil && errors.Is(out.Err, context.Cause(ctx)) {
			e.notBegun(ready[i]) // asked to stop, nothing was done
			e.leave(ready[i:i+1], out)
			continue
		}
		e.applied(ctx, ready[i], out)
	}
}

// verify returns how far each ladder that is not done got, those of one action
// at a time.
func (e *Engine) verify(ctx context.Context, ladders []*ladder) []actions.Outcome {
	outs := make([]actions.Outcome, len(ladders))
	var many []int
	for i, l := range ladders {
		switch {
		case l.done:
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
		workers, holds := e.workers, e.holdsNow(ctx, ladders, part)
		if holds == nil {
			workers = 1
		}
		verified := inParts(workers, effects, func(part []actions.Effect) []actions.Outcome { return batcher.VerifyAll(ctx, part, holds) })
		for k, out := range verified {
			outs[part[k]] = out
		}
	}
	return outs
}

// holdsNow looks once who holds the sockets of many ladders; nil leaves that to
// the action.
func (e *Engine) holdsNow(ctx context.Context, ladders []*ladder, part []int) actions.Holds {
	if len(part) < manyHolds {
		return nil
	}
	inodes := make(map[uint32]bool, len(part))
	for _, i := range part {
		if f := ladders[i].findings[0]; f.Socket.Inode != 0 && len(f.Facts.Owners) > 0 {
			inodes[f.Socket.Inode] = true
		}
	}
	holders, err := e.holders(ctx, inodes)
	if err != nil {
		return nil
	}
	return func(o *collectors.Owner, inode uint32) bool {
		return slices.ContainsFunc(holders.ByInode[inode], func(h collectors.Owner) bool {
			return h.PID == o.PID && h.StartTime == o.StartTime
		})
	}
}

// inParts does something for parts of many at the same time, and returns what
// came of each, in their order.
func inParts[T, R any](workers int, all []T, do func(part []T) []R) []R {
	each := max(partLen, (len(all)+workers-1)/workers)
	results := make([]R, len(all))
	var wait sync.WaitGroup
	at := 0
	for ; len(all)-at > each; at += each {
		from := at
		wait.Go(func() { copy(results[from:], do(all[from:from+each])) })
	}
	copy(results[at:], do(all[at:]))
	wait.Wait()
	return results
}
