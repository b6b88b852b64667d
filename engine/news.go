package engine

import (
	"io"
	"log/slog"

	"sockwarden/actions"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// news tells what is new: in the log, the audit log, and messages.
type news struct {
	log     *slog.Logger
	host    string
	quiet   bool // no line for each effect
	notify  bool
	audit   auditLog
	audited map[findingKey]Decision // decisions that are in the audit log
	outbox  *outbox
}

// NewsOptions say what is told, and where.
type NewsOptions struct {
	Log      *slog.Logger
	Quiet    bool // no line for each effect, but for debugging
	AuditLog io.Writer
	By       string
	// Notifiers are the plugins that rules can configure; with Notify messages are sent.
	Notifiers []actions.NotifierPlugin
	Notify    bool
}

func newNews(w *world.World, o NewsOptions) *news {
	return &news{
		log: o.Log, host: w.Host.Name, quiet: o.Quiet, notify: o.Notify, outbox: newOutbox(o.Notifiers, w, o.Log),
		audit: auditLog{w: o.AuditLog, log: o.Log, by: o.By, clock: w},
	}
}

// tell sends the messages that the rules want for a report that is complete.
func (n *news) tell(p *rules.Program, r *Report) {
	if n.notify {
		n.outbox.tell(n.host, p, r)
	}
}

func (n *news) close() {
	n.outbox.close()
	n.audit.close()
}
