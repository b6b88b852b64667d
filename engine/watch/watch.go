package watch

import (
	"context"
	"log/slog"
	"os"
	"time"

	"sockwarden/engine/act"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/news"
	"sockwarden/engine/report"
	"sockwarden/engine/silence"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

const (
	// debounce is how long a file must be quiet before we read it again: one save in an
	// editor is a dozen events.
	debounce = 150 * time.Millisecond
	// patience is how long we wait for quiet: a busy directory never is.
	patience = 500 * time.Millisecond
	// poll is how often we read files without any event: the safety net for file systems
	// and mounts that send none.
	poll = 5 * time.Second
	// heartbeat is how often an idle watcher logs that it is alive.
	heartbeat = time.Hour
	// ladderPoll is how often we check waiting ladders.
	ladderPoll = 200 * time.Millisecond
	// calmCycles is how many cycles in a row must be short before the log says that the
	// interval is as configured again, so that it says so once.
	calmCycles = 10
	// saveEvery is how often a watcher saves its observations; it saves cool-downs before
	// each effect.
	saveEvery = time.Minute
	// spacing is the least time between two cycles, whatever ripens in between.
	spacing = 50 * time.Millisecond
)

// Parts are those of an engine, for a watcher to run.
type Parts struct {
	World  *world.World
	Log    *slog.Logger
	Looker *look.Looker
	Judge  *judge.Judge
	Hand   *act.Hand // nil for a dry engine
	Memory *memory.Memory
	Store  *memory.Store
	News   *news.News
	// PauseFiles are the pause switches; the log says when they change.
	PauseFiles []string
	// Silences are in force when their files say so, nil for none; the log says when they
	// begin and end.
	Silences *silence.Store
	// Cycle runs one cycle, Looking is how long the last one took to look and decide.
	Cycle   func(context.Context, *rules.Program) (*report.Report, error)
	Looking func() time.Duration
	// Compare says for which sockets of the last cycle two generations of rules differ, ""
	// for none; false if that has not looked at all that they are about.
	Compare func(ctx context.Context, was, now *rules.Program) (text string, ok bool)
}

// Options configures a watcher.
type Options struct {
	Interval time.Duration
	// Load reads the rules as they are now, and which places can change them.
	Load func() (*rules.Program, []string, error)
	// Reload forces a reload (SIGHUP); nil for never.
	Reload <-chan os.Signal
	// Board is where the watcher shows its state and is asked for things; nil for nowhere.
	Board *Board
	// Supervisor hears how the watcher is; nil for nobody.
	Supervisor Supervisor
	// OnFinding gets each finding that is new or whose decision changed.
	OnFinding func(*report.Finding)
}

// watcher is the state of one Run.
type watcher struct {
	Parts
	opts     Options
	files    *rules.Watcher
	reader   reader
	notices  notices
	schedule schedule
	shown    shown
	compared comparing
	began    time.Time
	// supervised is what the supervisor has heard.
	supervised supervised
	lastLine   time.Time
	next       time.Time // when something ripens, as the last cycle told; zero for nothing
	// stretched is how many cycles must be short before the interval counts as kept
	// again, after one that took longer than it allows.
	stretched int
}

// Run runs a cycle every interval, and at once after the rules have changed, until ctx ends.
// It reports rules that it cannot load once, and goes on with the last good ones. It
// returns an error only if it cannot begin, or cannot save its memory at the end.
func Run(ctx context.Context, parts Parts, opts Options) error {
	w := &watcher{Parts: parts, opts: opts, notices: newNotices(&parts), began: parts.World.Now(), supervised: supervised{by: opts.Supervisor}}
	w.News.Repeats()
	w.Judge.Repeats, w.Looker.Horizon = true, opts.Interval
	if owners, ok := w.World.Owners.(world.Repeating); ok {
		owners.Repeats()
	}
	if err := w.Looker.Ages.Watch(true); err != nil {
		return err
	}
	program, watched, err := opts.Load()
	if err != nil {
		return err
	}
	w.Judge.Council.Gens = judge.NewGenerations(program, w.World.Now())
	w.shown.begins(w.World.Now())
	w.Judge.Council.Refresh = w.lookAgain
	defer func() { w.Judge.Council.Refresh = nil }()
	w.files = rules.NewWatcher()
	defer func() { _ = w.files.Close() }()
	w.watchFiles(watched)
	w.reload(ctx, false) // a change between the first load and the watch would go unseen
	w.sayBegin()
	w.lastLine = w.World.Now()
	w.Store.Every = saveEvery
	w.tell(Ready)
	w.run(ctx)
	w.tell(Stopping)
	w.notices.end(ctx)
	w.step(ctx) // asked to stop: end what earlier cycles began
	if w.Hand != nil {
		w.Hand.AbandonAll(ctx)
	}
	w.News.Ends(ctx)
	return w.Store.Save()
}

// gens are the generations of rules that have a say.
func (w *watcher) gens() *judge.Generations { return w.Judge.Council.Gens }

func (w *watcher) sayBegin() {
	mode, events, newest := "dry", "off", w.gens().Newest()
	if w.Hand != nil {
		mode = "live"
	}
	if w.Looker.Ages.Events != nil {
		events = "on"
	}
	w.Log.Info("watching "+mode, "rules", len(newest.Rules), "generation", newest.Short(), "interval", w.opts.Interval,
		"events", events, "breaker", newest.Breaker.Origin())
	if w.gens().InForce().NoDefaultDir {
		w.Log.Info("the built-in rules are in force", "missing", rules.DefaultDir)
	}
}

// step goes on with the waiting ladders.
func (w *watcher) step(ctx context.Context) {
	if w.Hand != nil {
		w.Hand.StepAll(ctx)
		w.News.Stepped(ctx)
	}
}

// schedule says when the next cycle comes.
type schedule struct {
	due      time.Time // the next cycle
	regular  time.Time // the next that its interval asks for
	earliest time.Time // when one may begin before its interval is over
	event    time.Time // the first since the rules were read, zero for none
	quiet    *time.Timer
}

// now makes the next cycle come at once.
func (s *schedule) now() { s.due, s.regular = time.Time{}, time.Time{} }

// readSoon has the rules read as soon as they have been quiet for a moment.
func (w *watcher) readSoon() {
	s := &w.schedule
	if s.event.IsZero() {
		s.event = w.World.Now()
	}
	s.quiet.Reset(min(debounce, w.World.Until(s.event.Add(patience))))
}

func (w *watcher) run(ctx context.Context) {
	w.schedule.quiet = time.NewTimer(time.Hour)
	w.schedule.quiet.Stop()
	defer w.schedule.quiet.Stop()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	next, woke := w.World.After(0), w.Looker.Ages.Transitions(ctx)
	for {
		switch w.wait(ctx, ticker.C, next, woke) {
		case isEnded:
			return
		case isIdle:
			continue
		case isAwake:
		}
		w.step(ctx)
		if !w.World.Now().Before(w.schedule.due) {
			w.runDue(ctx)
		}
		w.notices.host(w.Hand)
		w.show()
		if w.reader.behind {
			w.reader.behind = false
			w.readSoon()
		}
		wait := w.World.Until(w.schedule.due)
		if w.Hand != nil {
			if _, pending := w.Hand.Pending(); pending {
				wait = min(wait, ladderPoll)
			}
		}
		next = w.World.After(max(0, w.alive(wait)))
	}
}

// woken says what a wait has come to.
type woken int

const (
	isAwake woken = iota // look what is due
	isIdle               // wait on
	isEnded
)

// wait waits for the first thing that happens, and takes it in.
func (w *watcher) wait(ctx context.Context, tick <-chan time.Time, next <-chan time.Time, woke <-chan struct{}) woken {
	s := &w.schedule
	changed := false
	select {
	case <-ctx.Done():
		return isEnded
	case <-w.files.Events():
		w.readSoon()
		return isIdle
	case err := <-w.files.Errors():
		w.Log.Warn("watching rules", "error", err)
		w.readSoon()
		return isIdle
	case <-s.quiet.C:
		s.event = time.Time{}
		changed = w.reload(ctx, false)
	case <-tick:
		changed = w.reload(ctx, false)
	case <-w.opts.Reload:
		w.announced(func() { w.reload(ctx, true) })
		changed = true
	case r := <-w.opts.Board.requests():
		if r.between != nil {
			r.between()
			r.answer <- RulesStatus{}
			return isIdle
		}
		w.announced(func() { changed = w.reload(ctx, false) })
		w.show()
		r.answer <- w.rulesStatus()
	case <-w.reader.settles(w.gens(), w.World.Now()):
		changed = w.takeOver(ctx)
	case <-w.wanted(woke, s.due, s.earliest):
		if ripe, ok := w.ripe(); ok && later(ripe, s.earliest).Before(s.due) {
			s.due = later(ripe, s.earliest)
		}
	case <-next:
	}
	if changed {
		s.now()
	}
	return isAwake
}

// runDue runs a cycle, and says when the next one is due.
func (w *watcher) runDue(ctx context.Context) {
	s := &w.schedule
	w.Judge.Early = w.World.Now().Before(s.regular)
	w.tell(Alive) // a cycle may take as long as the supervisor waits
	took := w.cycle(ctx)
	w.compare(ctx)
	if !w.Judge.Early {
		s.regular = w.World.Now().Add(w.stretch(w.opts.Interval, took))
	}
	s.due = s.regular
	// Look in time at sockets that ripen, but spend a fifth of the time at most.
	s.earliest = w.World.Now().Add(max(spacing, 4*w.Looking()))
	if !w.next.IsZero() && w.next.Before(s.due) {
		s.due = later(w.next, s.earliest)
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
	seconds, ok := w.gens().InForce().Ripens()
	return w.World.Now().Add(time.Duration(seconds*float64(time.Second)) + look.Grain), ok
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// cycle runs one cycle and tells what is new.
func (w *watcher) cycle(ctx context.Context) (took time.Duration) {
	began := w.World.Now()
	w.next = time.Time{}
	program := w.gens().InForce()
	defer func() { took = w.World.Now().Sub(began) }()
	w.runs()
	r, err := w.Cycle(ctx, program)
	w.ran(program, began, r, err)
	w.supervised.cycle(began, r, err)
	if err != nil {
		if ctx.Err() == nil {
			w.Log.Error("cycle", "error", err)
			w.News.Failed(ctx, w.World.Now().Sub(began), err)
		}
		return 0
	}
	w.notices.cycle(r.Errors)
	if w.opts.OnFinding != nil {
		for _, f := range r.Findings {
			if f.New {
				w.opts.OnFinding(f)
			}
		}
	}
	said := w.News.Tell(ctx, program, r)
	w.next = r.Next
	s := r.Summary
	attrs := []any{"scanned", s.Scanned, "matched", s.Matched, "acted", s.Acted, "failed", s.Failed, "generation", program.Short(), "took", r.Duration.Round(time.Millisecond)}
	if said {
		w.lastLine = w.World.Now()
	}
	if w.World.Now().Sub(w.lastLine) >= heartbeat {
		w.lastLine = w.World.Now()
		w.Log.Info("still watching", attrs...)
	} else {
		w.Log.Debug("cycle", attrs...)
	}
	return 0
}

// cancelLadders ends the ladders of rules that are not in force any more.
func (w *watcher) cancelLadders(ctx context.Context) {
	if w.Hand != nil {
		w.Hand.CancelLadders(ctx, w.gens().InForce())
	}
}
