package watch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"time"

	"sockwarden/engine/act"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/pause"
	"sockwarden/engine/report"
	"sockwarden/engine/silence"
	"sockwarden/engine/world"
)

// notices are what a watcher says about itself, each once for as long as it lasts.
type notices struct {
	log        *slog.Logger
	clock      world.Clock
	memory     *memory.Memory
	pauseFiles []string
	silences   *silence.Store

	paused  string                      // what was said of the pause last
	ends    time.Time                   // when that is over, zero until somebody resumes
	silent  map[string]*silence.Silence // those that were said, by what they say
	errors  map[string]bool             // what was said of the last cycle
	closed  map[string]bool             // what was said of namespaces that cannot be entered
	tripped map[string]said             // what was said of breakers
	refused string                      // what was said last of a host that refuses
}

func newNotices(p *Parts) notices {
	return notices{log: p.Log, clock: p.World, memory: p.Memory, pauseFiles: p.PauseFiles, silences: p.Silences, closed: map[string]bool{}, tripped: map[string]said{}}
}

// cycle says what went wrong in a cycle, and what held it back.
func (n *notices) cycle(errs []error) {
	n.failures(n.trips(errs, n.clock.Now()))
	n.pause()
	n.silence()
}

// said is what a watcher has said of a breaker.
type said struct {
	first, last time.Time
	living      int
}

// muchMore is by what factor a number must have changed to be said again.
const muchMore = 1.5

// trips says what has tripped: at once, and again every hour, or when what
// would be acted on has changed much, for as long as it lasts. Its end is said by
// who resets it. It returns the other errors.
func (n *notices) trips(errs []error, now time.Time) []error {
	var others []error
	for _, err := range errs {
		t, ok := errors.AsType[*report.TrippedError](err)
		if !ok {
			others = append(others, err)
			continue
		}
		was, known := n.tripped[t.Name]
		// While it calms down there is less to act on, and that is no news.
		changed := t.Calm == 0 && math.Max(float64(t.Living), float64(was.living)) > muchMore*math.Min(float64(t.Living), float64(was.living))
		if known && !changed && now.Sub(was.last) < heartbeat {
			continue
		}
		if !known {
			was.first = now
		}
		t.Log(n.log, now.Sub(was.first))
		n.tripped[t.Name] = said{was.first, now, t.Living}
	}
	for name := range n.tripped {
		if _, still := n.memory.Tripped[name]; !still {
			delete(n.tripped, name)
		}
	}
	return others
}

// pause says once that a pause began, and that it ended.
func (n *notices) pause() {
	now := ""
	p := pause.Read(n.clock.Now(), n.pauseFiles...)
	if p != nil {
		now = p.String()
	}
	if now == n.paused {
		return
	}
	n.paused = now
	switch {
	case p != nil:
		n.ends = p.Until
	case !n.ends.IsZero() && !n.clock.Now().Before(n.ends):
		n.log.Info("the pause is over")
		return
	default:
		n.log.Info("resumed")
		return
	}
	var until any = p.Until
	if p.Until.IsZero() {
		until = p.End()
	}
	n.log.Warn("paused, observing only", "until", until, "by", p.By)
}

// silence says once of each silence that it began, and that it is over.
func (n *notices) silence() {
	at, now := n.clock.Now(), map[string]*silence.Silence{}
	for _, s := range n.silences.At(at) {
		text := s.String()
		if now[text] = s; n.silent[text] != nil {
			continue
		}
		if s.Broken() != "" {
			n.log.Warn("nothing is done", "reason", text)
			continue
		}
		n.log.Info("silence", "id", s.ID, "about", s.About(), "until", s.EndsAt, "by", s.CreatedBy, "comment", s.Comment)
	}
	for text, s := range n.silent {
		switch {
		case now[text] != nil:
		case s.Broken() != "":
			n.log.Info("the files of silences can be read again", "before", text)
		case at.Before(s.EndsAt):
			n.log.Info("silence removed", "id", s.ID, "about", s.About(), "by", cmp.Or(n.silences.RemovedBy(s.ID), "somebody who has changed its file"))
		default:
			n.log.Info("silence over", "id", s.ID, "about", s.About())
		}
	}
	n.silent = now
}

// host says that the host refused, once for each reason. The next cycle
// tries again: one process or one full disk must not end the watch.
func (n *notices) host(h *act.Hand) {
	if h == nil {
		return
	}
	err := h.TakeHostError()
	if err == nil {
		return
	}
	if err.Error() != n.refused {
		n.log.Error("the host refuses to act, nothing more was done in this cycle", "error", err)
	}
	n.refused = err.Error()
}

// maxClosed bounds what is remembered of namespaces: each container may have one.
const maxClosed = 4096

// failures says what went wrong in a cycle, once as long as it lasts. A namespace that
// cannot be entered is named once and for all, also if it is busy only now and then.
func (n *notices) failures(errs []error) {
	now := map[string]bool{}
	for _, err := range errs {
		if errors.Is(err, world.ErrNoEntry) {
			n.notEntered(err)
			continue
		}
		text := digits.ReplaceAllString(err.Error(), "N")
		if !n.errors[text] && !now[text] {
			n.log.Warn("cycle", "error", err)
		}
		now[text] = true
	}
	n.errors = now
}

// notEntered names the namespaces of an error that were not named before.
func (n *notices) notEntered(err error) {
	var names []string
	closed, ok := errors.AsType[*look.ClosedError](err)
	if ok {
		names = slices.DeleteFunc(slices.Clone(closed.Names), func(name string) bool { return n.closed[name] })
		err = &look.ClosedError{Names: names, Err: closed.Err}
	} else if text := err.Error(); !n.closed[text] {
		names = []string{text}
	}
	if len(names) == 0 {
		return
	}
	if len(n.closed)+len(names) > maxClosed {
		clear(n.closed)
	}
	for _, name := range names {
		n.closed[name] = true
	}
	n.log.Warn("cycle", "error", err)
}

// digits are what differs between two errors about the same.
var digits = regexp.MustCompile(`[0-9]+`)

// end says why the watcher ends.
func (n *notices) end(ctx context.Context) {
	why := "it was told to"
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		why = cause.Error()
	}
	n.log.Info("watching ends", "why", why)
}
