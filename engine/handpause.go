package engine

// pauseOf looks at the switch immediately before an effect of the ladder: nil for
// none that is in force for it.
func (h *hand) pauseOf(l *ladder) *Pause {
	if l.bound().Harmless {
		return nil
	}
	return ReadPause(h.world.Now(), h.pauseFiles...)
}

// endPaused ends a ladder that a pause has stopped.
func (h *hand) endPaused(p *Pause, l *ladder) {
	for _, f := range l.findings {
		f.Decision, f.Reason = DecidePaused, "paused "+p.String()
		h.news.Decision(ModeLive, l.program.Generation, f.Finding)
	}
	l.done = true
}
