package look

import (
	"errors"
	"log/slog"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
)

// Options say how a Looker looks.
type Options struct {
	Sources    []collectors.Plugin // tried one after the other
	Extra      []collectors.Plugin // asked in addition
	NoPushdown bool
	Events     EventSource
	// Shows are fields that reports show besides what conditions read.
	Shows collectors.FieldSet
}

// Looker finds the sockets that rules may match, and the facts about them.
type Looker struct {
	world  *world.World
	log    *slog.Logger
	memory *memory.Memory
	shows  collectors.FieldSet
	Dumps  *dumps
	Ages   *ages
	Kept   *Untouchables
	Asking time.Duration // how long the last search for holders took
	// Horizon is the time until the next look while watching; zero if there is none.
	Horizon time.Duration
}

// NewLooker returns a Looker at a world.
func NewLooker(w *world.World, log *slog.Logger, m *memory.Memory, o Options) *Looker {
	return &Looker{
		world: w, log: log, memory: m, shows: o.Shows, Ages: &ages{world: w, log: log, choice: o.Events}, Kept: &Untouchables{w},
		Dumps: &dumps{
			world: w, log: log, sources: o.Sources, extra: o.Extra, noPushdown: o.NoPushdown, middle: usualMiddle, SplitFrom: worthSplitting,
			workers: w.Host.Workers, Hangs: &hangs{world: w, log: log},
		},
	}
}

// Borrow has the looker remember by m from now on, and learn from the events of another
// looker, as that has chosen them. What it knows of calls that hang it keeps.
func (k *Looker) Borrow(m *memory.Memory, events Lent, horizon time.Duration) {
	k.memory, k.Horizon = m, horizon
	k.Ages.Events, k.Ages.Noted, k.Ages.lent = events.events, events.noted, true
}

// ErrNothingSeen says that no namespace could be looked at.
var ErrNothingSeen = errors.New("no sockets could be looked at")

// dumps streams sockets, and goes around what hangs.
type dumps struct {
	world          *world.World
	log            *slog.Logger
	sources, extra []collectors.Plugin
	noPushdown     bool
	middle         uint16 // the remote port that halves what is read
	// workers is how many goroutines may look in parallel, SplitFrom the number of sockets
	// from which a dump is worth two passes.
	workers, SplitFrom int
	Hangs              *hangs
}

// hangs keeps the calls that the kernel has not returned from.
type hangs struct {
	world *world.World
	log   *slog.Logger
	All   map[uint64]*hanging // by the inode of their namespace
}

// ages proves how long sockets have been in their states.
type ages struct {
	world  *world.World
	log    *slog.Logger
	choice EventSource
	Events world.Events         // nil for none
	Noted  collectors.StateMask // the states whose events are kept
	lent   bool                 // the events are those of another looker
}

// Harms counts what would die with processes.
type Harms struct {
	World *world.World
	Log   *slog.Logger
	Dumps *dumps
}

// Untouchables knows the processes that no action may ever touch.
type Untouchables struct{ world *world.World }
