package containers

import (
	"context"
	"time"
)

const (
	// DefaultPatience is how long a Lookup waits for engines; Docker takes a millisecond
	// for a list.
	DefaultPatience = 300 * time.Millisecond
	// DefaultKeep is how long an answer counts; docker rename can change a name.
	DefaultKeep = time.Minute
	// DefaultRetry is how long an empty result counts.
	DefaultRetry = 10 * time.Second
	// askLimit ends questions in the background.
	askLimit = 2 * time.Second
	// maxKept is how many containers to remember.
	maxKept = 8192
)

// Options say where Names looks, and how long. Durations of 0 mean the defaults.
type Options struct {
	Places                Places
	Patience, Keep, Retry time.Duration
	// Now is the clock that ages answers, time.Now if nil.
	Now func() time.Time
}

// waits limit how long an engine may take for a list, for one container, and for
// everything in the background.
type waits struct{ list, inspect, all time.Duration }

// Names finds containers by their ids. It is safe for concurrent use and holds no
// descriptor between calls.
type Names struct {
	places   Places
	patience time.Duration
	waits    waits
	memory   memory
	lane     lane
	disk     diskLane
	list     listing
}

// New makes a Names that knows nothing yet. It does no I/O.
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

// Answer is what is known about a container, or why nothing is.
type Answer struct {
	Container Container
	// Err wraps one of this package's reasons; nil if the container is known.
	Err error
}

// Lookup returns an answer for each id. It waits for Patience at most, in all, and only
// for engines that were not silent before; what comes later, a later call returns. Called
// once per cycle, it asks an engine once a minute. Do not change the maps and slices of
// an answer: they are shared.
func (n *Names) Lookup(ctx context.Context, refs ...Ref) map[string]Answer {
	answers := make(map[string]Answer, len(refs))
	deadline := time.Now().Add(n.patience)
	for range 2 { // the first time, other work may be running
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
