package engine

import (
	"context"
	"runtime"
	"time"

	"sockwarden/engine/look"
	"sockwarden/engine/world"
)

// Counter counts all sockets, beside the cycles of an Engine: it has a door to the host of
// its own, so that neither waits for the other. Use it from one goroutine at a time.
type Counter struct {
	looker *look.Looker
	giveUp func()
}

// NewCounter makes a counter that looks as an engine with these options does. With repeats
// many counts will follow.
func NewCounter(opts Options, repeats bool) (*Counter, error) {
	c := &Counter{giveUp: func() {}}
	at := opts.World
	if at == nil {
		host, err := world.NewLinux(opts.Owners, runtime.GOMAXPROCS(0), opts.Logger)
		if err != nil {
			return nil, err
		}
		at, c.giveUp = &host.World, host.Close
	}
	if owners, ok := at.Owners.(world.Repeating); ok && repeats {
		owners.Repeats()
	}
	c.looker = look.NewLooker(at, opts.Logger, nil, look.Options{Sources: opts.Sources, Events: look.EventsOff})
	c.looker.Horizon = time.Nanosecond // nobody reads what it says about other namespaces
	return c, nil
}

// Count counts the sockets of the namespaces that a rules file means by these names, and
// finds the owners of listeners and of the sockets of also, given by inode. The error says
// that it could not look at anything.
func (c *Counter) Count(ctx context.Context, netns []string, also map[uint32]bool) (*Census, error) {
	return c.looker.Census(ctx, netns, also)
}

// Close gives up what the counter holds of the host.
func (c *Counter) Close() { c.giveUp() }
