package news

import (
	"context"
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
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// AuditLog writes each decision and outcome as one line of JSON. It never fails a cycle:
// it counts what it could not write, says so in the log and in the report, and notes it
// in the file as soon as it can write again.
type AuditLog struct {
	W     io.Writer // nil for none
	Log   *slog.Logger
	by    string
	Clock world.Clock
	Lost  int
	torn  bool // the file ends in a partial line
	// missed is why a line was lost since the last report of that, nil if none was.
	missed error
}

// AuditLine is a line of the audit log.
type AuditLine struct {
	Time       string          `json:"time"`  // RFC 3339 with fractions of a second
	Event      string          `json:"event"` // decision, outcome or lost
	Mode       string          `json:"mode,omitempty"`
	By         string          `json:"by,omitempty"`
	Generation string          `json:"generation,omitempty"`
	Rule       string          `json:"rule,omitempty"`
	Decision   report.Decision `json:"decision,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	Action     string          `json:"action,omitempty"` // name of the plugin
	Effect     string          `json:"effect,omitempty"` // what it did, if that says more
	Result     actions.Result  `json:"result,omitempty"`
	Errno      string          `json:"errno,omitempty"`
	Error      string          `json:"error,omitempty"`
	Detail     string          `json:"detail,omitempty"`
	Socket     map[string]any  `json:"socket,omitempty"` // as it was when decided on
	Group      map[string]any  `json:"group,omitempty"`
	Process    string          `json:"process,omitempty"` // the process acted on, NAME[PID]
	Lost       int             `json:"lost,omitempty"`
}

func (a *AuditLog) Write(l AuditLine) {
	if a.W == nil {
		return
	}
	if a.Lost > 0 {
		if !a.put(AuditLine{Event: "lost", Lost: a.Lost}) {
			a.Lost++
			return
		}
		a.Log.Warn("audit log is written again", "lost", a.Lost)
		a.Lost = 0
	}
	if !a.put(l) {
		a.Lost++
	}
}

// put writes one line with one write(2), so that no other writer cuts it in two. After a
// partial line it starts a new one.
func (a *AuditLog) put(l AuditLine) bool {
	l.Time, l.By = a.Clock.Now().Format(time.RFC3339Nano), a.by
	b, err := json.Marshal(l)
	if err == nil {
		b = append(b, '\n')
		before := 0
		if a.torn {
			b, before = slices.Insert(b, 0, '\n'), 1
		}
		var n int
		n, err = a.W.Write(b)
		a.torn = err != nil && n != before
	}
	if err != nil {
		a.missed = err
	}
	if err != nil && a.Lost == 0 {
		a.Log.Error("audit log cannot be written, lines are lost", "error", err)
	}
	return err == nil
}

// Report notes in a report that the log is incomplete.
func (a *AuditLog) Report(r *report.Report) {
	if a.missed == nil {
		return
	}
	r.AuditError = fmt.Errorf("audit log: lines are lost: %w", a.missed)
	if !slices.ContainsFunc(r.Errors, func(e error) bool { return e.Error() == r.AuditError.Error() }) {
		r.Errors = append(r.Errors, r.AuditError)
	}
	a.missed = nil
}

// Close says at the end what could never be written.
func (a *AuditLog) Close() {
	if a.Lost > 0 {
		a.Log.Error("audit log ends without lines that were lost", "lost", a.Lost)
	}
}

// Listens reports whether there is a log.
func (a *AuditLog) Listens() bool { return a.W != nil }

// Decision records the decision about a finding.
func (a *AuditLog) Decision(mode, generation string, f *report.Finding) {
	if a.W == nil {
		return
	}
	l := AuditLine{Event: "decision", Mode: mode, Generation: generation, Rule: f.Rule.Name, Decision: f.Decision, Reason: f.Reason, Socket: fields(f)}
	if f.Group != nil {
		l.Group = f.Group.Describe()
	}
	a.Write(l)
}

// Outcome records the outcome of an action, for each finding of its target.
func (a *AuditLog) Outcome(_ context.Context, o *report.Outcome) {
	for _, f := range o.Findings {
		a.outcome(o, f)
	}
}

// Cycle has nothing to add.
func (a *AuditLog) Cycle(context.Context, *rules.Program, *report.Report) {}

func (a *AuditLog) outcome(o *report.Outcome, f *report.Finding) {
	if a.W == nil {
		return
	}
	l := AuditLine{Event: "outcome", Mode: "live", Generation: o.Generation, Rule: f.Rule.Name, Action: o.Action, Result: o.Result, Detail: o.Detail, Socket: fields(f)}
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
	a.Write(l)
}

// fields describes the socket of a finding, nil if there is none.
func fields(f *report.Finding) map[string]any {
	if f.NoSocket() {
		return nil
	}
	r := f.Record()
	return collectors.Map(&r)
}
