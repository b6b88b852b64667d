package act

import (
	"sockwarden/actions"
	"sockwarden/engine/look"
	"sockwarden/engine/silence"
)

// quiet returns the silences in force now.
func (k *lastLook) quiet() silence.List { return k.silences.At(k.world.Now()) }

// silent is a ChangedError if a silence spares what a rule has found.
func silent(in silence.List, rule string, c *look.Candidate) error {
	if why := in.Of(c, rule); why != "" {
		return actions.Changedf("%s spares it now", why)
	}
	return nil
}

// silencesOf checks silences immediately before an effect of the ladder, as pauseOf does the
// switch: somebody may have added one since the last look, and what changes nothing on the
// host has none. If one is about anything that the effect is for, all of it waits for the
// next cycle.
func (h *Hand) silencesOf(l *ladder) error {
	in := h.Last.quiet()
	for _, f := range l.findings {
		if err := silent(in, f.Rule.Name, f.latest()); err != nil {
			return err
		}
	}
	return nil
}
