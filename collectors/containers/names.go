package containers

import (
	"context"
	"time"
)

const (
	// DefaultPatience is how long a Lookup waits for engines: Docker takes a
	// millisecond for a list.
	DefaultPatience = 300 * time.Millisecond
	// DefaultKeep is how long an answer counts: docker rename changes a name.
	DefaultKeep = time.Minute
	// DefaultRetry is how long it counts that nothing was found.
	DefaultRetry = 10 * time.Second
	// askLimit ends what goes on beside.
	askLimit = 2 * time.Second
	// maxKept bounds the containers that are remembered.
	maxKept = 8192
)

// Options say where Names looks, and how long. Durations of 0 are the defaults.
type Options struct {
	Places                Places
	Patience, Keep, Retry time.Duration
	// Now is the clock by which answers age, time.Now without one.
	Now func() time.Time
}

// waits are how long an engine may take for a list, for a container, and all that
// goes on beside.
type waits struct{ list, inspect, all time.Duration }

// Names knows containers by their ids. It is for use by several goroutines, and
// holds no descriptor between calls.
type Names struct {
	places   Places
	patience time.Duration
	waits    waits
	memory   memory
	lane     lane
	disk     diskLane
	list     listing
}

// New makes a Names that knows nothing yet, without I/O.
func New(o Options) *Names {
	or := func(d, otherwise time.Duration) time.Duration {
		if d == 0 {
			return otherwise
		}
		return d
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	n := &Names{places: o.Places, patience: or(o.Patience, DefaultPatience), waits: waits{listWait, inspectWait, askLimit}}
	n.memory = memory{keep: or(o.Keep, DefaultKeep), retry: or(o.Retry, DefaultRetry), now: o.Now, of: map[string]entry{}}
	return n
}

// Answer is what is known of a container, or why nothing is.
type Answer struct {
	Container Container
	// Err wraps one of the reasons of this package, nil if the container is known.
	Err error
}

// Lookup returns an answer for each of the ids. It waits at most for Patience, in
// all, and only for what has not been silent before; what comes later a later call
// returns. Whoever calls it once in a cycle asks an engine once a minute. The maps
// and slices of an answer are shared: they are not to be changed.
func (n *Names) Lookup(ctx context.Context, refs ...Ref) map[string]Answer {
	answers := make(map[string]Answer, len(refs))
	deadline := time.Now().Add(n.patience)
	for range 2 { // the first time something else may be under way
		wanted, fresh := n.memory.recall(refs, answers)
		if len(wanted) == 0 {
			return answers
		}
		mine, done := n.lane.enter(ctx, n.waits.all, func(ctx context.Context) bool { return n.ask(ctx, wanted) })
		if !n.lane.await(ctx, done, deadline, fresh) || mine {
			break
		}
	}
	n.memory.recall(refs, answers)
	for _, ref := range refs {
		if _, ok := answers[ref.ID]; !ok {
			answers[ref.ID] = Answer{Err: ErrSilent}
		}
	}
	return answers
}
