package act

import (
	"context"
	"log/slog"
	"time"

	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/engine/silence"
	"sockwarden/engine/world"
)

// Hand acts for a live engine; a dry one has none.
type Hand struct {
	world   *world.World
	log     *slog.Logger
	harms   *look.Harms
	judge   *judge.Judge
	news    teller
	cooling *cooling
	Last    *lastLook
	turns   *turns
	verify  *verifier
	handOptions
	handState
}

// handOptions say how it acts.
type handOptions struct {
	pauseFiles []string
	SettleTime time.Duration // settle, but for tests
}

// handState is the work under way.
type handState struct {
	Ladders   []*ladder
	programs  programs
	signalled map[string]bool // processes that the cycle has signalled
	hostError error           // why the host refuses; stops all further attempts
}

// Options are the parts of a hand.
type Options struct {
	World      *world.World
	Log        *slog.Logger
	Memory     *memory.Memory
	Store      *memory.Store
	Looker     *look.Looker
	Judge      *judge.Judge
	News       teller
	PauseFiles []string // the pause switches to check before each effect
	// Silences are looked at before each effect, too; nil for none.
	Silences *silence.Store
}

// New makes the hand of a live engine.
func New(o Options) *Hand {
	h := &Hand{
		world: o.World, log: o.Log, harms: o.Judge.Harms, judge: o.Judge, news: o.News,
		cooling:     &cooling{memory: o.Memory, store: o.Store, judge: o.Judge, clock: o.World},
		Last:        &lastLook{world: o.World, looker: o.Looker, memory: o.Memory, judge: o.Judge, silences: o.Silences},
		verify:      &verifier{world: o.World, workers: o.World.Host.Workers},
		handOptions: handOptions{pauseFiles: o.PauseFiles, SettleTime: settle},
	}
	h.turns = &turns{Hand: h, workers: o.World.Host.Workers}
	return h
}

// teller hears what the hand did and what came of it.
type teller interface {
	// Outcome is told what came of a rung, also if that was that nothing was done.
	Outcome(ctx context.Context, o *report.Outcome)
	// Decision is told of a decision that came after the others.
	Decision(mode, generation string, f *report.Finding)
}

// turns acts on many sockets, a few in each turn.
type turns struct {
	*Hand
	workers int
}

// verifier verifies effects.
type verifier struct {
	world   *world.World
	workers int
}

// cooling keeps the cool-downs of actions.
type cooling struct {
	memory *memory.Memory
	store  *memory.Store
	judge  *judge.Judge
	clock  world.Clock
}

// lastLook is the last look before an effect.
type lastLook struct {
	world    *world.World
	looker   *look.Looker
	memory   *memory.Memory
	judge    *judge.Judge
	silences *silence.Store
	counted  recount   // of groups
	queue    []*ladder // whose next rung may begin soon; one search covers them all
}
