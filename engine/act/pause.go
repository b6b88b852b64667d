package act

import (
	"sockwarden/engine/pause"
	"sockwarden/engine/report"
)

// pauseOf checks the switch immediately before an effect of the ladder. It returns the pause
// that applies to it, nil for none.
func (h *Hand) pauseOf(l *ladder) *pause.Pause {
	if l.bound().Harmless {
		return nil
	}
	return pause.Read(h.world.Now(), h.pauseFiles...)
}

// endPaused ends a ladder that a pause has stopped.
func (h *Hand) endPaused(p *pause.Pause, l *ladder) {
	for _, f := range l.findings {
		f.Decision, f.Reason = report.DecidePaused, "paused "+p.String()
		h.news.Decision(report.ModeLive, l.program.Generation, f.Finding)
	}
	l.done = true
}
