package rules

import (
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// lint warns about rules that are valid but cannot do what they say.
func (b *builder) lint(r *rawRule, rule *Rule) {
	warn := b.warnf
	lintLadder(r, rule, warn)
	yes := rule.When.MayHold()
	if yes.States == 0 && !b.names.files.asksEmpty(rule.When) {
		warn(idNeverMatches, r.when, 0, "rule %q never matches: %s", rule.Name, rule.When.Never())
		return
	}
	if about := rule.about(); len(about) == 1 && about[0] == collectors.UDP && yes.States&collectors.Mask(collectors.Established, collectors.Close) == 0 {
		warn(idNeverMatches, r.when, 0, `rule %q never matches: a UDP socket is ESTABLISHED (connected) or CLOSE, and in no other state`, rule.Name)
	}
	if rule.Having != nil && rule.Having.OfProcess() && !slices.Contains(rule.Group, ByPID) {
		warn(idNeverHolds, r.having, 0, "rule %q never holds: fds and fd_limit are known only of one process, group: pid", rule.Name)
	}
	lintStill(r, rule, warn)
	lintRungs(r, rule, warn)
	lintEverything(r, rule, warn)
	lintDead(fmt.Sprintf("rule %q", rule.Name), r.when, rule.When, warn)
	lintAges(r, rule, warn)
	lintProbed(r, rule, warn)
	lintLimits(r, rule, warn)
	b.lintShadowed(r, rule, warn)
	if why, at := neverActs(r, rule); why != "" {
		rule.NeverActs = why
		warn(idNeverActs, at, 0, "rule %q can never act: %s", rule.Name, why)
	}
}

// warnf notes a warning about a place in a scalar, in runes.
func (b *builder) warnf(id lang.ID, n *yaml.Node, from int, format string, args ...any) {
	if b.program.warnings.full() {
		b.program.warnings.add(Problem{})
		return
	}
	line, column := b.src.locate(n, from)
	b.program.warnings.add(b.src.problem(id, line, column, fmt.Sprintf(format, args...)))
}

// closing are the states of connections that are closed in one direction, or by one end,
// while data can still move.
var closing = collectors.Mask(collectors.CloseWait, collectors.FinWait1, collectors.FinWait2, collectors.Closing, collectors.LastAck)

// warner notes a warning about a place in a scalar, in runes.
type warner func(id lang.ID, n *yaml.Node, from int, format string, args ...any)

// lintStill warns about rules that end connections which have been half closed for a
// while, whether or not they still transfer. A rule that also takes ESTABLISHED makes no
// difference between the two.
func lintStill(r *rawRule, rule *Rule, warn warner) {
	states := rule.When.MayHold().States
	if !slices.Contains(rule.about(), collectors.TCP) {
		return // for MPTCP, nobody knows when data moved
	}
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
	warn(idStillTransfers, r.when, from, "rule %q also takes half-closed connections that still transfer: %s", rule.Name, add)
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

// lintRungs passes on what actions say about their parameters.
func lintRungs(r *rawRule, rule *Rule, warn warner) {
	of := collectors.Query{Protocols: rule.about(), States: rule.When.MayHold().States}
	silent := time.Duration(rule.When.AtLeast(lang.IdleFields()) * float64(time.Second))
	for i := range r.then {
		rung := &r.then[i]
		if rung.spec.Warn == nil {
			continue
		}
		if why := rung.spec.Warn(rung.params, &of, silent); why != "" {
			warn(idActionAdvice, rung.at, 0, "rule %q, %s: %s", rule.Name, rung.action, why)
		}
	}
}
