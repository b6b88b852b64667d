package news

import (
	"context"
	"log/slog"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/report"
)

// Outcome writes one line for each effect on the host: for one on a process
// the first of its sockets stands for all.
func (n *News) Outcome(ctx context.Context, o *report.Outcome) {
	n.Changed(o)
	level := slog.LevelInfo
	if !o.Result.Succeeded() || o.Result == actions.FDStillHeld {
		level = slog.LevelWarn
	}
	if n.quiet {
		level = slog.LevelDebug
	}
	if !n.log.Enabled(ctx, level) {
		return
	}
	for i, f := range o.Findings {
		if o.Process != nil && i > 0 {
			return
		}
		attrs := []slog.Attr{slog.String("rule", o.Rule), slog.String("action", o.Effect), slog.String("result", string(o.Result))}
		attrs = append(attrs, f.Attrs()...)
		if o.Process != nil {
			nameProcess(attrs, o.Process)
			attrs = append(attrs, slog.Int("sockets", len(o.Findings)))
		}
		if o.Err != nil {
			attrs = append(attrs, slog.String("error", o.Err.Error()))
		}
		if keepers := f.Last().Keepers; len(keepers) > 0 {
			keeper := &keepers[0]
			nameProcess(attrs, keeper)
			attrs = append(attrs, slog.Int("fds", keeper.FDs), slog.Uint64("fd_limit", keeper.FDLimit))
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

// Changed writes an outcome into the audit log only: nothing was done.
func (n *News) Changed(o *report.Outcome) {
	for _, f := range o.Findings {
		n.Audit.outcome(o, f)
	}
}
