package judge

import (
	"reflect"
	"slices"

	"sockwarden/actions"
	"sockwarden/engine/catalog"
	"sockwarden/engine/look"
	"sockwarden/rules"
)

// Harmless reports whether a rule changes nothing on the host.
func Harmless(r *rules.Rule) bool {
	rung, _ := effective(r)
	return rung == nil
}

// effective returns the first rung that changes the host, nil if none does. Guards and limits
// of the rule go by it.
func effective(r *rules.Rule) (*rules.Rung, *actions.Bound) {
	for i := range r.Then {
		if b := catalog.Bound(&r.Then[i]); !b.Harmless {
			return &r.Then[i], b
		}
	}
	return nil, &actions.Bound{Plugin: &actions.Plugin{}}
}

// needsTwo reports whether a rule leads to a wide action by what it knows of
// time: by its first rung that changes anything, or, if later is set, by any.
func needsTwo(rule *rules.Rule, later bool) bool {
	if !rule.ReadsTime() {
		return false
	}
	if !later {
		rung, plugin := effective(rule)
		return rung != nil && plugin.Wide()
	}
	return slices.ContainsFunc(rule.Then, func(r rules.Rung) bool {
		return catalog.Bound(&r).Wide()
	})
}

// forListeners reports whether some rung of a rule is for the processes of listeners.
func forListeners(rule *rules.Rule) bool {
	return slices.ContainsFunc(rule.Then, func(r rules.Rung) bool {
		return catalog.Bound(&r).Allowed.Has(actions.AllowListener)
	})
}

// wantedOf is a look for a program. It remembers sockets for later rungs too. All members of
// a group decide about it together.
func (k *council) wantedOf(program *rules.Program) look.Wanted {
	n := len(program.Rules)
	w := look.Wanted{Program: program, Plan: program, Remembers: make([]bool, n), NeedsTwo: make([]bool, n), Weighs: make([]bool, n)}
	for i, rule := range program.Rules {
		enforced := rule.Mode == rules.ModeEnforce
		// Since when a socket is there says which are kept: what was seen only once is uncertain.
		w.Remembers[i] = needsTwo(rule, true) || rule.Keep > 0
		w.NeedsTwo[i] = enforced && needsTwo(rule, rule.Grouped()) || rule.Keep > 0
		w.Weighs[i] = enforced && !k.noBreaker && !Harmless(rule)
	}
	return w
}

// sameEffect reports whether a rule of a younger generation does what another does on
// that rung: on the first, what first changes something counts; further up, the whole
// way to it.
func sameEffect(r *rules.Rule, rung int, theirs *rules.Rule) bool {
	if r.Fingerprint == theirs.Fingerprint {
		return true
	}
	same := func(a, b *rules.Rung) bool {
		return a.Action == b.Action && reflect.DeepEqual(a.Params, b.Params)
	}
	if a, _ := effective(r); a == nil || a == &r.Then[rung] || rung == 0 {
		if b, _ := effective(theirs); a != nil && b != nil {
			return same(a, b)
		}
		return a == nil && len(r.Then) > 0 && len(theirs.Then) > 0 && same(&r.Then[0], &theirs.Then[0])
	}
	if len(theirs.Then) <= rung {
		return false
	}
	for i := range r.Then[:rung+1] {
		a, b := &r.Then[i], &theirs.Then[i]
		if !same(a, b) || (a.If == nil) != (b.If == nil) || a.If != nil && a.If.Text != b.If.Text {
			return false
		}
	}
	return true
}
