package main

import (
	"errors"
	"time"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine"
	"sockwarden/engine/pause"
	"sockwarden/engine/silence"
	"sockwarden/rules"
)

// printReport shows the result of a cycle; with --quiet, only if there is something of
// interest or an error. flags are those of a live run that would do the same. What an
// earlier run has reported and still persists is no news.
func (a *app) printReport(r *engine.Report, p *rules.Program, flags string, rows view.Rows, interest int) error {
	if a.flags.quiet && interest == 0 && len(r.Errors) == len(r.Known) && r.HostError == nil {
		return nil
	}
	setting := view.Setting{Program: p, By: invoker(), Pause: pause.Read(time.Now(), pause.Files()...), Silences: silence.NewStore(a.silences()...).At(time.Now()), Flags: flags}
	if a.replay != nil {
		setting.Pause, setting.Silences, setting.Flags = nil, nil, ""
	}
	return quietPipe(view.Report(a.out(), r, &setting, rows))
}

// logErrors logs a report's warnings: the log may be all that is kept.
func (a *app) logErrors(r *engine.Report) {
	for _, err := range r.Errors {
		if a.flags.quiet && r.IsKnown(err) {
			continue // reported already, and it persists
		}
		if _, away := errors.AsType[*engine.NamespaceError](err); away && a.logFile == nil {
			continue // the final error says it here, too
		}
		if t, ok := errors.AsType[*engine.TrippedError](err); ok {
			t.Log(a.log, 0)
			continue
		}
		a.log.Warn("run", "error", view.ErrorText(err))
	}
}

// reportErrors logs why a listing is incomplete. The final error names the namespaces
// that could not be looked into, unless the user is asked before that.
func (a *app) reportErrors(r *engine.Report, asks bool) {
	for _, err := range r.Errors {
		if _, away := errors.AsType[*engine.NamespaceError](err); away && !asks && a.logFile == nil {
			continue
		}
		if spared := (*engine.SparedError)(nil); errors.As(err, &spared) {
			continue // kill shows what it spares
		}
		a.log.Warn("incomplete", "error", view.ErrorText(err))
	}
}
