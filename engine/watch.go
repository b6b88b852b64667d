package engine

import (
	"context"
	"errors"
	"os"
	"regexp"
	"time"

	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/pause"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

const (
	// debounce is how long a file must be quiet before it is read again: an
	// editor's save is a dozen events.
	debounce = 150 * time.Millisecond
	// patience is how long it is waited for quiet: in a busy directory there is none.
	patience = 500 * time.Millisecond
	// poll is how often files are read without any event: the safety net for
	// file systems and mounts that tell nothing.
	poll = 5 * time.Second
	// heartbeat is how often an idle watcher says that it lives.
	heartbeat = time.Hour
	// ladderPoll is how often waiting ladders are looked at.
	ladderPoll = 200 * time.Millisecond
	// calmCycles is how many cycles in a row must be short before it is said that the
	// interval is kept again: one that comes and goes is said once.
	calmCycles = 10
	// saveEvery is how often a watcher keeps its observations; cool-downs are
	// kept before each effect.
	saveEvery = time.Minute
	// spacing is the least time between two cycles, whatever ripens in between.
	spacing = 50 * time.Millisecond
)

// WatchOptions configures Watch.
type WatchOptions struct {
	Interval time.Duration
	// Load reads the rules as they are now, and which places can change them.
	Load func() (*rules.Program, []string, error)
	// Reload forces a reload (SIGHUP); nil for never.
	Reload <-chan os.Signal
	// OnFinding gets each finding that is new or whose decision changed.
	OnFinding func(*report.Finding)
}

// watcher is the state of one Watch.
type watcher struct {
	*Engine
	opts     WatchOptions
	files    *rules.Watcher
	reader   reader
	lastLine time.Time
	paused   string          // what was said of the pause last
	errors   map[string]bool // what was said of the last cycle
	tripped  map[string]said // what was said of breakers
	refused  string          // what was said last of a host that refuses
	next     time.Time       // when something ripens, as the last cycle told; zero for nothing
	// stretched is how many cycles must be short before the interval counts as kept
	// again, after one that took longer than it allows.
	stretched int
}

// Watch runs a cycle every interval, and at once after the rules have changed,
// until ctx ends. A generation that cannot be loaded is reported once, and the
// last good one goes on. It returns an error only if the host refuses to act.
func (e *Engine) Watch(ctx context.Context, opts WatchOptions) error {
	w := &watcher{Engine: e, opts: opts, tripped: map[string]said{}}
	e.news.Repeats()
	e.judge.Repeats, e.looker.Horizon = true, opts.Interval
	if owners, ok := e.world.Owners.(world.Repeating); ok {
		owners.Repeats()
	}
	if err := e.looker.Ages.Watch(true); err != nil {
		return err
	}
	program, watched, err := opts.Load()
	if err != nil {
		return err
	}
	w.judge.Council.Gens = judge.NewGenerations(program, w.world.Now())
	w.judge.Council.Refresh = w.lookAgain
	defer func() { w.judge.Council.Refresh = nil }()
	w.files = rules.NewWatcher()
	defer func() { _ = w.files.Close() }()
	w.watchFiles(watched)
	w.reload(false) // a change between the first load and the watch would go unseen
	mode := "dry"
	if e.opts.Live {
		mode = "live"
	}
	breaker, events := w.judge.Council.Gens.Newest().Breaker.Origin(), "off"
	if e.looker.Ages.Events != nil {
		events = "on"
	}
	e.log.Info("watching "+mode, "rules", len(w.judge.Council.Gens.Newest().Rules), "generation", w.judge.Council.Gens.Newest().Short(), "interval", opts.Interval,
		"events", events, "breaker", breaker)
	if w.judge.Council.Gens.InForce().NoDefaultDir {
		e.log.Info("the built-in rules are in force", "missing", rules.DefaultDir)
	}
	w.lastLine = w.world.Now()
	w.store.Every = saveEvery
	err = w.run(ctx)
	w.tellEnd(ctx)
	w.Step(ctx) // asked to stop: what earlier cycles began is ended
	w.abandonLadders()
	return errors.Join(err, w.store.Save())
}

func (w *watcher) run(ctx context.Context) error {
	next := w.world.After(0)
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	quiet.Stop()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var due time.Time      // of the next cycle
	var regular time.Time  // of the next cycle that its interval asks for
	var earliest time.Time // that one may begin before its interval is over
	woke := w.looker.Ages.Transitions(ctx)
	var first time.Time // event since the rules were read
	soon := func() {
		if first.IsZero() {
			first = w.world.Now()
		}
		quiet.Reset(min(debounce, w.world.Until(first.Add(patience))))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.files.Events():
			soon()
			continue
		case err := <-w.files.Errors():
			w.log.Warn("watching rules", "error", err)
			soon()
			continue
		case <-quiet.C:
			first = time.Time{}
			if w.reload(false) {
				due, regular = time.Time{}, time.Time{}
			}
		case <-ticker.C:
			if w.reload(false) {
				due, regular = time.Time{}, time.Time{}
			}
		case <-w.opts.Reload:
			w.reload(true)
			due, regular = time.Time{}, time.Time{}
		case <-w.reader.settles(w.judge.Council.Gens, w.world.Now()):
			if w.takeOver() {
				due, regular = time.Time{}, time.Time{}
			}
		case <-w.wanted(woke, due, earliest):
			if ripe, ok := w.ripe(); ok && later(ripe, earliest).Before(due) {
				due = later(ripe, earliest)
			}
		case <-next:
		}
		w.Step(ctx)
		if !w.world.Now().Before(due) {
			w.judge.Early = w.world.Now().Before(regular)
			took := w.cycle(ctx)
			if !w.judge.Early {
				regular = w.world.Now().Add(w.stretch(w.opts.Interval, took))
			}
			due = regular
			// What ripens is looked at in time, but for a fifth of the time at most.
			earliest = w.world.Now().Add(max(spacing, 4*w.looking))
			if !w.next.IsZero() && w.next.Before(due) {
				due = later(w.next, earliest)
			}
		}
		w.tellHost()
		if w.reader.behind {
			w.reader.behind = false
			soon()
		}
		wait := w.world.Until(due)
		if _, pending := w.Pending(); pending {
			wait = min(wait, ladderPoll)
		}
		next = w.world.After(max(0, wait))
	}
}

