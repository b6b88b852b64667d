package news

import (
	"context"
	"io"
	"log/slog"
	"regexp"

	"sockwarden/actions"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// News tells what is new: in the log, the audit log, and messages.
type News struct {
	log    *slog.Logger
	clock  world.Clock
	host   string
	notify bool
	Audit  AuditLog
	Outbox *Outbox

	known *memory.Memory // kept in the state file: what messages were sent for
	// decided remembers what was decided about each finding: known from run to run by
	// one that rules ask for, else for as long as the process lives.
	decided *memory.Memory
	changed map[*report.Finding]bool // of this cycle
	lines   lines
}

// Options say what is told, and where.
type Options struct {
	Log      *slog.Logger
	Quiet    bool // no line for each effect, but for debugging
	AuditLog io.Writer
	By       string
	// Notifiers are the plugins that rules can configure; with Notify messages are sent.
	Notifiers []actions.NotifierPlugin
	Notify    bool
	// Keeps says that the state file remembers what was decided: it is the same to
	// the next run, which says only what is new.
	Keeps bool
}

// New makes the news of an engine.
func New(w *world.World, known *memory.Memory, o Options) *News {
	n := &News{
		log: o.Log, clock: w, host: w.Host.Name, notify: o.Notify, Outbox: NewOutbox(o.Notifiers, w, o.Log), known: known, decided: memory.NewMemory(),
		Audit: AuditLog{W: o.AuditLog, Log: o.Log, by: o.By, Clock: w},
	}
	n.lines = lines{log: o.Log, clock: w, quiet: o.Quiet, standing: map[episodeKey]*episode{}, effects: map[effectKey]*effects{}}
	if o.Keeps {
		n.decided = known
	}
	return n
}

// Repeats says that cycle follows on cycle: what stands is said once.
func (n *News) Repeats() { n.lines.repeats, n.decided = true, memory.NewMemory() }

// Decided is told what was decided in a cycle, before anything is done. What is new or
// has changed goes to the audit log; complete says that what is not among the findings
// has ended.
func (n *News) Decided(p *rules.Program, r *report.Report, mode string, complete bool, now float64) {
	n.changed = map[*report.Finding]bool{}
	for _, f := range r.Findings {
		if was := n.decided.Tell("decided "+report.KeyOf(f).String(), string(f.Decision), now); was == string(f.Decision) {
			continue
		}
		n.changed[f] = true
		n.Audit.decision(mode, r.Generation, f)
	}
	for _, err := range r.Errors {
		text := digits.ReplaceAllString(err.Error(), "N")
		if n.decided.Tell("error - "+text, "said", now) != "" {
			r.Known = append(r.Known, err)
		}
	}
	n.decided.Ended("error", func(string) bool { return true }, now)
	if complete {
		n.decided.Ended("decided", func(rule string) bool { return p.Rule(rule) != nil }, now)
	}
}

// digits are what differs between two errors about the same.
var digits = regexp.MustCompile(`[0-9]+`)

// IsNew reports whether a finding of the last cycle is new, or decided otherwise than in
// the cycle before.
func (n *News) IsNew(f *report.Finding) bool { return n.changed[f] }

// Decision is told of a decision that came after the others.
func (n *News) Decision(mode, generation string, f *report.Finding) {
	n.Audit.decision(mode, generation, f)
	n.decided.Tell("decided "+report.KeyOf(f).String(), string(f.Decision), n.clock.Mono())
}

// Outcome is told what came of an effect on the host.
func (n *News) Outcome(ctx context.Context, o *report.Outcome) {
	n.Changed(o)
	n.lines.outcome(ctx, o)
}

// Changed writes an outcome into the audit log only: nothing was done.
func (n *News) Changed(o *report.Outcome) {
	for _, f := range o.Findings {
		n.Audit.outcome(o, f)
	}
}

// Done is told that a cycle has done what it could: a run that is the only one says it.
func (n *News) Done(ctx context.Context) {
	if !n.lines.repeats {
		n.lines.flush(ctx)
	}
}

// Stepped is told that ladders which waited went on.
func (n *News) Stepped(ctx context.Context) { n.lines.flush(ctx) }

// Cycle says in the log what is new in a report that is complete, for a watcher. It
// reports whether it said anything.
func (n *News) Cycle(ctx context.Context, r *report.Report) bool { return n.lines.cycle(ctx, r) }

// Tell sends the messages that the rules want for a report that is complete.
func (n *News) Tell(p *rules.Program, r *report.Report) {
	if n.notify {
		n.messages(p, r)
	}
}

// Close delivers the messages that still wait, for a short time.
func (n *News) Close() {
	n.Outbox.Close()
	n.Audit.Close()
}
