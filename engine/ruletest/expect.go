package ruletest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// selected is an expectation with the condition that selects its sockets, nil for all.
type selected struct {
	*rules.TestExpect
	where *rules.Program
}

// selections compiles the conditions of what a test expects, and checks the names of rules.
func selections(f *rules.TestFile, t *rules.Test, p *rules.Program) (steps [][]*selected, err error) {
	var names []string
	var wrong rules.Problems
	for _, r := range p.Rules {
		names = append(names, r.Name)
	}
	for _, step := range t.Steps {
		var all []*selected
		for _, x := range step.Expect {
			one := &selected{TestExpect: x}
			if x.Rule != "" && p.Rule(x.Rule) == nil {
				hint := rules.Suggest(x.Rule, names)
				if hint == "" {
					hint = ": there are " + strings.Join(names[:min(len(names), maxNamed)], ", ")
				}
				wrong = append(wrong, f.Problem(x.RuleAt, "no rule %q%s", x.Rule, hint))
			}
			if x.Where != "" {
				one.where, err = rules.NewSelection(rules.Selection{Name: "where", Text: x.Where, Sets: p.Sets, Mode: rules.ModeObserve, NetNS: "all"})
				if err != nil {
					wrong = append(wrong, f.Problem(x.At, "where: %v", err))
				}
			}
			all = append(all, one)
		}
		steps = append(steps, all)
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return steps, nil
}

// maxNamed is how many rules a message names at most.
const maxNamed = 10

// stepPlace says which step of a test is compared.
type stepPlace struct {
	number  int
	after   time.Duration
	changed bool
}

// maxExplained is how many failures of a step are explained: each takes one more look.
const maxExplained = 5

// compare compares what came with what a step expects.
func (p *play) compare(ctx context.Context, step *rules.TestStep, expect []*selected, at stepPlace) {
	named := map[*actor]bool{}
	everybody := append(slices.Clone(p.actors), p.nobody)
	for _, x := range expect {
		var fits, others []*actor
		total := 0
		for _, a := range everybody {
			if !p.about(x, a) {
				continue
			}
			total++
			if p.fits(x.TestExpect, a) {
				fits = append(fits, a)
			} else {
				others = append(others, a)
			}
		}
		for _, a := range fits {
			named[a] = true
		}
		switch {
		case x.Count == 0 && total == 0:
			p.fail(x.At.Line, at, "", p.wanted(x.TestExpect), "no socket that is meant", "")
		case x.Count == 0:
			for _, a := range others {
				named[a] = true
			}
			p.unfit(ctx, x.TestExpect, others, at)
		case len(fits) != x.Count:
			for _, a := range others {
				named[a] = true
			}
			var first []*actor
			if len(fits) < x.Count && len(others) > 0 {
				first = others[:1]
			}
			got, why := fmt.Sprintf("%d of %d", len(fits), total), ""
			if len(first) > 0 {
				got += "; one of the others: " + p.got(first[0])
				why = p.why(ctx, x.TestExpect, first[0])
			}
			p.fail(x.At.Line, at, x.Socket, p.wanted(x.TestExpect), got, why)
		}
	}
	p.unnamed(step, named, at)
}

// unfit reports sockets of which something else was expected: those that are alike once.
func (p *play) unfit(ctx context.Context, x *rules.TestExpect, others []*actor, at stepPlace) {
	explained := 0
	for len(others) > 0 {
		got := p.got(others[0])
		alike, rest := []*actor{}, []*actor{}
		for _, a := range others {
			if p.got(a) == got {
				alike = append(alike, a)
			} else {
				rest = append(rest, a)
			}
		}
		why := ""
		if explained++; explained <= maxExplained {
			why = p.why(ctx, x, alike[0])
		}
		if len(alike) > 1 {
			got = fmt.Sprintf("%s (%d sockets)", got, len(alike))
		}
		p.fail(x.At.Line, at, alike[0].said.Name, p.wanted(x), got, why)
		others = rest
	}
}

// unnamed reports effects on sockets of which nothing was expected.
func (p *play) unnamed(step *rules.TestStep, named map[*actor]bool, at stepPlace) {
	reported := map[string]bool{}
	for _, a := range append(slices.Clone(p.actors), p.nobody) {
		if named[a] || reported[a.said.Name] || len(p.effects(a)) == 0 {
			continue
		}
		reported[a.said.Name] = true
		p.fail(step.At.Line, at, a.said.Name, "nothing: the test does not name it", p.got(a), "")
	}
}

// about reports whether an expectation is about a socket.
func (p *play) about(x *selected, a *actor) bool {
	if x.Socket != "" {
		return a.said.Name == x.Socket
	}
	if a == p.nobody || x.where == nil {
		return a != p.nobody
	}
	if f := p.main(a, ""); f != nil {
		return f.Eval(x.where.Rules[0].When) == rules.True
	}
	return !slices.ContainsFunc(a.records(), func(r collectors.Record) bool { return x.where.Rules[0].When.Eval(&r) != rules.True })
}

// fits reports whether what came of a socket is what was expected.
func (p *play) fits(x *rules.TestExpect, a *actor) bool {
	f := p.main(a, x.Rule)
	switch {
	case x.Decision == rules.ExpectNone && x.Rule != "":
		return f == nil // another rule may have taken it
	case x.Decision == rules.ExpectNone:
		return f == nil && len(p.effects(a)) == 0
	case f == nil && x.Decision+x.Rule+x.Reason == "": // effects of an earlier decision
		return slices.EqualFunc(p.effects(a), x.Actions, isEffect)
	case f == nil, x.Decision != "" && string(f.Decision) != x.Decision, !strings.Contains(f.Reason, x.Reason):
		return false
	case x.Actions == nil:
		return true
	}
	return slices.EqualFunc(p.effects(a), x.Actions, isEffect)
}

// main is the last decision about a socket: of that rule, or else of the one that has it;
// nil if there is none.
func (p *play) main(a *actor, rule string) *report.Finding {
	of := p.decided[a.identity()]
	if rule != "" {
		return of[rule]
	}
	var best *report.Finding
	rank := func(f *report.Finding) int {
		switch f.Decision { //nolint:exhaustive // the others are of the rule that has it
		case report.DecideAct:
			return 0
		case report.DecideShadowed:
			return 3
		case report.DecideObserve, report.DecidePending, report.DecideUnless:
			return 2
		}
		return 1
	}
	for _, r := range p.program.Rules { // in their order
		if f := of[r.Name]; f != nil && (best == nil || rank(f) < rank(best)) {
			best = f
		}
	}
	return best
}

// wanted says what was expected.
func (p *play) wanted(x *rules.TestExpect) string {
	text := x.Decision
	switch {
	case text == "" && x.Actions != nil:
		text = listed(x.Actions)
	case text == "":
		text = "any decision"
	}
	if x.Rule != "" {
		text += " by " + x.Rule
	}
	if x.Reason != "" {
		text += fmt.Sprintf(" because %q", x.Reason)
	}
	if x.Actions != nil && x.Decision != "" {
		text += ": " + listed(x.Actions)
	}
	if x.Count > 0 {
		text = fmt.Sprintf("%s, of %d", text, x.Count)
	}
	if x.Where != "" {
		text += " where " + x.Where
	}
	return text
}

// got says what came of a socket.
func (p *play) got(a *actor) string {
	f, effects := p.main(a, ""), p.effects(a)
	text := rules.ExpectNone
	if f != nil {
		text = string(f.Decision) + " by " + f.Rule.Name
		if f.Reason != "" && f.Decision != report.DecideAct {
			text += " (" + f.Reason + ")"
		}
	}
	switch {
	case len(effects) > 0:
		text += ": " + listed(effects)
	case f != nil && f.Decision == report.DecideAct:
		last := f.Last()
		text += ": " + listed(nil)
		if more := strings.Trim(last.Error+" "+last.Detail, " "); last.Result != "" && more != "" {
			text += fmt.Sprintf(" (%s: %s: %s)", last.Action, last.Result, more)
		}
	}
	return text
}

func listed(effects []string) string {
	if len(effects) == 0 {
		return "no action"
	}
	return strings.Join(effects, ", ")
}

func (p *play) fail(line int, at stepPlace, socket, expected, got, why string) {
	after := ""
	if at.number > 0 || at.after > 0 {
		after = report.Short(at.after)
	}
	p.result.Failures = append(p.result.Failures, Failure{
		Line: line, Step: at.number, After: after, Socket: socket, Expected: expected, Got: got, Why: why,
	})
}
