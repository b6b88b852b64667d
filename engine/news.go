package engine

import (
	"log/slog"

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

func newNews(w *world.World, o Options) *news {
	return &news{
		log: o.Logger, host: w.Host.Name, quiet: o.QuietEffects, notify: o.Notify, outbox: newOutbox(o.Notifiers, w, o.Logger),
		audit: auditLog{w: o.AuditLog, log: o.Logger, by: o.By, clock: w},
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