// wanted is the channel of transitions while one could be of use: if what enters
// a state now can be old enough for a rule before the next cycle.
func (w *watcher) wanted(woke <-chan struct{}, due, earliest time.Time) <-chan struct{} {
	if ripe, ok := w.ripe(); !ok || !later(ripe, earliest).Before(due) {
		return nil
	}
	return woke
}

// ripe is when a socket that enters its state now is first old enough for a rule.
func (w *watcher) ripe() (time.Time, bool) {
	seconds, ok := w.judge.Council.Gens.InForce().Ripens()
	return w.world.Now().Add(time.Duration(seconds*float64(time.Second)) + look.Grain), ok
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// cycle runs one cycle and tells what is new.
func (w *watcher) cycle(ctx context.Context) (took time.Duration) {
	began := w.world.Now()
	w.next = time.Time{}
	program := w.judge.Council.Gens.InForce()
	defer func() { took = w.world.Now().Sub(began) }()
	r, err := w.Cycle(ctx, program)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Error("cycle", "error", err)
		}
		return 0
	}
	w.tellErrors(w.tellTripped(r.Errors, w.world.Now()))
	w.tellPause()
	w.Tell(program, r)
	if w.opts.OnFinding != nil {
		for _, f := range r.Findings {
			if w.news.IsNew(f) {
				w.opts.OnFinding(f)
			}
		}
	}
	said := w.news.Cycle(ctx, r)
	w.next = r.Next
	s := r.Summary
	attrs := []any{"scanned", s.Scanned, "matched", s.Matched, "acted", s.Acted, "failed", s.Failed, "generation", program.Short(), "took", r.Duration.Round(time.Millisecond)}
	if said {
		w.lastLine = w.world.Now()
	}
	if w.world.Now().Sub(w.lastLine) >= heartbeat {
		w.lastLine = w.world.Now()
		w.log.Info("still watching", attrs...)
	} else {
		w.log.Debug("cycle", attrs...)
	}
	return 0
}

// stretch returns the time until the next cycle begins, counted from the end of
// this one: a cycle that takes more than half the interval would otherwise keep
// the machine busy.
func (w *watcher) stretch(interval, took time.Duration) time.Duration {
	if took <= interval/2 {
		if w.stretched > 0 {
			if w.stretched--; w.stretched == 0 {
				w.log.Info("interval as configured again", "interval", interval)
			}
		}
		return interval - took
	}
	if w.stretched == 0 {
		w.log.Warn("cycles take long, interval stretched", "took", took.Round(time.Millisecond), "interval", interval, "stretched", (2 * took).Round(time.Millisecond))
	}
	w.stretched = calmCycles
	return max(interval-took, took)
}

// tellEnd says why the watcher ends.
func (w *watcher) tellEnd(ctx context.Context) {
	why := "it was told to"
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		why = cause.Error()
	}
	w.log.Info("watching ends", "why", why)
}

// tellPause says once that a pause began, and that it ended.
func (w *watcher) tellPause() {
	now := ""
	p := pause.Read(w.world.Now(), w.Engine.opts.PauseFiles...)
	if p != nil {
		now = p.String()
	}
	if now == w.paused {
		return
	}
	w.paused = now
	if p == nil {
		w.log.Info("resumed")
		return
	}
	w.log.Warn("paused, observing only", "until", p.Until, "by", p.By)
}

// tellHost says that the host refused, once for each reason. The next cycle
// tries again: one process or one full disk must not end the watch.
func (w *watcher) tellHost() {
	if w.hand == nil {
		return
	}
	err := w.hand.TakeHostError()
	if err == nil {
		return
	}
	if err.Error() != w.refused {
		w.log.Error("the host refuses to act, nothing more was done in this cycle", "error", err)
	}
	w.refused = err.Error()
}

// cancelLadders ends the ladders of rules that are not in force any more.
func (w *watcher) cancelLadders() {
	if w.hand != nil {
		w.hand.CancelLadders(w.judge.Council.Gens.InForce())
	}
}

// abandonLadders ends those that wait, at the end.
func (w *watcher) abandonLadders() {
	if w.hand != nil {
		w.hand.AbandonAll()
	}
}

// tellErrors says what went wrong in a cycle, once as long as it lasts.
func (w *watcher) tellErrors(errs []error) {
	now := map[string]bool{}
	for _, err := range errs {
		text := digits.ReplaceAllString(err.Error(), "N")
		if !w.errors[text] && !now[text] {
			w.log.Warn("cycle", "error", err)
		}
		now[text] = true
	}
	w.errors = now
}

// digits are what differs between two errors about the same.
var digits = regexp.MustCompile(`[0-9]+`)
