package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/report"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// Group is the sockets for which the same thing decides.
type Group struct {
	Rule     *rules.Rule // nil if no rule is about them
	Decision report.Decision
	Text     string    // what decides
	Sockets  []*Socket // the oldest first
}

// stateFields are the fields by which most rules say which sockets they are about.
var stateFields = collectors.Fields(collectors.FieldState, collectors.FieldProtocol)

// Elsewhere reports whether the rule is about other sockets: another state, protocol or
// place.
func (v *Verdict) Elsewhere() bool { return v.rank == elsewhere }

// elsewhere is the rank of rules that are about other sockets.
const elsewhere = 1 << 20

// rankOf orders verdicts: the lowest is read first. when is the condition, for a socket
// that the rule does not take.
func rankOf(v *Verdict, when *lang.Part) int {
	switch v.Decision {
	case report.DecideAct:
		return 0
	case None:
	case report.DecideShadowed:
		return 3
	case report.DecideObserve, report.DecidePending, report.DecideUnless:
		return 2
	default:
		return 1
	}
	switch {
	case v.Decides == nil && when.Value != rules.True, v.Decides != nil && v.Value == rules.False && readsOnly(v.Decides, stateFields):
		return elsewhere
	case when.Value == rules.True: // the socket belongs to no group
		return 4
	}
	notTrue, falseParts := 0, 0
	for _, p := range Conjuncts(when) {
		if p.Value != rules.True {
			notTrue++
		}
		if p.Value == rules.False && !readsTime(p) {
			falseParts++
		}
	}
	const perFalse = 100
	return 5 + notTrue + perFalse*falseParts
}

// nearest is the verdict to read first; nil if there are several rules and none is about
// the socket.
func nearest(all []*Verdict) *Verdict {
	if len(all) == 0 {
		return nil
	}
	best := slices.MinFunc(all, func(a, b *Verdict) int { return cmp.Compare(a.rank, b.rank) })
	if best.Elsewhere() && len(all) > 1 {
		return nil
	}
	return best
}

// Text says what decides, without the values of a single socket.
func (v *Verdict) Text() string {
	switch v.Decision { //nolint:exhaustive // the others speak for themselves
	case None:
		if v.Decides != nil {
			return fmt.Sprintf("%s is %s", PartText(v.Decides), v.Value)
		}
		return v.Reason
	case report.DecideAct:
		return "would act: " + strings.Join(ladder(v.Rule), ", then ")
	case report.DecidePending:
		if v.Waits {
			return fmt.Sprintf("for %s still runs", report.Short(v.Rule.For))
		}
	case report.DecideCooldown:
		return "cools down"
	case report.DecideGuarded, report.DecideLimited:
		return string(v.Decision) + ": " + v.Reason
	}
	return v.Reason
}

func ladder(r *rules.Rule) []string {
	steps := make([]string, len(r.Then))
	for i := range r.Then {
		steps[i] = r.Then[i].String()
	}
	if len(steps) == 0 {
		return []string{"nothing"}
	}
	return steps
}

// groupsOf groups sockets by what decides: those to act on first, then the largest
// groups.
func groupsOf(sockets []*Socket) []*Group {
	type key struct {
		rule, text string
		decision   report.Decision
	}
	byKey := map[key]*Group{}
	var all []*Group
	for _, s := range sockets {
		k, v := key{text: "no rule is about " + stateText(s), decision: None}, s.Main
		var rule *rules.Rule
		if v != nil {
			rule, k = v.Rule, key{v.Rule.Name, v.Text(), v.Decision}
		}
		if byKey[k] == nil {
			byKey[k] = &Group{Rule: rule, Decision: k.decision, Text: k.text}
			all = append(all, byKey[k])
		}
		byKey[k].Sockets = append(byKey[k].Sockets, s)
	}
	order := func(g *Group) int {
		switch {
		case g.Decision == report.DecideAct:
			return 0
		case g.Rule == nil:
			return 2
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), -cmp.Compare(len(a.Sockets), len(b.Sockets)))
	})
	return all
}

func stateText(s *Socket) string {
	if p := s.Socket.Protocol; p != collectors.TCP {
		return p.String() + " " + s.Socket.State.String()
	}
	return s.Socket.State.String()
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// Part is a part of a condition.
type Part = lang.Part
