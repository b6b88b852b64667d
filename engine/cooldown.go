package engine

import (
	"fmt"
	"time"
)

// promise is a cool-down that was noted for something that has not begun yet.
type promise struct {
	was     cooldown // before
	ladders int      // that may still begin
}

// startCooldowns notes and keeps, before anything is done, that it will be: a
// crash in between must not lead to doing it twice.
func (e *Engine) startCooldowns(ladders []*ladder, r *Report) {
	now, any := e.mono(), false
	for _, l := range ladders {
		if e.harmlessNow(l) {
			continue
		}
		for key, length := range e.coolKeysOf(l) {
			e.memory.promise(key, length, now)
			l.promised, any = true, true
		}
		if !l.counted && l.rule.Limits.PerMinute > 0 {
			l.counted, any = true, true
			e.memory.acted(l.rule.Name, now)
		}
	}
	if !any {
		return
	}
	if err := e.save(); err != nil {
		e.hostError = fmt.Errorf("cool-downs cannot be kept, so nothing is done: %w", err)
		r.Errors = append(r.Errors, e.hostError)
	}
}

// harmlessNow reports whether the current rung of a ladder changes nothing, so that
// nothing has to cool down after it.
func (e *Engine) harmlessNow(l *ladder) bool {
	plugin, err := e.opts.Actions.Get(l.action())
	return err != nil || plugin.Harmless
}

// coolKeysOf names what cools down after the current rung of a ladder, and for how
// long.
func (e *Engine) coolKeysOf(l *ladder) map[string]time.Duration {
	plugin, _ := e.opts.Actions.Get(l.action())
	keys := map[string]time.Duration{}
	for _, f := range l.findings {
		for key, length := range coolKeys(f, &plugin) {
			keys[key] = max(keys[key], length)
		}
	}
	return keys
}

// untouched takes back the cool-downs of a ladder that did nothing.
func (e *Engine) untouched(l *ladder) {
	if !l.promised {
		return
	}
	l.promised = false
	for key := range e.coolKeysOf(l) {
		e.memory.takeBack(key)
	}
	e.saved = 0 // to be written down at the next occasion
}

// keepTakenBack writes down that cool-downs were taken back, for the next run.
func (e *Engine) keepTakenBack() error {
	if !e.opts.Live || e.saved != 0 {
		return nil
	}
	return e.save()
}

// begin notes that something is done: what cools down after it does so from now on.
func (e *Engine) begin(l *ladder) {
	if e.harmlessNow(l) {
		return
	}
	l.promised, l.began = false, true
	now := e.mono()
	for key, length := range e.coolKeysOf(l) {
		e.memory.cool(key, length, now)
	}
}

// giveBack returns what a ladder of which nothing was left has used up of limits.
func (e *Engine) giveBack(l *ladder) {
	e.untouched(l)
	if l.began || !e.opts.Live {
		return
	}
	if l.counted {
		l.counted = false
		e.memory.notActed(l.rule.Name)
	}
	// What counts for the breaker and shares stays: it was wanted all the same.
	if e.spent != nil && e.spent.rules[l.rule.Fingerprint] > 0 {
		e.spent.rules[l.rule.Fingerprint]--
	}
}
