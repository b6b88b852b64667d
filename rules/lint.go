package rules

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
)

// closing are the states of connections that are closed in one direction, or by
// one end, and in which data can still move.
var closing = collectors.Mask(collectors.CloseWait, collectors.FinWait1, collectors.FinWait2, collectors.Closing, collectors.LastAck)

// warner notes a warning about a place in a scalar, in runes.
type warner func(n *yaml.Node, from int, format string, args ...any)

// lintStill warns about rules that end connections which are half closed for a
// while, whether they still transfer or not. A rule that also takes ESTABLISHED
// makes no difference between the two.
func lintStill(r *rawRule, rule *Rule, warn warner) {
	states := rule.When.MayHold().States
	if rule.Mode != ModeEnforce || states&closing == 0 || states.Has(collectors.Established) || !rule.ends(r) {
		return
	}
	if !rule.When.Reads.Meets(collectors.AgeFields()) && rule.For == 0 {
		return
	}
	if rule.When.ReadsIdle() || rule.Unless != nil && rule.Unless.ReadsIdle() {
		return
	}
	add, from := `add a condition about idle, the time without data`, 0
	for _, a := range rule.When.Ages {
		if a.Seconds <= 0 {
			continue
		}
		add, from = fmt.Sprintf(`add "and idle > %v"`, a.Seconds), a.From
	}
	warn(r.when, from, "rule %q also takes half-closed connections that still transfer: %s", rule.Name, add)
}

// ends reports whether the rule ends connections or processes, by any rung.
func (rule *Rule) ends(r *rawRule) bool {
	for i := range r.then {
		if !r.then[i].spec.Spares {
			return true
		}
	}
	return false
}

// lintRungs passes on what actions say of their parameters.
func lintRungs(r *rawRule, rule *Rule, warn warner) {
	of := collectors.Query{Protocols: rule.about(), States: rule.When.MayHold().States}
	for i := range r.then {
		rung := &r.then[i]
		if rung.spec.Warn == nil {
			continue
		}
		if why := rung.spec.Warn(rung.params, &of); why != "" {
			warn(rung.at, 0, "rule %q, %s: %s", rule.Name, rung.action, why)
		}
	}
}
