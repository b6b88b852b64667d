package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/act"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/news"
	"sockwarden/engine/pause"
	"sockwarden/engine/recording"
	"sockwarden/engine/report"
	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Options configures an Engine.
type Options struct {
	// Sources are the collectors in the order in which to try them: the engine asks the
	// next one only where the previous one is refused altogether.
	Sources []collectors.Plugin
	// Extra are asked in addition; the kernel confirms their records, or they are only
	// listed.
	Extra []collectors.Plugin
	// NoPushdown asks for all sockets in the simplest way and leaves all decisions to the
	// rules, which shows whether a kernel filters wrongly.
	NoPushdown bool
	// Events says whether to watch state changes; "" is EventsAuto.
	Events look.EventSource
	// AllowUnknownOwner lets a live run act on sockets whose owner it cannot read.
	AllowUnknownOwner bool
	// NoBreaker is for commands where a person has seen the list.
	NoBreaker bool
	// OptIn says how to allow listeners and UDP sockets, for the reason why one was
	// spared; nil means through the parameters of the rung.
	OptIn  func(actions.Permissions) string
	Logger *slog.Logger
	// Live allows effects to be applied; without it nothing can act.
	Live bool
	// Owners says how to find owners; "" is auto.
	Owners world.OwnerSource
	// Shows are fields to show of findings, besides those that rules read.
	Shows collectors.FieldSet
	// World is what to look at and act on; nil for this host.
	World *world.World
	// From is a recording to look at instead of a host; nil for none. Nothing is done to it.
	From *recording.World
	// QuietEffects lowers the line for each effect to the debug level: a person sees the
	// total.
	QuietEffects bool
	// StateFile keeps memory between runs, "" for none. With ReadOnly the engine never
	// writes it.
	StateFile string
	ReadOnly  bool
	// PauseFiles are the switches to check before each effect.
	PauseFiles []string
	// Silences are the files of silences, which are obeyed in dry runs, too.
	Silences []string
	// AuditLog gets a JSON line for each decision and outcome, nil for none; By says
	// there who runs this.
	AuditLog io.Writer
	By       string
	// Notifiers are the plugins that rules can configure. With Notify the engine sends
	// messages about what a cycle found.
	Notifiers []actions.NotifierPlugin
	Notify    bool
	// Observers hear what is new, besides the log, the audit log and the notifiers.
	Observers []news.Observer
}

// Engine runs cycles. Use it from one goroutine.
type Engine struct {
	opts      Options
	log       *slog.Logger
	world     *world.World
	giveUp    func() // closes the world
	store     *memory.Store
	memory    *memory.Memory
	looker    *look.Looker
	judge     *judge.Judge
	hand      *act.Hand // nil for a dry engine
	rehearsal *act.Rehearsal
	news      *news.News
	silences  *silence.Store
	last      lastCycle
}

// lastCycle is what the engine keeps of the last cycle.
type lastCycle struct {
	report  *report.Report // its ladders still change it
	looking time.Duration  // time spent looking and deciding
	program *rules.Program // that it was about
	picture *look.Picture  // what it saw, if there are several generations of rules to compare
}

