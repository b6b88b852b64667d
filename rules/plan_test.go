package rules

import (
	"slices"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
	"sockwarden/rules/lang/langtest"
)

// isPossible reports whether a record's addresses go with its family.
func isPossible(s *collectors.Socket) bool {
	return s.Family == collectors.IPv6 || s.Local.Netip().Is4() && s.Remote.Netip().Is4()
}

// TestPlan: the plan never loses a socket for which a rule may hold, and the evaluator
// returns exactly those rules.
func TestPlan(t *testing.T) {
	sc := scopeOf(t, langtest.RandomDefinitions)
	narrow, narrower, hits := 0, 0, 0
	for seed := range langtest.Rounds(4000) {
		w := langtest.NewWriter(uint64(seed), 4)
		p := &Program{}
		var texts []string
		for range 1 + w.IntN(3) {
			text := w.Condition(2).Rules
			texts = append(texts, text)
			p.Rules = append(p.Rules, &Rule{When: compiled(t, sc, text), Mode: langtest.Pick(w, ModeEnforce, ModeEnforce, ModeObserve, ModeDisabled), netns: []string{"all"}})
		}
		p.seal()
		if p.Query.States != collectors.AllStates {
			narrow++
		}
		if len(p.Query.Clauses) == 1 && (p.Query.Clauses[0].Local != nil || p.Query.Clauses[0].Remote != nil || p.Query.Clauses[0].Peers != nil) {
			narrower++
		}
		e := p.NewEvaluator()
		for range 12 {
			r := langtest.RandomRecord(w)
			if w.IntN(2) == 0 {
				langtest.Hide(w, r)
				r.Known.Add(langtest.AlwaysKnown)
			}
			var want []int
			for i, rule := range p.Rules {
				about := r.Socket.Protocol == collectors.TCP || rule.When.Reads.Has(collectors.FieldProtocol)
				// A socket that fails to match only because it moves data is remembered
				// for its age.
				later := *r
				later.Known.Remove(lang.IdleFields().Or(collectors.StallFields()))
				if later.Facts != nil {
					facts := *later.Facts
					facts.Stalled = collectors.NoAge()
					later.Facts = &facts
				}
				remembered := rule.When.Reads.Meets(collectors.AgeFields()) && r.Socket.State != collectors.Established && rule.When.Eval(&later) != False
				if rule.Mode == ModeDisabled || !about || rule.When.Eval(r) == False && !remembered {
					continue
				}
				want = append(want, i)
				key := collectors.KeyOf(r.Socket)
				if isPossible(r.Socket) && !p.Query.Covers(&key) {
					t.Fatalf("seed %d: %q may hold for %v, but the query is %v", seed, texts[i], collectors.Map(r), p.Query)
				}
				if missing := rule.When.Reads.AndNot(p.Reads); !missing.Empty() {
					t.Fatalf("seed %d: %q reads %s, the program does not", seed, texts[i], missing)
				}
			}
			hits += len(want)
			got := e.Match(r)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: of %q\nmatch %v, want %v for %v", seed, texts, got, want, collectors.Map(r))
			}
		}
	}
	if narrow < langtest.Rounds(500) || narrower < langtest.Rounds(100) || hits < langtest.Rounds(5000) {
		t.Errorf("%d queries of some states, %d of some ports or peers, %d hits: nothing was tested", narrow, narrower, hits)
	}
}
