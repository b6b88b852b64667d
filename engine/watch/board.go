package watch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// Board is where a watcher shows its state, and where others ask it for something. All of
// it is safe for concurrent use, and nothing that others do with it delays a cycle.
type Board struct {
	status atomic.Pointer[Status]
	asked  chan *request
}

// request is what somebody wants the loop to do: to call between, else to read the rules.
type request struct {
	answer  chan RulesStatus // with room for one, so that the loop never waits
	between func()
}

// NewBoard makes a board for one watcher.
func NewBoard() *Board { return &Board{asked: make(chan *request)} }

// Status is the state of the watcher as it was last shown; nil before its loop has begun.
// Nothing changes it any more.
func (b *Board) Status() *Status { return b.status.Load() }

// Show publishes the state of the watcher, which nobody changes after that.
func (b *Board) Show(s *Status) { b.status.Store(s) }

// ErrBusy says that the loop has not taken a request in time.
var ErrBusy = errors.New("the watcher is busy")

// Reload has the rules read again, and returns how they then stand. It waits until the
// loop has time for it, or until ctx ends: then the error is ErrBusy.
func (b *Board) Reload(ctx context.Context) (RulesStatus, error) {
	return b.ask(ctx, &request{answer: make(chan RulesStatus, 1)})
}

// Between has the loop call f when no cycle is under way. The loop waits for f, which only
// copies what it wants to know. If the error is ErrBusy, because ctx has ended, the loop may
// still call it.
func (b *Board) Between(ctx context.Context, f func()) error {
	_, err := b.ask(ctx, &request{answer: make(chan RulesStatus, 1), between: f})
	return err
}

func (b *Board) ask(ctx context.Context, r *request) (RulesStatus, error) {
	select {
	case b.asked <- r:
	case <-ctx.Done():
		return RulesStatus{}, fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
	select {
	case rules := <-r.answer:
		return rules, nil
	case <-ctx.Done():
		return RulesStatus{}, fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
}

// requests is the channel of what others ask, nil where nobody can.
func (b *Board) requests() <-chan *request {
	if b == nil {
		return nil
	}
	return b.asked
}
