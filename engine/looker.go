package engine

import (
	"errors"
	"log/slog"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// LookOptions say how a Looker looks.
type LookOptions struct {
	Sources    []collectors.Plugin // tried one after the other
	Extra      []collectors.Plugin // asked besides
	NoPushdown bool
	Events     EventSource
}

// looker finds the sockets that rules may match, and what can be known of them.
type looker struct {
	world  *world.World
	log    *slog.Logger
	memory *memory
	dumps  *dumps
	ages   *ages
	kept   *untouchables
	asking time.Duration // how long it took last to find out who holds sockets
	// horizon is how long it is until the next look, while watching: zero for never.
	horizon time.Duration
}

func newLooker(w *world.World, log *slog.Logger, m *memory, o LookOptions) *looker {
	return &looker{
		world: w, log: log, memory: m, ages: &ages{world: w, log: log, choice: o.Events}, kept: &untouchables{w},
		dumps: &dumps{
			world: w, log: log, sources: o.Sources, extra: o.Extra, noPushdown: o.NoPushdown, middle: usualMiddle, splitFrom: worthSplitting,
			workers: w.Host.Workers, hangs: &hangs{world: w, log: log},
		},
	}
}

// errNothingSeen says that no namespace could be looked at.
var errNothingSeen = errors.New("no sockets could be looked at")

// dumps streams sockets, past what hangs.
type dumps struct {
	world          *world.World
	log            *slog.Logger
	sources, extra []collectors.Plugin
	noPushdown     bool
	middle         uint16 // the remote port that halves what is read
	// How many goroutines may look at a time, and from how many sockets on a dump
	// is worth two.
	workers, splitFrom int
	hangs              *hangs
}

// hangs knows what the kernel has not come back from.
type hangs struct {
	world *world.World
	log   *slog.Logger
	all   map[uint64]*hanging // by the inode of their namespace
}

// ages proves since when sockets have been in their states.
type ages struct {
	world  *world.World
	log    *slog.Logger
	choice EventSource
	events world.Events         // nil for none
	noted  collectors.StateMask // of which events are kept
}

// harms counts what would die with processes.
type harms struct {
	world *world.World
	log   *slog.Logger
	dumps *dumps
}

// untouchables knows the processes of which nothing may ever be touched.
type untouchables struct{ world *world.World }