// New reads the state file and finds out about the invoking session. A live
// engine holds the lock of the state file until Close.
func New(opts Options) (*Engine, error) {
	if opts.From != nil {
		opts = replaying(opts)
	}
	e := &Engine{opts: opts, log: opts.Logger, world: opts.World, giveUp: func() {}, silences: silence.NewStore(opts.Silences...)}
	if e.world == nil {
		host, err := world.NewLinux(opts.Owners, runtime.GOMAXPROCS(0), opts.Logger)
		if err != nil {
			return nil, err
		}
		e.world, e.giveUp = &host.World, host.Close
	}
	state, known, err := e.remembered()
	if err != nil {
		e.giveUp()
		return nil, err
	}
	state.ReadOnly = opts.ReadOnly
	e.memory, e.store = known, &memory.Store{State: state, Memory: known, Clock: e.world}
	e.looker = look.NewLooker(e.world, e.log, known, look.Options{Sources: opts.Sources, Extra: opts.Extra, NoPushdown: opts.NoPushdown, Events: opts.Events, Shows: opts.Shows})
	e.judge = judge.New(e.world, e.log, known, e.looker, judge.Options{AllowUnknownOwner: opts.AllowUnknownOwner, NoBreaker: opts.NoBreaker, OptIn: opts.OptIn, Silences: e.silences})
	e.news = news.New(e.world, known, news.Options{
		Log: e.log, Quiet: opts.QuietEffects, AuditLog: opts.AuditLog, By: opts.By, Notifiers: opts.Notifiers, Notify: opts.Notify,
		Keeps: opts.Live && opts.Notify, Observers: opts.Observers,
	})
	e.rehearsal = act.NewRehearsal(e.world, e.judge.Harms)
	if opts.Live {
		e.hand = act.New(act.Options{
			World: e.world, Log: e.log, Memory: e.memory, Store: e.store, Looker: e.looker, Judge: e.judge, News: e.news, PauseFiles: opts.PauseFiles,
			Silences: e.silences,
		})
	}
	if err := e.looker.Ages.Watch(false); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// remembered opens what was known before: the state file, or what a recording has.
func (e *Engine) remembered() (*memory.StateFile, *memory.Memory, error) {
	if e.opts.From != nil {
		state, known := e.opts.From.Remembered()
		return state, known, nil
	}
	state, known, err := memory.OpenState(e.opts.StateFile, e.opts.Live, e.world.Mono)
	if errors.Is(err, memory.ErrNoBootID) && !e.opts.Live {
		e.log.Warn("ages are not remembered", "error", err)
		state, known, err = memory.OpenState("", false, e.world.Mono)
	}
	return state, known, err
}

// Close delivers the messages that still wait, for a short time, and releases the lock of
// the state file.
func (e *Engine) Close() {
	e.looker.Dumps.Hangs.TellHanging()
	e.news.Close()
	e.looker.Ages.Close()
	e.giveUp()
	e.store.State.Close()
}

// Repeats says that cycles come at this interval, as those of Watch do: what needs a second
// look has it in the next cycle.
func (e *Engine) Repeats(interval time.Duration) {
	e.judge.Repeats, e.looker.Horizon = true, interval
}

// Tell gives a complete report to the observers: the log, messages, and whoever else
// wants to know.
func (e *Engine) Tell(ctx context.Context, p *rules.Program, r *report.Report) {
	e.news.Tell(ctx, p, r)
	if e.judge.Repeats || !e.opts.Live || !e.opts.Notify {
		return
	}
	if err := e.store.Save(); err != nil { // the next run may send them again
		e.log.Warn("what was told is not kept", "error", err)
	}
}

// Cycle collects, decides, acts if the engine is live, and verifies. The report is
// complete except for ladders that still wait (see Pending). An error says that it could
// not look at anything.
func (e *Engine) Cycle(ctx context.Context, p *rules.Program) (*report.Report, error) {
	return e.cycle(ctx, p, e.opts.Live)
}

func (e *Engine) cycle(ctx context.Context, p *rules.Program, live bool) (*report.Report, error) {
	e.last.picture = nil
	c, err := e.find(ctx, p, live)
	if err != nil {
		return nil, err
	}
	if e.judge.Council.Compares() {
		e.last.picture = c.Picture
	}
	e.act(ctx, c)
	e.news.Done(ctx)
	return e.finish(c), nil
}

// finish completes the report of a cycle, as far as its ladders have come, and returns a
// snapshot of it.
func (e *Engine) finish(c *judge.Cycle) *report.Report {
	c.Report.Duration, c.Report.Recording = e.world.Now().Sub(c.Began), e.recording()
	c.Report.Incomplete = c.Report.Incomplete || c.Incomplete
	c.Report.Count()
	e.news.Audit.Report(c.Report)
	e.last.report = c.Report
	return c.Report.Snapshot()
}

// find runs a cycle up to its decisions.
func (e *Engine) find(ctx context.Context, p *rules.Program, live bool) (*judge.Cycle, error) {
	if e.hand != nil {
		e.hand.CancelLadders(ctx, p)
	}
	return e.findIn(ctx, p, e.judge.Council.Wanted(p), live)
}

// findIn is find that also looks at what the rules do not ask for.
func (e *Engine) findIn(ctx context.Context, p *rules.Program, wanted look.Wanted, live bool) (*judge.Cycle, error) {
	picture, err := e.looker.Look(ctx, wanted)
	if err != nil {
		return nil, err
	}
	e.looker.LookTwice(ctx, picture)
	c := judge.NewCycle(picture, live)
	if e.hand != nil {
		c.Waiting = e.hand.UnderWay()
	}
	if live {
		c.Paused = pause.Read(e.world.Now(), e.opts.PauseFiles...)
	}
	c.Silences = e.silences.At(e.world.Now())
	e.judge.Decide(ctx, c)
	e.last.program = p
	e.news.Decided(p, c.Report, e.mode(), !c.Incomplete, c.Now)
	e.record(c)
	e.last.looking = e.world.Now().Sub(c.Began)
	return c, nil
}

// mode is what the audit log says about decisions. Those that a live engine shows before
// it acts on them are live, too.
func (e *Engine) mode() string {
	if e.opts.Live {
		return report.ModeLive
	}
	return report.ModeDry
}

// Find collects and decides, for an Act right away, which looks up every socket again
// before it does anything. The findings have no results.
func (e *Engine) Find(ctx context.Context, p *rules.Program) (*report.Report, error) {
	c, err := e.find(ctx, p, false)
	if err != nil {
		return nil, err
	}
	return e.finish(c), nil
}

// Look is the first half of Cycle: it collects and decides, and prepares every action
// without doing it.
func (e *Engine) Look(ctx context.Context, p *rules.Program) (*report.Report, error) {
	return e.cycle(ctx, p, false)
}

// Act does what the findings of an earlier Look or Find decided, to exactly those
// sockets, and reports the results.
func (e *Engine) Act(ctx context.Context, p *rules.Program, looked *report.Report) *report.Report {
	r := looked.Snapshot()
	r.Mode, r.Started = report.ModeLive, e.world.Now()
	now := e.world.Mono()
	c := &judge.Cycle{
		Picture: &look.Picture{Wanted: look.Wanted{Program: p, Plan: p}, Moments: look.Moments{Began: r.Started, Looked: now, Now: now, Ended: r.Started}}, Report: r, Live: true,
	}
	for _, f := range r.Findings {
		f.Actions = nil
		c.Cases = append(c.Cases, &judge.Case{Finding: f})
	}
	e.act(ctx, c)
	e.news.Done(ctx)
	return e.finish(c)
}

// act does what was decided, or says what it would do.
func (e *Engine) act(ctx context.Context, c *judge.Cycle) {
	if c.Live && e.hand != nil {
		e.hand.Act(ctx, c)
		return
	}
	e.rehearsal.Act(ctx, c)
}

// Pending reports whether ladders are waiting, and until when the next one does.
func (e *Engine) Pending() (until time.Time, ok bool) {
	if e.hand == nil {
		return until, false
	}
	return e.hand.Pending()
}

// Step looks at the waiting ladders and moves on those whose time has come.
func (e *Engine) Step(ctx context.Context) {
	if e.hand != nil {
		e.hand.StepAll(ctx)
		e.news.Stepped(ctx)
	}
}

// Finish waits for the waiting ladders and completes the report of the last cycle.
func (e *Engine) Finish(ctx context.Context, r *report.Report) {
	if e.hand != nil {
		e.hand.Finish(ctx, e.last.report)
		e.news.Stepped(ctx)
	}
	e.last.report.Count()
	e.news.Audit.Report(e.last.report)
	*r = *e.last.report.Snapshot()
}

// record keeps observations for the next run.
func (e *Engine) record(c *judge.Cycle) {
	// What we did not see may have stopped matching, even if we did not see everything.
	e.memory.BreakHolds(c.Now)
	if !c.Incomplete {
		q := e.looker.Dumps.Query(c.Plan)
		e.memory.Prune(&q, c.Now)
		e.memory.Ended("said", func(rule string) bool { return c.Program.Rule(rule) != nil }, c.Now)
	}
	e.memory.Expire(c.Now)
	if err := e.store.WhenDue(c.Now); err != nil {
		c.Report.Errors = append(c.Report.Errors, err)
	}
	if e.store.State.Unread != nil {
		c.Warn(e.store.State.Unread)
	}
}

// Dead finds the processes that hold sockets which the kernel has ended, and counts those
// that it could not examine.
func (e *Engine) Dead(ctx context.Context) (all []world.Dead, unseen int, err error) {
	if e.world.Dead == nil {
		return nil, 0, collectors.ErrNotSupported
	}
	return e.world.Dead(ctx)
}

// Watch runs a cycle every interval, and at once after the rules have changed, until ctx
// ends.
func (e *Engine) Watch(ctx context.Context, opts watch.Options) error {
	return watch.Run(ctx, watch.Parts{
		World: e.world, Log: e.log, Looker: e.looker, Judge: e.judge, Hand: e.hand, Memory: e.memory, Store: e.store, News: e.news,
		PauseFiles: e.opts.PauseFiles, Silences: e.silences, Cycle: e.Cycle, Looking: func() time.Duration { return e.last.looking }, Compare: e.compare,
	}, opts)
}
