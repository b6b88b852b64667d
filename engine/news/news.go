package news

import (
	"io"
	"log/slog"

	"sockwarden/actions"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// News tells what is new: in the log, the audit log, and messages.
type News struct {
	log     *slog.Logger
	host    string
	quiet   bool // no line for each effect
	notify  bool
	Audit   AuditLog
	audited map[report.Key]report.Decision // decisions that are in the audit log
	Outbox  *Outbox
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
}

// New makes the news of an engine.
func New(w *world.World, o Options) *News {
	return &News{
		log: o.Log, host: w.Host.Name, quiet: o.Quiet, notify: o.Notify, Outbox: NewOutbox(o.Notifiers, w, o.Log),
		Audit: AuditLog{W: o.AuditLog, Log: o.Log, by: o.By, Clock: w},
	}
}

// Tell sends the messages that the rules want for a report that is complete.
func (n *News) Tell(p *rules.Program, r *report.Report) {
	if n.notify {
		n.Outbox.tell(n.host, p, r)
	}
}

// Close delivers the messages that still wait, for a short time.
func (n *News) Close() {
	n.Outbox.Close()
	n.Audit.Close()
}
