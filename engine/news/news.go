package news

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Observer hears what is new, once, on the goroutine of the cycle. It must not delay the
// cycle or change what it is shown.
type Observer interface {
	// Listens reports whether it wants decisions: if nobody does, News does not work out
	// which are new.
	Listens() bool
	// Decision reports a finding that is new, or whose decision has changed, before
	// anything is done for it.
	Decision(mode, generation string, f *report.Finding)
	// Outcome reports the result of a rung of a live run, even if nothing was done. In a
	// dry run the report says what would be done.
	Outcome(ctx context.Context, o *report.Outcome)
	// Cycle reports a complete cycle, after the ladders that do not wait. run and
	// watchers call it, kill and audit do not. Its findings say whether they are new.
	Cycle(ctx context.Context, p *rules.Program, r *report.Report)
}

// Counting is implemented by observers that also count what is no news.
type Counting interface {
	// Failed reports a cycle of a watcher that could not look at anything.
	Failed(ctx context.Context, took time.Duration, err error)
	// Delivered reports what came of a message: sent, failed (and tried again), lost, or
	// summed (up with others, for want of room). Several goroutines
	// may call it at a time.
	Delivered(notifier, result string)
}

// News works out what is new and tells its observers: the audit log, the lines of the
// log, the messages, and whoever else wants to know.
type News struct {
	Audit     *AuditLog
	Outbox    *Outbox
	lines     *lines
	observers []Observer
	clock     world.Clock
	known     *memory.Memory // kept in the state file
	// decided is the last cycle's decision about each finding. A run on a rules file
	// keeps it in known, for the next one.
	decided map[report.Key]report.Decision
	keeps   bool
	listens bool // somebody wants decisions
}

// Options say what to tell, and where.
type Options struct {
	Log      *slog.Logger
	Quiet    bool // lowers the line for each effect to the debug level
	AuditLog io.Writer
	By       string
	// Notifiers are the plugins that rules can configure; with Notify, News sends
	// messages.
	Notifiers []actions.NotifierPlugin
	Notify    bool
	// Observers are told in addition.
	Observers []Observer
	// Keeps says that the state file remembers decisions, so the next run says only what
	// is new.
	Keeps bool
}

// New makes the news of an engine.
func New(w *world.World, known *memory.Memory, o Options) *News {
	n := &News{
		clock: w, known: known, keeps: o.Keeps, Outbox: NewOutbox(o.Notifiers, w, o.Log),
		Audit: &AuditLog{W: o.AuditLog, Log: o.Log, by: o.By, Clock: w},
		lines: &lines{log: o.Log, clock: w, quiet: o.Quiet, standing: map[episodeKey]*episode{}, effects: map[effectKey]*effects{}, failed: map[effectKey]time.Time{}},
	}
	n.observers = append([]Observer{n.Audit, n.lines, &tally{clock: w, known: known}}, o.Observers...)
	if o.Notify {
		n.observers = append(n.observers, &messages{clock: w, host: w.Host.Name, known: known, outbox: n.Outbox})
	}
	n.listens = slices.ContainsFunc(n.observers, Observer.Listens)
	for _, o := range n.observers {
		if counts, ok := o.(Counting); ok {
			n.Outbox.counting = append(n.Outbox.counting, counts)
		}
	}
	return n
}

// Failed says that a cycle could not look at anything.
func (n *News) Failed(ctx context.Context, took time.Duration, err error) {
	for _, o := range n.Outbox.counting {
		o.Failed(ctx, took, err)
	}
}

// Repeats says that cycles repeat: what lasts is said once.
func (n *News) Repeats() { n.lines.repeats, n.keeps, n.listens = true, false, true }

// Decided takes the decisions of a cycle, before anything is done, and tells those that
// are new or have changed. complete says that findings that are not among them have
// ended.
func (n *News) Decided(p *rules.Program, r *report.Report, mode string, complete bool, now float64) {
	was := n.decided
	n.decided = make(map[report.Key]report.Decision, len(r.Findings))
	if !complete && len(was) < memory.MaxRemembered {
		maps.Copy(n.decided, was)
	}
	if n.listens || n.keeps {
		for _, f := range r.Findings {
			key := report.KeyOf(f)
			n.decided[key] = f.Decision
			f.New = was[key] != f.Decision
			if n.keeps {
				f.New = n.known.Tell(decidedKey(key), string(f.Decision), now) != string(f.Decision)
			}
			if f.New {
				n.tellDecision(mode, r.Generation, f)
			}
		}
	}
	if !n.keeps {
		return
	}
	for _, err := range r.Errors {
		if n.known.Tell("error - "+digits.ReplaceAllString(err.Error(), "N"), "said", now) != "" {
			r.Known = append(r.Known, err)
		}
	}
	n.known.Ended("error", func(string) bool { return true }, now)
	if complete {
		n.known.Ended("decided", func(rule string) bool { return p.Rule(rule) != nil }, now)
	}
}

func decidedKey(k report.Key) string { return "decided " + k.String() }

// digits are what differs between two errors about the same thing.
var digits = regexp.MustCompile(`[0-9]+`)

// Decision takes a decision that came after the others.
func (n *News) Decision(mode, generation string, f *report.Finding) {
	n.tellDecision(mode, generation, f)
	key := report.KeyOf(f)
	if n.decided != nil {
		n.decided[key] = f.Decision
	}
	if n.keeps {
		n.known.Tell(decidedKey(key), string(f.Decision), n.clock.Mono())
	}
}

func (n *News) tellDecision(mode, generation string, f *report.Finding) {
	for _, o := range n.observers {
		o.Decision(mode, generation, f)
	}
}

// Outcome takes the result of a rung.
func (n *News) Outcome(ctx context.Context, o *report.Outcome) {
	for _, who := range n.observers {
		who.Outcome(ctx, o)
	}
}

// Tell takes a complete cycle. It reports whether the log says anything new.
func (n *News) Tell(ctx context.Context, p *rules.Program, r *report.Report) bool {
	n.lines.said = false
	for _, o := range n.observers {
		o.Cycle(ctx, p, r)
	}
	return n.lines.said
}

// Done says that a cycle has done what it could; a single run then logs it.
func (n *News) Done(ctx context.Context) {
	if !n.lines.repeats {
		n.lines.flush(ctx)
	}
}

// Stepped says that waiting ladders have moved on.
func (n *News) Stepped(ctx context.Context) { n.lines.flush(ctx) }

// Ends says that no cycle follows: the log gets what was held back.
func (n *News) Ends(ctx context.Context) {
	n.lines.repeats = false
	n.lines.flush(ctx)
}

// Close delivers the messages that still wait, for a short time.
func (n *News) Close() {
	n.Outbox.Close()
	n.Audit.Close()
}
