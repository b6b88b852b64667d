package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/world"
)

// auditLog writes one JSON object on a line for each decision and outcome. It
// never fails a cycle: what could not be written is counted, said in the log and
// the report, and noted in the file as soon as it can be written again.
type auditLog struct {
	w     io.Writer // nil for none
	log   *slog.Logger
	by    string
	clock world.Clock
	lost  int
	torn  bool // the file ends in a part of a line
	// missed is why a line was lost since that was last reported, nil if none was.
	missed error
}

// auditLine is a line of the audit log.
type auditLine struct {
	Time       string         `json:"time"`  // RFC 3339 with fractions of a second
	Event      string         `json:"event"` // decision, outcome or lost
	Mode       string         `json:"mode,omitempty"`
	By         string         `json:"by,omitempty"`
	Generation string         `json:"generation,omitempty"`
	Rule       string         `json:"rule,omitempty"`
	Decision   Decision       `json:"decision,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Action     string         `json:"action,omitempty"` // name of the plugin
	Effect     string         `json:"effect,omitempty"` // what it did, if that says more
	Result     actions.Result `json:"result,omitempty"`
	Errno      string         `json:"errno,omitempty"`
	Error      string         `json:"error,omitempty"`
	Detail     string         `json:"detail,omitempty"`
	Socket     map[string]any `json:"socket,omitempty"` // as it was decided on
	Group      map[string]any `json:"group,omitempty"`
	Process    string         `json:"process,omitempty"` // that was acted on, NAME[PID]
	Lost       int            `json:"lost,omitempty"`
}

func (a *auditLog) write(l auditLine) {
	if a.w == nil {
		return
	}
	if a.lost > 0 {
		if !a.put(auditLine{Event: "lost", Lost: a.lost}) {
			a.lost++
			return
		}
		a.log.Warn("audit log is written again", "lost", a.lost)
		a.lost = 0
	}
	if !a.put(l) {
		a.lost++
	}
}

// put writes one line with one write(2), so that none is cut in two by another.
// Behind a part of one that did not fit it begins on a line of its own.
func (a *auditLog) put(l auditLine) bool {
	l.Time, l.By = a.clock.Now().Format(time.RFC3339Nano), a.by
	b, err := json.Marshal(l)
	if err == nil {
		b = append(b, '\n')
		before := 0
		if a.torn {
			b, before = slices.Insert(b, 0, '\n'), 1
		}
		var n int
		n, err = a.w.Write(b)
		a.torn = err != nil && n != before
	}
	if err != nil {
		a.missed = err
	}
	if err != nil && a.lost == 0 {
		a.log.Error("audit log cannot be written, lines are lost", "error", err)
	}
	return err == nil
}

// report notes in a report that it is not all in the log.
func (a *auditLog) report(r *Report) {
	if a.missed == nil {
		return
	}
	r.AuditError = fmt.Errorf("audit log: lines are lost: %w", a.missed)
	if !slices.ContainsFunc(r.Errors, func(e error) bool { return e.Error() == r.AuditError.Error() }) {
		r.Errors = append(r.Errors, r.AuditError)
	}
	a.missed = nil
}

// close says at the end what could never be written.
func (a *auditLog) close() {
	if a.lost > 0 {
		a.log.Error("audit log ends without lines that were lost", "lost", a.lost)
	}
}

// decision writes down what was decided about a finding.
func (a *auditLog) decision(mode, generation string, f *Finding) {
	if a.w == nil {
		return
	}
	l := auditLine{Event: "decision", Mode: mode, Generation: generation, Rule: f.Rule.Name, Decision: f.Decision, Reason: f.Reason, Socket: fields(f.Candidate)}
	if f.Group != nil {
		l.Group = f.Group.Describe()
	}
	a.write(l)
}

// outcome writes down what an action came to for one finding of its target.
func (a *auditLog) outcome(o *Outcome, f *Finding) {
	if a.w == nil {
		return
	}
	l := auditLine{Event: "outcome", Mode: "live", Generation: o.Generation, Rule: f.Rule.Name, Action: o.Action, Result: o.Result, Detail: o.Detail, Socket: fields(f.Candidate)}
	if o.Effect != o.Action {
		l.Effect = o.Effect
	}
	if o.Process != nil {
		l.Process = o.Process.String()
	}
	if o.Err != nil {
		l.Error = o.Err.Error()
		if errno, ok := errors.AsType[unix.Errno](o.Err); ok {
			l.Errno = unix.ErrnoName(errno)
		}
	}
	a.write(l)
}

// fields are those of the socket, none if there is no socket.
func fields(c *look.Candidate) map[string]any {
	if c.NoSocket() {
		return nil
	}
	r := c.Record()
	return collectors.Map(&r)
}

// decisions writes down the decisions that are new or changed since the
// last cycle, so that a watcher's log does not grow with every cycle.
func (n *news) decisions(r *Report, mode string) {
	if n.audit.w == nil {
		return
	}
	now := make(map[findingKey]Decision, len(r.Findings))
	for _, f := range r.Findings {
		key := keyOf(f)
		now[key] = f.Decision
		if n.audited[key] != f.Decision {
			n.audit.decision(mode, r.Generation, f)
		}
	}
	n.audited = now
}

// Decision writes down a decision that came after the others.
func (n *news) Decision(mode, generation string, f *Finding) {
	n.audit.decision(mode, generation, f)
	if n.audited != nil {
		n.audited[keyOf(f)] = f.Decision
	}
}
