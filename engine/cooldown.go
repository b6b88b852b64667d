package engine

import (
	"fmt"
)

// startCooldowns notes and keeps, before anything is done, that it will be: a
// crash in between must not lead to doing it twice.
func (e *Engine) startCooldowns(ladders []*ladder, r *Report) {
	now, any := monotonic(), false
	for _, l := range ladders {
		plugin, err := e.opts.Actions.Get(l.rule.Then[l.rung].Action)
		if err != nil || plugin.Harmless {
			continue
		}
		for _, f := range l.findings {
			for k, length := range coolKeys(f, &plugin) {
				if _, noted := e.before[k]; !noted && e.before != nil {
					e.before[k] = e.memory.cooldowns[k]
				}
				e.memory.cool(k, length, now)
				any = true
			}
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

// untouched takes back the cool-downs of a ladder that did nothing.
func (e *Engine) untouched(l *ladder) {
	plugin, err := e.opts.Actions.Get(l.action())
	if err != nil || plugin.Harmless || l.rung > 0 || !e.opts.Live {
		return
	}
	for _, f := range l.findings {
		for k := range coolKeys(f, &plugin) {
			if !e.begun[k] { // by another ladder, for the same peer or process
				e.memory.restore(k, e.before[k])
			}
		}
	}
	e.saved = 0 // to be written down at the next occasion
}

// begin notes that the cool-downs of a ladder are for something that is done.
func (e *Engine) begin(l *ladder) {
	plugin, err := e.opts.Actions.Get(l.action())
	if err != nil || plugin.Harmless {
		return
	}
	now := monotonic()
	for _, f := range l.findings {
		for k, length := range coolKeys(f, &plugin) {
			if c, noted := e.memory.cooldowns[k]; !noted || c == e.before[k] { // another ladder took it back
				e.memory.cool(k, length, now)
			}
			e.begun[k] = true
		}
	}
}

// giveBack returns what a ladder of which nothing was left has used up of limits.
func (e *Engine) giveBack(l *ladder) {
	if l.rung > 0 || !e.opts.Live {
		return
	}
	e.untouched(l)
	if l.counted {
		l.counted = false
		e.memory.notActed(l.rule.Name)
	}
	// What counts for the breaker and shares stays: it was wanted all the same.
	if e.spent != nil && e.spent.rules[l.rule.Fingerprint] > 0 {
		e.spent.rules[l.rule.Fingerprint]--
	}
}
