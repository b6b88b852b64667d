package act

import (
	"sockwarden/actions"
	"sockwarden/engine/look"
)

// silent is a ChangedError if a silence now spares what a rule has found.
func (k *lastLook) silent(rule string, c *look.Candidate) error {
	if why := k.silences.At(k.world.Now()).Of(c, rule); why != "" {
		return actions.Changedf("%s spares it now", why)
	}
	return nil
}

// silencesOf checks silences immediately before an effect of the ladder, as pauseOf does the
// switch: somebody may have added one since the last look, and what changes nothing on the
// host has none. If one is about anything that the effect is for, all of it waits for the
// next cycle.
func (h *Hand) silencesOf(l *ladder) error {
	for _, f := range l.findings {
		if err := h.Last.silent(f.Rule.Name, f.latest()); err != nil {
			return err
		}
	}
	return nil
}
