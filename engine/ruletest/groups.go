package ruletest

import (
	"context"
	"fmt"
	"strings"

	"sockwarden/engine/explain"
	"sockwarden/engine/report"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// groups notes what the rules said of groups that they did not take: no finding has them.
func (c *Coverage) groups(ctx context.Context, p *play) error {
	var grouped []*rules.Rule
	for _, r := range p.program.Rules {
		if r.Having != nil && c.byPlace[coveragePlace{r.File, r.Name}] != nil {
			grouped = append(grouped, r)
		}
	}
	if len(grouped) == 0 {
		return nil
	}
	all, err := rules.NewSelection(rules.Selection{Name: "all", Text: "true", Mode: rules.ModeObserve, NetNS: strings.Join(p.program.NetNS, ",")})
	if err != nil {
		return fmt.Errorf("coverage of groups: %w", err)
	}
	found, err := p.Explain(ctx, p.program, explain.Question{Selection: all, Rules: grouped}, 0)
	if err != nil {
		return fmt.Errorf("coverage of groups: %w", err)
	}
	seen := map[*report.Group]bool{}
	for _, one := range found.All() {
		if one.Verdict.Decision != explain.None || one.Verdict.Decides == nil {
			continue
		}
		d := one.Verdict.Details()
		if d.Group == nil || d.Having == nil || seen[d.Group] {
			continue
		}
		seen[d.Group] = true
		c.byPlace[coveragePlace{one.Verdict.Rule.File, one.Verdict.Rule.Name}].having(d.Having)
	}
	return nil
}

// having notes the values of a condition about a group.
func (c *RuleCoverage) having(p *lang.Part) {
	at := 0
	for c.Parts[at].Key != "having" {
		at++
	}
	flat(p, func(part *lang.Part) {
		c.Parts[at].True, c.Parts[at].False = c.Parts[at].True || part.Value == rules.True, c.Parts[at].False || part.Value == rules.False
		at++
	})
}
