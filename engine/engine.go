package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Options configures an Engine.
type Options struct {
	// Sources are the collectors in the order in which they are tried: the next
	// one is asked only where the one before is refused altogether.
	Sources []collectors.Plugin
	// Extra are asked besides; their records are confirmed by the kernel or only listed.
	Extra   []collectors.Plugin
	Actions *actions.Registry
	Logger  *slog.Logger
	// Live allows effects to be applied; without it nothing can act.
	Live bool
	// AllowUnknownOwner lets a live run act on sockets whose owner cannot be read.
	AllowUnknownOwner bool
	// NoPushdown asks for all sockets in the simplest way and lets the rules alone
	// decide, to find out whether a kernel filters wrongly.
	NoPushdown bool
	// Owners says how owners are found; "" is auto.
	Owners world.OwnerSource
	// World is what is looked at and acted on; nil for this host.
	World *world.World
	// Events says whether state changes are watched; "" is EventsAuto.
	Events EventSource
	// NoBreaker is for commands in which a person has seen the list.
	NoBreaker bool
	// QuietEffects keeps the line for each effect out of the log, but for debugging:
	// a person gets the sum.
	QuietEffects bool
	// OptIn says how listeners, UDP sockets and connections of protected processes are
	// allowed, for the reason why one was spared; nil for the parameters of the rung.
	OptIn func(actions.Permissions) string
	// StateFile keeps memory between runs, "" for none. With ReadOnly it is only read.
	StateFile string
	ReadOnly  bool
	// PauseFiles are the switches that are looked at before each effect.
	PauseFiles []string
	// AuditLog gets a JSON line for each decision and outcome, nil for none; By
	// says in it who runs this.
	AuditLog io.Writer
	By       string
	// Notifiers are the plugins that rules can configure. With Notify messages are
	// sent for what a cycle found.
	Notifiers []actions.NotifierPlugin
	Notify    bool
}

// Engine runs cycles. It is used from one goroutine.
type Engine struct {
	opts   Options
	log    *slog.Logger
	world  *world.World
	giveUp func() // gives the world up
	state  *stateFile
	memory *memory
	middle uint16 // the remote port that halves what is read
	// How many goroutines may look at a time, and from how many sockets on a dump
	// is worth two.
	workers, splitFrom int
	// early says that a cycle comes before its interval is over, because something
	// ripens: for limits it belongs to the cycle before, of which spent keeps the count.
	early    bool
	spent    *spent
	looking  time.Duration        // how long the last cycle took to look and decide
	horizon  time.Duration        // until the next cycle, while watching
	watching bool                 // cycles repeat: what is loaded once pays
	events   world.Events         // nil for none
	noted    collectors.StateMask // of which events are kept

	outbox  *outbox
	audit   auditLog
	audited map[findingKey]Decision // decisions that are in the audit log

	saved     float64       // when the state file was written last
	saveEvery time.Duration // observations are kept at least this often

	settleTime time.Duration // settle, but for tests
	deadAfter  time.Duration // deadAfter, but for tests

	gens    *generations       // of the rules, while watching
	asks    sync.Mutex         // held while they are asked by several at a time
	refresh func()             // looks whether the rules have changed, nil for not
	young   map[string]float64 // since when there are rules that are not in force yet, by fingerprint

	ladders   []*ladder
	queue     []*ladder           // whose next rung may be begun soon: looked at together
	counted   recount             // of groups, for the last look
	asking    time.Duration       // how long it took last to find out who holds sockets
	programs  []running           // that may run
	signalled map[string]bool     // processes that the cycle has signalled
	hanging   map[uint64]*hanging // looks, by the inode of their namespace
	hostError error               // the host refuses to act: nothing is tried any more
}

