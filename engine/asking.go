package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"sockwarden/engine/explain"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/pause"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Asker answers questions about what an engine would decide now, by all that this engine
// knows: ages that it has seen, "for", cool-downs, limits, breaker, soak, pause. It does so
// beside the cycles, by a copy of that and a door to the host of its own. So a question leaves
// no trace in the engine, and delays no cycle but for the time of the copy.
type Asker struct {
	engine *Engine
	turn   chan struct{} // one question at a time
	ends   chan struct{} // closed when there are no more

	world  *world.World // nil before the first question
	giveUp func()
	looker *look.Looker
}

// maxAsked is how many sockets a question may be about that no rule is about: each takes
// memory of the process that cycles run in.
const maxAsked = 10_000

// ErrNotYet says that an engine has not decided anything yet.
var ErrNotYet = errors.New("there was no cycle yet")

// NewAsker makes an asker, to be closed before the engine.
func NewAsker(e *Engine) *Asker {
	return &Asker{engine: e, turn: make(chan struct{}, 1), ends: make(chan struct{}), giveUp: func() {}}
}

// Answer is what an engine says of a question.
type Answer struct {
	*explain.Explanation
	Program *rules.Program // that is in force
	Pause   *pause.Pause   // in force for a live engine, nil for none
}

// Explain answers a question that about makes for the rules in force. It calls between to
// have a function called while no cycle is under way. show gets the answer; nobody else is
// answered until it returns, as the details of an answer look at the host.
func (a *Asker) Explain(ctx context.Context, between func(context.Context, func()) error, about func(*rules.Program) (explain.Question, error), show func(*Answer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-a.ends:
		return context.Canceled
	case <-ctx.Done():
		return fmt.Errorf("another question is being answered: %w", context.Cause(ctx))
	}
	go func() {
		select {
		case <-a.ends:
			cancel()
		case <-ctx.Done():
		}
	}()
	var k *known
	if err := between(ctx, func() { k = a.engine.knows() }); err != nil {
		return err
	}
	if err := a.open(); err != nil {
		return err
	}
	x, err := a.answer(ctx, k, about)
	if err != nil {
		return err
	}
	return show(x)
}

// open opens a door to the host.
func (a *Asker) open() error {
	if a.looker != nil {
		return nil
	}
	o := &a.engine.opts
	a.world = o.World
	if a.world == nil {
		host, err := world.NewLinux(o.Owners, runtime.GOMAXPROCS(0), o.Logger)
		if err != nil {
			return err
		}
		a.world, a.giveUp = &host.World, host.Close
	}
	a.looker = look.NewLooker(a.world, o.Logger, nil, look.Options{Sources: o.Sources, Extra: o.Extra, NoPushdown: o.NoPushdown, Events: look.EventsOff, Shows: o.Shows})
	return nil
}

// Close ends a question that is being answered, and gives up what the asker holds of the host.
func (a *Asker) Close() {
	close(a.ends)
	a.turn <- struct{}{}
	if a.looker != nil {
		a.looker.Dumps.Hangs.TellHanging()
	}
	a.giveUp()
}

// known is what an engine goes by at one time.
type known struct {
	memory  *memory.Memory
	judge   *judge.Standing
	program *rules.Program // of the last cycle, nil for none
	events  look.Lent
	horizon time.Duration
	waiting map[string]bool
	live    bool
}

// knows copies what the engine goes by now.
func (e *Engine) knows() *known {
	k := &known{
		memory: e.memory.Copy(), judge: e.judge.Standing(), program: e.last.program, events: e.looker.Ages.Lend(), horizon: e.looker.Horizon, live: e.opts.Live,
	}
	if e.hand != nil {
		k.waiting = e.hand.UnderWay()
	}
	return k
}

// answer looks and judges by a copy of what the engine knows.
func (a *Asker) answer(ctx context.Context, k *known, about func(*rules.Program) (explain.Question, error)) (*Answer, error) {
	a.looker.Borrow(k.memory, k.events, k.horizon)
	j := k.judge.Judge(a.world, slog.New(slog.DiscardHandler), k.memory, a.looker) // what it would log is not so
	p := k.judge.InForce()
	if p == nil {
		p = k.program
	}
	if p == nil {
		return nil, ErrNotYet
	}
	q, err := about(p)
	if err != nil {
		return nil, err
	}
	wanted := j.Council.Wanted(p)
	wanted.Plan = wanted.Plan.Wider(q.Selection)
	wanted.Younger, wanted.Most = append(slices.Clone(wanted.Younger), q.Selection), maxAsked
	picture, err := a.looker.Look(ctx, wanted)
	if err != nil {
		return nil, err
	}
	a.looker.LookTwice(ctx, picture)
	c := judge.NewCycle(picture, k.live)
	c.Waiting, c.Silences = k.waiting, a.engine.silences.At(a.world.Now())
	if k.live {
		c.Paused = pause.Read(a.world.Now(), a.engine.opts.PauseFiles...)
	}
	j.Decide(ctx, c)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("look: %w", context.Cause(ctx))
	}
	c.Report.Duration = a.world.Now().Sub(c.Began)
	c.Report.Incomplete = c.Report.Incomplete || c.Incomplete
	c.Report.Count()
	return &Answer{Explanation: explain.Explain(ctx, j, c, q), Program: p, Pause: c.Paused}, nil
}
