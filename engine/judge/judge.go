package judge

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"sockwarden/actions"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/pause"
	"sockwarden/engine/report"
	"sockwarden/engine/silence"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Options say how a judge decides.
type Options struct {
	AllowUnknownOwner bool
	NoBreaker         bool
	OptIn             func(actions.Permissions) string
	// Silences are those that a look has to have the fields for, nil for none.
	Silences *silence.Store
}

// Judge decides what to do about each socket of a picture.
type Judge struct {
	world     *world.World
	memory    *memory.Memory
	noBreaker bool
	guards    *guards
	Harms     *look.Harms
	Breaker   *Breaker
	Council   *council
	// Early says that a cycle comes before its interval is over, because a socket ripens.
	// For limits it belongs to the cycle before, and spent keeps the count of that.
	Early   bool
	Repeats bool // cycles repeat: it belongs to a watcher
	spent   *spent
	young   map[string]float64 // since when there are rules that are not in force yet, by fingerprint
	steady  bool               // see Steady
}

// guards spare what no rule may act on.
type guards struct {
	world        *world.World
	kept         *look.Untouchables
	allowUnknown bool
	optInText    func(actions.Permissions) string
	wholes       wholes
}

// Breaker spares everything if rules would act on too much.
type Breaker struct {
	off       bool
	log       *slog.Logger
	memory    *memory.Memory
	harms     *look.Harms
	council   *council
	DeadAfter time.Duration // deadAfter, but for tests
}

// council is the younger generations of rules, which must agree.
type council struct {
	*Judge
	Gens    *Generations // of the rules, while watching
	asks    sync.Mutex   // serialises questions to them
	Refresh func()       // checks whether the rules have changed, nil for never
	// Before are rules that have no say any more: the next look is wide enough to compare
	// them with the others; nil for none.
	Before *rules.Program
	quiet  reading
}

// New makes a judge that looks at the host only through k and w.
func New(w *world.World, log *slog.Logger, m *memory.Memory, k *look.Looker, o Options) *Judge {
	harms := &look.Harms{World: w, Log: log, Dumps: k.Dumps}
	j := &Judge{
		world: w, noBreaker: o.NoBreaker, memory: m, Harms: harms,
		guards: &guards{world: w, kept: k.Kept, allowUnknown: o.AllowUnknownOwner, optInText: o.OptIn},
	}
	j.Council = &council{Judge: j, quiet: reading{silences: o.Silences, clock: w}}
	j.Breaker = &Breaker{off: o.NoBreaker, log: log, memory: m, harms: harms, council: j.Council, DeadAfter: DeadAfter}
	return j
}

// Guard returns why no rule may act on the candidate by this rung, "" if it may.
func (j *Judge) Guard(c *look.Candidate, rung *rules.Rung) string { return j.guards.guard(c, rung) }

// Cycle is one judgement.
type Cycle struct {
	*look.Picture
	Report *report.Report
	Cases  []*Case // the source of its findings
	Live   bool
	Paused *pause.Pause // spares everything; nil if not paused
	// Silences spare what they are about.
	Silences silence.List
	none     *look.Candidate // stands for the socket of an empty group
	// Waiting holds the targets of ladders from earlier cycles.
	Waiting map[string]bool

	// grouped, quota and untold are what Ask goes by after the decisions: the groups of
	// each rule, what was counted, and of which listeners the share could not be told.
	grouped []map[*look.Candidate]*Group
	quota   *quota
	untold  map[string]string
}

// NewCycle begins the judgement of a picture; with live its report is that of a live run.
func NewCycle(p *look.Picture, live bool) *Cycle {
	mode := report.ModeDry
	if live {
		mode = report.ModeLive
	}
	return &Cycle{Picture: p, Live: live, Report: &report.Report{
		Mode: mode, Files: p.Program.Files, Generation: p.Program.Generation, Started: p.Began, ByState: p.ByState, Errors: p.Errors,
		Summary: report.Summary{Scanned: p.Scanned, SocketsTotal: p.Total}, Namespaces: len(p.Namespaces), Unseen: p.Unseen,
		UnseenNamespaces: p.UnseenNamespaces, Next: p.Next, Young: p.Young,
	}}
}

// fail notes an error that makes the picture incomplete.
func (c *Cycle) fail(err error) {
	c.Incomplete = true
	c.Report.Errors = append(c.Report.Errors, err)
}

// Warn notes, once, a problem that leaves the picture complete.
func (c *Cycle) Warn(err error) {
	if !slices.ContainsFunc(c.Report.Errors, func(e error) bool { return e.Error() == err.Error() }) {
		c.Report.Errors = append(c.Report.Errors, err)
	}
}

// sooner notes that a cycle would find something to do this long after the look.
func (c *Cycle) sooner(d time.Duration) {
	c.Picture.Sooner(d) //nolint:staticcheck // it is hidden by this one
	c.Report.Next = c.Next
}
