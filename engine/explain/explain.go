package explain

import (
	"context"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// Question is what the user asks.
type Question struct {
	// Selection has one rule, whose condition selects the sockets in question.
	Selection *rules.Program
	Rules     []*rules.Rule // the rules in question, from the program that judged
	// Nobody includes groups of the whole host that have no socket.
	Nobody bool
}

// Explanation is the answer to a question.
type Explanation struct {
	Report  *report.Report // of the cycle that judged it
	Sockets []*Socket      // the sockets in question, the oldest first
	Groups  []*Group       // the same sockets, grouped by what decides
}

// Socket is one socket, with what each rule says about it.
type Socket struct {
	*look.Candidate
	Verdicts []*Verdict // in the order of the rules
	// Main is the verdict to read first: from the rule that has the socket, otherwise
	// from the one that comes closest to taking it; nil if no rule is about sockets in
	// its state.
	Main *Verdict
}

// None is the verdict of a rule that does not take a socket.
const None report.Decision = "none"

// Verdict is what one rule says about one socket, in short: there are many.
type Verdict struct {
	Rule *rules.Rule
	// Decision is that of the finding in audit, None if there is none.
	Decision report.Decision
	Reason   string // of the decision; for None why the rule is not about the socket, "" if its condition says so

	// Decides is the part of the condition, or of having, that decides, without the
	// values that it read; Value is its value. Decides is nil if everything is true.
	Decides *lang.Part
	Value   rules.Tri
	Waits   bool // the rule has not yet matched for as long as its "for" demands
	rank    int  // the lowest is read first
	// Details looks up everything else about the verdict.
	Details func() *Details
}

// Details are everything that there is to say about a verdict.
type Details struct {
	// When is the condition. If the socket has several owners, it is evaluated for Owner,
	// the one that decides; otherwise Owner is nil.
	When  lang.Part
	Owner *collectors.Owner
	// Part is the part of the condition that decides, nil if all of it is true.
	Part *lang.Part
	// Cure is what would make the part true or known, or end what spares the socket; ""
	// if unknown.
	Cure string
	// Group is the group of the socket, and Having what the rule says about it; nil for a
	// rule that decides on single sockets, or if there is no group.
	Group  *report.Group
	Having *lang.Part
	// Gates are the answers of all gates; those after the first one that spares say what
	// else would spare the socket.
	Gates []judge.Answer
}

// Explain answers a question about a cycle with its decisions.
func Explain(ctx context.Context, j *judge.Judge, c *judge.Cycle, q Question) *Explanation {
	x := &explainer{
		judge: j, cycle: c, cases: map[caseKey]*judge.Case{}, counted: map[*rules.Rule]map[*look.Candidate]*report.Group{}, trees: map[*rules.Rule]*lang.Part{},
	}
	for _, f := range c.Cases {
		x.cases[caseKey{f.Candidate, f.Rule.Name}] = f
	}
	for _, r := range q.Rules {
		x.counted[r] = j.Counted(c, r)
		tree := r.When.Tree()
		x.trees[r] = &tree
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
	for _, f := range c.Cases {
		if q.Nobody && f.NoSocket() && slices.Contains(q.Rules, f.Rule) {
			v := x.verdict(ctx, f.Candidate, f.Rule)
			out.Sockets = append(out.Sockets, &Socket{Candidate: f.Candidate, Verdicts: []*Verdict{v}, Main: v})
		}
	}
	out.Groups = groupsOf(out.Sockets)
	return out
}

// explainer knows the decisions.
type explainer struct {
	judge   *judge.Judge
	cycle   *judge.Cycle
	cases   map[caseKey]*judge.Case
	counted map[*rules.Rule]map[*look.Candidate]*report.Group
	trees   map[*rules.Rule]*lang.Part // of conditions, with the values for the last socket
	values  []rules.Tri                // reused memory
}

type caseKey struct {
	*look.Candidate
	rule string
}

func (x *explainer) verdict(ctx context.Context, cand *look.Candidate, rule *rules.Rule) *Verdict {
	v := &Verdict{Rule: rule, Decision: None}
	v.Details = func() *Details { return x.details(ctx, v, cand) }
	if f := x.cases[caseKey{cand, rule.Name}]; f != nil {
		v.Decision, v.Reason, v.Waits = f.Decision, f.Reason, waits(f)
		v.rank = rankOf(v, nil)
		return v
	}
	record := cand.RecordOf(cand.Decider(rule.When))
	x.values = rule.When.Values(&record, x.values[:0])
	when := x.trees[rule]
	fill(when, x.values)
	switch v.Reason = notAbout(cand, rule); {
	case v.Reason != "":
	case when.Value != rules.True:
		v.Decides = at(when, deciding(when))
	case rule.Grouped() && x.cycle.Incomplete:
		v.Reason = "not everything could be looked at, and a group is decided on only as a whole"
	case rule.Keep > 0 && !cand.ProvenAt(max(x.cycle.Looked, cand.SeenAgain)):
		v.Reason = "seen only once: what keep keeps goes by since when it was seen, which takes a second look: watch, --observe, or the next run with this state file"
	case rule.Grouped() && x.counted[rule][cand] == nil:
		v.Reason = "it belongs to no group, or it is not known to which"
	case rule.Having != nil && x.having(x.counted[rule][cand], rule).Value != rules.True:
		having := x.having(x.counted[rule][cand], rule)
		v.Decides = at(having, deciding(having))
	case rule.Keep > 0:
		v.Reason = x.cycle.Kept(rule, cand, x.counted[rule][cand])
	default:
		v.Reason = "its condition became true while it was looked at"
	}
	if v.Decides != nil {
		v.Value = v.Decides.Value
	}
	v.rank = rankOf(v, when)
	return v
}

// having returns what a rule says about a group.
func (x *explainer) having(g *report.Group, rule *rules.Rule) *lang.Part {
	p := rule.Having.Explain(&collectors.Record{Group: &g.Facts})
	return &p
}

// details looks up everything about a verdict on a socket.
func (x *explainer) details(ctx context.Context, v *Verdict, cand *look.Candidate) *Details {
	f := x.cases[caseKey{cand, v.Rule.Name}]
	if f == nil {
		f = x.judge.Undecided(x.cycle, cand, v.Rule)
	}
	d := &Details{Group: x.counted[v.Rule][cand], Gates: x.judge.Ask(ctx, x.cycle, f)}
	owner := cand.Decider(v.Rule.When)
	if len(cand.Facts.Owners) > 1 {
		d.Owner = &cand.Facts.Owners[owner]
	}
	record := cand.RecordOf(owner)
	d.When = v.Rule.When.Explain(&record)
	if f.Group != nil {
		d.Group = f.Group
	}
	if d.Group != nil && v.Rule.Having != nil {
		d.Having = x.having(d.Group, v.Rule)
	}
	switch {
	case v.Waits:
		d.Cure = report.Short(v.Rule.For-f.Held) + " left, if it matches until then"
		if !x.judge.Repeats { // else it looks again by itself
			d.Cure += ": watch, or runs with the same state file, count"
		}
	case v.Decides == nil:
	case d.When.Value != rules.True:
		path := deciding(&d.When)
		d.Part, d.Cure = at(&d.When, path), cure(cand, v.Rule, owner, path, x.judge.Repeats)
	case d.Having != nil:
		d.Part = at(d.Having, deciding(d.Having))
	}
	return d
}

// notAbout says why a rule is not about a socket, whatever its condition says; "" if it
// is.
func notAbout(cand *look.Candidate, rule *rules.Rule) string {
	switch {
	case rule.Mode == rules.ModeDisabled:
		return "mode disabled"
	case !rule.InNetNS(&cand.NS.Namespace.Namespace):
		return "the rule is about other network namespaces (netns: in its file, or --netns)"
	case cand.Socket.Protocol != collectors.TCP && !rule.When.Reads.Has(collectors.FieldProtocol):
		return "a condition that does not read protocol is about TCP only"
	}
	return ""
}

// waits reports whether the rule has not yet matched for long enough.
func waits(f *judge.Case) bool { return f.Decision == report.DecidePending && f.Held < f.Rule.For }

// Besides returns the answers, in order, of the gates that would spare the socket if the
// deciding one did not.
func (v *Verdict) Besides(d *Details) []judge.Answer {
	var all []judge.Answer
	for _, a := range d.Gates {
		if a.Spares && a.Decision != "" {
			all = append(all, a)
		}
	}
	if v.Decision != None && v.Decision != report.DecideAct && len(all) > 0 {
		return all[1:]
	}
	return all
}
