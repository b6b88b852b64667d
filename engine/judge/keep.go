package judge

import (
	"cmp"
	"fmt"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// member tells a socket from others of a namespace, over looks.
type member struct{ netns, cookie uint64 }

func memberOf(s *collectors.Socket) member { return member{s.NetNS, s.Cookie} }

// excess finds out which members are beyond what the rule keeps. What something spares
// stays anyway, and so is among those that are kept. The others stay in their order.
func (j *Judge) excess(c *Cycle, rule *rules.Rule, g *Group) {
	places := rule.Keep - g.exempt
	g.Keep, g.beyond = rule.Keep, map[member]bool{}
	if len(g.members) <= places {
		return
	}
	var order []*look.Candidate
	for _, m := range g.members {
		if j.stays(c, rule, m) {
			places--
		} else {
			order = append(order, m)
		}
	}
	slices.SortFunc(order, func(a, b *look.Candidate) int {
		older := cmp.Or(cmp.Compare(a.Entered(c.Now), b.Entered(c.Now)), cmp.Compare(a.Socket.NetNS, b.Socket.NetNS), cmp.Compare(a.Socket.Cookie, b.Socket.Cookie))
		if rule.Order == rules.OrderNewest {
			return -older
		}
		return older
	})
	for _, m := range order[min(max(0, places), len(order)):] {
		g.beyond[memberOf(&m.Socket)] = true
	}
	g.Beyond = len(g.beyond)
}

// stays reports whether protect or a guard spares a member, whatever the others are.
func (j *Judge) stays(c *Cycle, rule *rules.Rule, m *look.Candidate) bool {
	h, f := &hearing{Cycle: c, asking: true}, newCase(m, rule, nil)
	return protects(j, h, f) || guarded(j, h, f)
}

// isBeyond reports whether a rule does not keep a socket of the group.
func (g *Group) isBeyond(s *collectors.Socket) bool { return g.beyond[memberOf(s)] }

// Keeps returns why the rule keeps a socket of the group, as it was counted just now; "" if
// it is beyond, or the rule keeps none.
func (g *Group) Keeps(rule *rules.Rule, s *collectors.Socket) string {
	if rule.Keep == 0 || g.isBeyond(s) {
		return ""
	}
	return keptBy(rule, g.Group)
}

func keptBy(rule *rules.Rule, g *report.Group) string {
	why := fmt.Sprintf("kept by keep: %d, order: %s", rule.Keep, rule.Order)
	if g != nil {
		why += fmt.Sprintf("; its group has %d, and %d are beyond", g.Facts.Count, g.Beyond)
	}
	return why
}

// keeps spares, without a decision, what is not beyond the number that the rule keeps.
func keeps(_ *Judge, _ *hearing, f *Case) bool {
	if f.Rule.Keep == 0 || f.group != nil && f.group.isBeyond(&f.Socket) {
		return false
	}
	f.set("", "%s", keptBy(f.Rule, f.Group))
	return true
}

// beyondText is why a rule acts on a socket of a group of which it keeps some, "" for any
// other rule.
func beyondText(rule *rules.Rule) string {
	if rule.Keep == 0 {
		return ""
	}
	return fmt.Sprintf("beyond keep: %d, order: %s", rule.Keep, rule.Order)
}

// Kept is why a rule that keeps some sockets of each group leaves a member alone after
// Decide; counted is its group.
func (c *Cycle) Kept(rule *rules.Rule, cand *look.Candidate, counted *report.Group) string {
	if i := slices.Index(c.Program.Rules, rule); i >= 0 && i < len(c.grouped) && c.grouped[i][cand] != nil {
		counted = c.grouped[i][cand].Group
	}
	return keptBy(rule, counted)
}
