package engine

import (
	"context"
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
	news    teller
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

// HandOptions are what a hand is made of.
type HandOptions struct {
	World      *world.World
	Log        *slog.Logger
	Memory     *memory.Memory
	Store      *memory.Store
	Looker     *look.Looker
	Judge      *judge
	News       teller
	PauseFiles []string // the switches that are looked at before each effect
}

// newHand makes the hand of a live engine.
func newHand(o HandOptions) *hand {
	h := &hand{
		world: o.World, log: o.Log, harms: o.Judge.harms, judge: o.Judge, news: o.News,
		cooling:     &cooling{memory: o.Memory, store: o.Store, judge: o.Judge, clock: o.World},
		last:        &lastLook{world: o.World, looker: o.Looker, memory: o.Memory, judge: o.Judge},
		verify:      &verifier{world: o.World, workers: o.World.Host.Workers},
		handOptions: handOptions{pauseFiles: o.PauseFiles, settleTime: settle},
	}
	h.turns = &turns{hand: h, workers: o.World.Host.Workers}
	return h
}

// teller is told what came of what the hand did.
type teller interface {
	// Outcome is told of what was done, or failed; Changed of what was left alone since
	// the socket is not what it was.
	Outcome(ctx context.Context, o *Outcome)
	Changed(o *Outcome)
	// Decision is told of a decision that came after the others.
	Decision(mode, generation string, f *Finding)
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
	memory  *memory.Memory
	judge   *judge
	counted recount   // of groups
	queue   []*ladder // whose next rung may be begun soon: looked at together
}