// New reads the state file and finds out about the invoking session. A live
// engine holds the lock of the state file until Close.
func New(opts Options) (*Engine, error) {
	e := &Engine{
		opts: opts, log: opts.Logger, world: opts.World, settleTime: settle, deadAfter: deadAfter, middle: usualMiddle, splitFrom: worthSplitting,
		giveUp: func() {},
	}
	e.outbox = newOutbox(opts.Notifiers, opts.Logger)
	var err error
	if e.world == nil {
		host, err := world.NewLinux(opts.Owners, opts.Logger)
		if err != nil {
			return nil, err
		}
		e.world, e.giveUp = &host.World, host.Close
	}
	e.workers = e.world.Host.Workers
	e.audit = auditLog{w: opts.AuditLog, log: opts.Logger, by: opts.By, clock: e.world.Clock}
	e.state, e.memory, err = openState(opts.StateFile, opts.Live, e.mono)
	if errors.Is(err, ErrNoBootID) && !opts.Live {
		e.log.Warn("ages are not remembered", "error", err)
		e.state, e.memory, err = openState("", false, e.mono)
	}
	if err != nil {
		return nil, err
	}
	e.state.readOnly = opts.ReadOnly
	if err := e.watchStates(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Close delivers the messages that still wait, for a short time, and gives up
// the lock of the state file.
func (e *Engine) Close() {
	e.tellHanging()
	e.outbox.close()
	e.audit.close()
	if e.events != nil {
		_ = e.events.Close()
		e.events = nil
	}
	e.giveUp()
	e.state.close()
}

// Tell sends the messages that the rules want for a report that is complete.
func (e *Engine) Tell(p *rules.Program, r *Report) {
	if e.opts.Notify {
		e.outbox.tell(e, p, r)
	}
}

// Cycle collects, decides, acts if the engine is live, and verifies. The report
// is complete but for ladders that still wait (see Pending). An error says that
// nothing could be looked at.
func (e *Engine) Cycle(ctx context.Context, p *rules.Program) (*Report, error) {
	c, err := e.find(ctx, p)
	if err != nil {
		return nil, err
	}
	e.act(ctx, c)
	c.finish(e.now())
	e.audit.report(c.report)
	return c.report, nil
}

// find is a cycle up to where it is decided.
func (e *Engine) find(ctx context.Context, p *rules.Program) (*cycle, error) {
	e.cancelLadders(p)
	c, err := e.look(ctx, p)
	if err != nil {
		return nil, err
	}
	e.lookTwice(ctx, c)
	e.decide(c)
	e.auditDecisions(c.report)
	e.record(c)
	e.looking = e.now().Sub(c.began)
	return c, nil
}

// Find collects and decides, for an Act at once: that looks every socket up again
// before anything is done. The findings have no results.
func (e *Engine) Find(ctx context.Context, p *rules.Program) (*Report, error) {
	live := e.opts.Live
	e.opts.Live = false
	defer func() { e.opts.Live = live }()
	c, err := e.find(ctx, p)
	if err != nil {
		return nil, err
	}
	c.finish(e.now())
	e.audit.report(c.report)
	return c.report, nil
}

// Look is the first half of Cycle: it collects and decides, and prepares every
// action without doing it.
func (e *Engine) Look(ctx context.Context, p *rules.Program) (*Report, error) {
	live := e.opts.Live
	e.opts.Live = false
	defer func() { e.opts.Live = live }()
	return e.Cycle(ctx, p)
}

// Act does what the findings of an earlier Look or Find decided, to exactly those
// sockets, and reports what came of it.
func (e *Engine) Act(ctx context.Context, p *rules.Program, looked *Report) *Report {
	r := *looked
	r.Mode, r.Started = "live", e.now()
	c := &cycle{program: p, report: &r, began: e.now(), now: e.mono(), ended: e.now()}
	for _, f := range r.Findings {
		f.Actions = nil
	}
	e.act(ctx, c)
	c.finish(e.now())
	e.audit.report(&r)
	return &r
}

// cycle is the work of one cycle.
type cycle struct {
	program    *rules.Program
	plan       *rules.Program // what is looked at, nil for the program
	report     *Report
	candidates []*Candidate
	namespaces []*namespace
	began      time.Time
	looked     float64 // CLOCK_MONOTONIC at the beginning of the dump, seconds
	now        float64 // and at its end
	ended      time.Time
	incomplete bool
	paused     bool // everything is spared

	remembers, needsTwo []bool // see findNeeds, by rule

	seen map[seenKey]bool // the candidates
	none *Candidate       // stands for the socket of an empty group
	// What extra looks found, once for the cycle.
	collateral map[string]harm
	pictures   map[uint64]*picture // by inode of the namespace
	ports      map[*namespace]map[uint16]portUse
	waiting    map[string]bool // what ladders of earlier cycles are for
}

// seenKey names a socket within a cycle: before Linux 5.10 each namespace counts
// its cookies from one.
type seenKey struct{ netns, cookie uint64 }

func (c *cycle) finish(now time.Time) {
	c.report.Duration = now.Sub(c.began)
	c.report.Incomplete = c.report.Incomplete || c.incomplete
	c.report.count()
}

// fail notes an error that makes the picture incomplete.
func (c *cycle) fail(err error) {
	c.incomplete = true
	c.report.Errors = append(c.report.Errors, err)
}

// warn notes, once, what is worth saying though the picture is complete.
func (c *cycle) warn(err error) {
	if !slices.ContainsFunc(c.report.Errors, func(e error) bool { return e.Error() == err.Error() }) {
		c.report.Errors = append(c.report.Errors, err)
	}
}

// errNothingSeen says that no namespace could be looked at.
var errNothingSeen = errors.New("no sockets could be looked at")

// record keeps observations for the next run.
func (e *Engine) record(c *cycle) {
	// What was not seen may have stopped to match, also if not everything was seen.
	e.memory.breakHolds(c.now)
	if !c.incomplete {
		q := e.query(c.wants())
		e.memory.prune(&q, c.now)
	}
	e.memory.expire(c.now)
	defer func() {
		if e.state.unread != nil {
			c.warn(e.state.unread)
		}
	}()
	if e.saved > 0 && c.now-e.saved < e.saveEvery.Seconds() {
		return
	}
	if err := e.save(); err != nil {
		c.report.Errors = append(c.report.Errors, err)
	}
}

// save writes the state file.
func (e *Engine) save() error {
	e.saved = e.mono()
	return e.state.write(e.memory)
}
