package engine

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"sockwarden/actions"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// JudgeOptions say how a judge decides.
type JudgeOptions struct {
	AllowUnknownOwner bool
	NoBreaker         bool
	OptIn             func(actions.Permissions) string
}

// judge decides what is to become of each socket of a picture.
type judge struct {
	world     *world.World
	memory    *memory.Memory
	noBreaker bool
	guards    *guards
	harms     *look.Harms
	breaker   *breaker
	council   *council
	// early says that a cycle comes before its interval is over, because something
	// ripens: for limits it belongs to the cycle before, of which spent keeps the count.
	early   bool
	repeats bool // cycles come again and again: it is a watcher's
	spent   *spent
	young   map[string]float64 // since when there are rules that are not in force yet, by fingerprint
}

// guards spare what no rule may act on.
type guards struct {
	world        *world.World
	kept         *look.Untouchables
	allowUnknown bool
	optInText    func(actions.Permissions) string
}

// breaker spares everything if it is too much.
type breaker struct {
	off       bool
	log       *slog.Logger
	memory    *memory.Memory
	harms     *look.Harms
	council   *council
	deadAfter time.Duration // deadAfter, but for tests
}

// council are the younger generations of rules, which must agree.
type council struct {
	*judge
	gens    *generations // of the rules, while watching
	asks    sync.Mutex   // held while they are asked by several at a time
	refresh func()       // looks whether the rules have changed, nil for not
}

func newJudge(w *world.World, log *slog.Logger, m *memory.Memory, k *look.Looker, o JudgeOptions) *judge {
	harms := &look.Harms{World: w, Log: log, Dumps: k.Dumps}
	j := &judge{
		world: w, noBreaker: o.NoBreaker, memory: m, harms: harms,
		guards: &guards{world: w, kept: k.Kept, allowUnknown: o.AllowUnknownOwner, optInText: o.OptIn},
	}
	j.council = &council{judge: j}
	j.breaker = &breaker{off: o.NoBreaker, log: log, memory: m, harms: harms, council: j.council, deadAfter: deadAfter}
	return j
}

// guard returns why no rule may act on the candidate by this rung, "" if it may.
func (j *judge) guard(c *look.Candidate, rung *rules.Rung) string { return j.guards.guard(c, rung) }

// cycle is one judgement.
type cycle struct {
	*look.Picture
	report *Report
	cases  []*Case // from which its findings come
	live   bool
	paused *Pause          // everything is spared, nil for nothing
	none   *look.Candidate // stands for the socket of an empty group
	// waiting names what the ladders of earlier cycles are for.
	waiting map[string]bool
}

func newCycle(p *look.Picture, live bool) *cycle {
	mode := ModeDry
	if live {
		mode = ModeLive
	}
	return &cycle{Picture: p, live: live, report: &Report{
		Mode: mode, Files: p.Program.Files, Generation: p.Program.Generation, Started: p.Began, ByState: p.ByState, Errors: p.Errors,
		Summary: Summary{Scanned: p.Scanned, SocketsTotal: p.Total}, Namespaces: len(p.Namespaces), Unseen: p.Unseen,
		UnseenNamespaces: p.UnseenNamespaces, Next: p.Next, Young: p.Young,
	}}
}

// fail notes an error that makes the picture incomplete.
func (c *cycle) fail(err error) {
	c.Incomplete = true
	c.report.Errors = append(c.report.Errors, err)
}

// warn notes, once, what is worth saying though the picture is complete.
func (c *cycle) warn(err error) {
	if !slices.ContainsFunc(c.report.Errors, func(e error) bool { return e.Error() == err.Error() }) {
		c.report.Errors = append(c.report.Errors, err)
	}
}

// sooner notes that another cycle would find something to do that long after this
// one's look.
func (c *cycle) sooner(d time.Duration) {
	c.Picture.Sooner(d) //nolint:staticcheck // it is hidden by this one
	c.report.Next = c.Next
}
