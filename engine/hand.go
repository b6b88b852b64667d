package engine

import (
	"log/slog"
	"time"

	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
)

// hand acts, for a live engine: a dry one has none.
type hand struct {
	world   *world.World
	log     *slog.Logger
	harms   *look.Harms
	judge   *judge
	news    *news
	cooling *cooling
	last    *lastLook
	turns   *turns
	verify  *verifier
	handOptions
	handState
}

// handOptions say how it acts.
type handOptions struct {
	pauseFiles []string
	settleTime time.Duration // settle, but for tests
}

// handState is what it has under way.
type handState struct {
	ladders   []*ladder
	programs  programs
	signalled map[string]bool // processes that the cycle has signalled
	hostError error           // the host refuses to act: nothing is tried any more
}

func newHand(e *Engine) *hand {
	h := &hand{
		world: e.world, log: e.log, harms: e.judge.harms, judge: e.judge, news: e.news,
		cooling:     &cooling{memory: e.memory, store: e.store, judge: e.judge, clock: e.world},
		last:        &lastLook{world: e.world, looker: e.looker, judge: e.judge},
		verify:      &verifier{world: e.world, workers: e.world.Host.Workers},
		handOptions: handOptions{pauseFiles: e.opts.PauseFiles, settleTime: settle},
	}
	h.turns = &turns{hand: h, workers: e.world.Host.Workers}
	return h
}

// turns acts on many sockets, a few at a time.
type turns struct {
	*hand
	workers int
}

// verifier looks what came of effects.
type verifier struct {
	world   *world.World
	workers int
}

// cooling keeps the cool-downs of what is done.
type cooling struct {
	memory *memory.Memory
	store  *memory.Store
	judge  *judge
	clock  world.Clock
}

// lastLook is the last look before an effect.
type lastLook struct {
	world   *world.World
	looker  *look.Looker
	judge   *judge
	counted recount   // of groups
	queue   []*ladder // whose next rung may be begun soon: looked at together
}
