package act

import (
	"fmt"
	"time"

	"sockwarden/engine/judge"
)

// start records, before anything happens, that it will: a crash in between must not lead to
// doing it twice.
func (g *cooling) start(ladders []*ladder) error {
	now, any := g.clock.Mono(), false
	for _, l := range ladders {
		if harmlessNow(l) {
			continue
		}
		for key, length := range coolKeysOf(l) {
			g.memory.Promise(key, length, now)
			l.promised, any = true, true
		}
		if !l.counted && l.rule.Limits.PerMinute > 0 {
			l.counted, any = true, true
			g.memory.Acted(l.rule.Name, now)
		}
	}
	if !any {
		return nil
	}
	if err := g.store.Save(); err != nil {
		return fmt.Errorf("cool-downs cannot be kept, so nothing is done: %w", err)
	}
	return nil
}

// harmlessNow reports whether the current rung of a ladder changes nothing and so needs no
// cool-down.
func harmlessNow(l *ladder) bool { return l.bound().Harmless }

// coolKeysOf returns what must cool down after the current rung of a ladder, and for how
// long.
func coolKeysOf(l *ladder) map[string]time.Duration {
	keys := map[string]time.Duration{}
	for _, f := range l.findings {
		for key, length := range judge.CoolKeys(f.Finding, l.bound()) {
			keys[key] = max(keys[key], length)
		}
	}
	return keys
}

// untouched takes back the cool-downs of a ladder that did nothing.
func (g *cooling) untouched(l *ladder) {
	if !l.promised {
		return
	}
	l.promised = false
	for key := range coolKeysOf(l) {
		g.memory.TakeBack(key)
	}
	g.memory.Urgent = true // the next chance to save must not pass
}

// keepTakenBack saves, for the next run, that cool-downs were taken back.
func (g *cooling) keepTakenBack() error {
	if !g.memory.Urgent {
		return nil
	}
	return g.store.Save()
}

// begin notes that a ladder acts: its cool-downs count from now on.
func (g *cooling) begin(l *ladder) {
	now := g.clock.Mono()
	if harmlessNow(l) {
		g.say(l, now)
		return
	}
	l.promised, l.began = false, true
	for key, length := range coolKeysOf(l) {
		g.memory.Keep(key, length, now)
	}
}

// say notes that a ladder whose action changes nothing has run for its findings: it runs
// once for as long as they stand, and counts for limits. Rules that change something have
// cool-downs instead.
func (g *cooling) say(l *ladder, now float64) {
	if !judge.Harmless(l.rule) {
		return
	}
	for _, f := range l.findings {
		g.memory.Tell(judge.SaidKey(f.Finding), string(f.Decision), now)
	}
	for key, length := range coolKeysOf(l) {
		g.memory.Keep(key, length, now)
	}
	if !l.counted && l.rule.Limits.PerMinute > 0 {
		l.counted = true
		g.memory.Acted(l.rule.Name, now)
	}
	g.memory.Urgent = true // save it at the end
}

// giveBack returns to the limits what a ladder has used without acting.
func (g *cooling) giveBack(l *ladder) {
	g.untouched(l)
	if l.began {
		return
	}
	if l.counted {
		l.counted = false
		g.memory.NotActed(l.rule.Name)
	}
	// The breaker and shares still count it: the rule did want it.
	g.judge.GiveBack(l.rule)
}
