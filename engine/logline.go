package engine

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
)

// outcome writes one line for each effect on the host: for one on a process
// the first of its sockets stands for all.
func (n *news) outcome(ctx context.Context, l *ladder, what string, out actions.Outcome) {
	n.auditOutcome(l, what, out)
	level := slog.LevelInfo
	if !out.Result.Succeeded() || out.Result == actions.FDStillHeld {
		level = slog.LevelWarn
	}
	if n.quiet {
		level = slog.LevelDebug
	}
	if !n.log.Enabled(ctx, level) {
		return
	}
	for i, f := range l.findings {
		if l.process != nil && i > 0 {
			return
		}
		attrs := []slog.Attr{slog.String("rule", l.rule.Name), slog.String("action", what), slog.String("result", string(out.Result))}
		attrs = append(attrs, f.attrs()...)
		if l.process != nil {
			nameProcess(attrs, l.process)
			attrs = append(attrs, slog.Int("sockets", len(l.findings)))
		}
		if out.Err != nil {
			attrs = append(attrs, slog.String("error", out.Err.Error()))
		}
		if keepers := f.Last().Keepers; len(keepers) > 0 {
			o := &keepers[0]
			nameProcess(attrs, o)
			attrs = append(attrs, slog.Int("fds", o.FDs), slog.Uint64("fd_limit", o.FDLimit))
		}
		n.log.LogAttrs(ctx, level, "acted", attrs...)
	}
}

// nameProcess makes a line that names the first owner name the one that it is about.
func nameProcess(attrs []slog.Attr, o *collectors.Owner) {
	for i := range attrs {
		switch attrs[i].Key {
		case "process":
			attrs[i] = slog.String("process", o.Name)
		case "pid":
			attrs[i] = slog.Int("pid", o.PID)
		}
	}
}

// attrs describes the socket of a finding, or that there is none.
func (f *Finding) attrs() []slog.Attr {
	if f.NoSocket() {
		return []slog.Attr{slog.Int("count", 0)}
	}
	sealed := f.Seal()
	return actions.Attrs(&sealed)
}

// auditOutcome writes an outcome down for each finding of the target.
func (n *news) auditOutcome(l *ladder, what string, out actions.Outcome) {
	for _, f := range l.findings {
		n.audit.outcome(l.program.Generation, f, l.process, l.action(), what, out)
	}
}

// short writes a time without the parts that are zero: 5m, 1h30m, 12s.
func short(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
