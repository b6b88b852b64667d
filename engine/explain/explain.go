package explain

import (
	"context"

	"sockwarden/collectors"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// Question is what is asked.
type Question struct {
	// Selection has one rule, whose condition says which sockets are asked about.
	Selection *rules.Program
	Rules     []*rules.Rule // those that are asked about, of the program that judged
}

// Explanation is the answer to a question.
type Explanation struct {
	Report  *report.Report // of the cycle in which it was judged
	Sockets []*Socket      // those that are asked about, in their order: the oldest first
	Groups  []*Group       // of them, by what decides
}

// Socket is one socket, and what each rule says of it.
type Socket struct {
	*look.Candidate
	Verdicts []*Verdict // in the order of the rules
	// Main is the verdict to read first: of the rule that has the socket, or else of the one
	// that is nearest to taking it; nil if no rule is about sockets in its state.
	Main *Verdict
}

// None is the verdict of a rule that does not take a socket.
const None report.Decision = "none"

// Verdict is what one rule says of one socket.
type Verdict struct {
	Rule *rules.Rule
	// Decision is that of the finding which audit has, None if it has none.
	Decision report.Decision
	Reason   string // of the decision; of None why the rule is not about it, "" for its condition
	// When is its condition. Of a socket with several owners it is what it says of Owner,
	// who decides; Owner is nil otherwise.
	When  lang.Part
	Owner *collectors.Owner
	// Part is the part of the condition that decides, nil if all of it is true; Cure is
	// what would make it true or known, or what ends what spares; "" if nothing is known.
	Part *lang.Part
	Cure string
	// Group is the one that the socket belongs to, and Having what the rule says of it;
	// nil for a rule that decides on single sockets, or where there is none.
	Group  *report.Group
	Having *lang.Part
	// Gates are the answers of all gates; those after the first that spares say what would
	// spare it besides.
	Gates []judge.Answer
}

// Explain answers a question about a cycle that was decided.
func Explain(ctx context.Context, j *judge.Judge, c *judge.Cycle, q Question) *Explanation {
	x := &explainer{judge: j, cycle: c, cases: map[caseKey]*judge.Case{}, counted: map[*rules.Rule]map[*look.Candidate]*report.Group{}}
	for _, f := range c.Cases {
		x.cases[caseKey{f.Candidate, f.Rule.Name}] = f
	}
	for _, r := range q.Rules {
		x.counted[r] = j.Counted(c, r)
	}
	out := &Explanation{Report: c.Report}
	selected := q.Selection.Rules[0].When
	for _, cand := range c.Candidates {
		if cand.Eval(selected) != rules.True {
			continue
		}
		s := &Socket{Candidate: cand}
		for _, r := range q.Rules {
			s.Verdicts = append(s.Verdicts, x.verdict(ctx, cand, r))
		}
		s.Main = nearest(s.Verdicts)
		out.Sockets = append(out.Sockets, s)
	}
	out.Groups = groupsOf(out.Sockets)
	return out
}

// explainer knows what was decided.
type explainer struct {
	judge   *judge.Judge
	cycle   *judge.Cycle
	cases   map[caseKey]*judge.Case
	counted map[*rules.Rule]map[*look.Candidate]*report.Group
}

type caseKey struct {
	*look.Candidate
	rule string
}

func (x *explainer) verdict(ctx context.Context, cand *look.Candidate, rule *rules.Rule) *Verdict {
	v := &Verdict{Rule: rule, Decision: None, Group: x.counted[rule][cand]}
	f := x.cases[caseKey{cand, rule.Name}]
	if f == nil {
		f = x.judge.Undecided(x.cycle, cand, rule)
	} else {
		v.Decision, v.Reason = f.Decision, f.Reason
	}
	owner := cand.Decider(rule.When)
	if len(cand.Facts.Owners) > 1 {
		v.Owner = &cand.Facts.Owners[owner]
	}
	record := cand.RecordOf(owner)
	v.When = rule.When.Explain(&record)
	v.Gates = x.judge.Ask(ctx, x.cycle, f)
	if v.Group != nil {
		having := rule.Having.Explain(&collectors.Record{Group: &v.Group.Facts, Host: cand.Host})
		v.Having = &having
	}
	if v.Decision != None {
		v.Cure = x.lasts(f)
		return v
	}
	switch v.Reason = notAbout(cand, rule); {
	case v.Reason != "":
	case v.When.Value != rules.True:
		path := deciding(&v.When)
		v.Part = at(&v.When, path)
		v.Cure = cure(cand, rule, owner, path)
	case rule.Grouped() && x.cycle.Incomplete:
		v.Reason = "not everything could be looked at, and a group is decided on only as a whole"
	case rule.Grouped() && v.Group == nil:
		v.Reason = "it belongs to no group, or it is not known to which"
	case v.Having != nil && v.Having.Value != rules.True:
		v.Part = at(v.Having, deciding(v.Having))
	default:
		v.Reason = "its condition became true while it was looked at"
	}
	return v
}

// notAbout says why a rule is not about a socket, whatever its condition says of it; ""
// if it is.
func notAbout(cand *look.Candidate, rule *rules.Rule) string {
	switch {
	case rule.Mode == rules.ModeDisabled:
		return "mode disabled"
	case !rule.InNetNS(cand.NS.Name):
		return "the rule is about other network namespaces (netns: in its file, or --netns)"
	case cand.Socket.Protocol != collectors.TCP && !rule.When.Reads.Has(collectors.FieldProtocol):
		return "a condition that does not read protocol is about TCP only"
	}
	return ""
}

// lasts says of what spares for a time how long it still does.
func (x *explainer) lasts(f *judge.Case) string {
	if f.Decision != report.DecidePending || f.Held >= f.Rule.For {
		return ""
	}
	return report.Short(f.Rule.For-f.Held) + " left, if it matches until then: watch, or runs with the same state file, count"
}

// Besides are the answers of the gates that would spare it if what decides did not, in
// their order.
func (v *Verdict) Besides() []judge.Answer {
	var all []judge.Answer
	for _, a := range v.Gates {
		if a.Spares && a.Decision != "" {
			all = append(all, a)
		}
	}
	if v.Decision != None && v.Decision != report.DecideAct && len(all) > 0 {
		return all[1:]
	}
	return all
}
