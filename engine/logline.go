package engine

import (
	"context"
	"log/slog"

	"sockwarden/actions"
)

// logOutcome writes one line for each effect on the host.
func (e *Engine) logOutcome(ctx context.Context, l *ladder, what string, out actions.Outcome) {
	level := slog.LevelInfo
	if !out.Result.Succeeded() || out.Result == actions.FDStillHeld {
		level = slog.LevelWarn
	}
	for _, f := range l.findings {
		sealed := f.seal()
		attrs := []slog.Attr{slog.String("rule", l.rule.Name), slog.String("action", what), slog.String("result", string(out.Result))}
		attrs = append(attrs, actions.Attrs(&sealed)...)
		if out.Err != nil {
			attrs = append(attrs, slog.String("error", out.Err.Error()))
		}
		if out.Result == actions.FDStillHeld && len(f.Facts.Owners) > 0 {
			o := &f.Facts.Owners[0]
			attrs = append(attrs, slog.Int("fds", o.FDs), slog.Uint64("fd_limit", o.FDLimit))
		}
		e.log.LogAttrs(ctx, level, "acted", attrs...)
	}
}
