package watch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/engine/silence"
	"sockwarden/rules"
)

// What is wrong is said, and only that; a pause is well, and so is a long interval.
func TestStatusIsWell(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	good := Status{
		Every: 10, Due: now, Rules: RulesStatus{Loaded: now, LastReload: LastReload{Time: now, OK: true}}, Cycle: &CycleStatus{Time: now},
	}
	for name, c := range map[string]struct {
		change        func(*Status)
		after         time.Duration
		wrong, unfit  string // a part of what is said, "" for nothing
		wrongs        int
		alsoUnhealthy bool
	}{
		"good":           {func(*Status) {}, 0, "", "", 0, false},
		"three late":     {func(*Status) {}, 30 * time.Second, "", "", 0, false},
		"more late":      {func(*Status) {}, 31 * time.Second, "the next cycle is late by 31s", "late by", 1, true},
		"stuck":          {func(s *Status) { s.Running = now }, 2 * time.Minute, "a cycle has been running for 2m", "running for", 1, true},
		"long interval":  {func(s *Status) { s.Every = 3600 }, time.Hour, "", "", 0, false},
		"no cycle yet":   {func(s *Status) { s.Cycle = nil }, 0, "", "first cycle", 0, false},
		"rejected":       {func(s *Status) { s.Rules.LastReload.OK = false }, 0, "reload of 12:00:00 rejected, the rules of 12:00:00 go on", "rejected", 1, false},
		"failed":         {func(s *Status) { s.Cycle.Failed = "no netlink" }, 0, "the last cycle failed: no netlink", "failed", 1, false},
		"tripped":        {func(s *Status) { s.Breaker.Tripped = []string{"600 of 900"} }, 0, "the breaker has tripped: 600 of 900", "", 1, false},
		"rejected, late": {func(s *Status) { s.Rules.LastReload.OK = false }, time.Hour, "rejected", "late", 2, true},
	} {
		s := good
		cycle := *good.Cycle
		s.Cycle = &cycle
		c.change(&s)
		at := s.At(now.Add(c.after))
		if at.Well != (c.wrong == "") || len(at.Wrong) != c.wrongs || !strings.Contains(strings.Join(at.Wrong, "\n"), c.wrong) || at.Wrong == nil {
			t.Errorf("%s: well %t, wrong %q", name, at.Well, at.Wrong)
		}
		if why := s.Unready(now.Add(c.after)); (why == "") != (c.unfit == "") || !strings.Contains(why, c.unfit) {
			t.Errorf("%s: not ready: %q", name, why)
		}
		if late := s.Late(now.Add(c.after)); (late != "") != c.alsoUnhealthy {
			t.Errorf("%s: late: %q", name, late)
		}
		if len(s.Wrong) != 0 {
			t.Errorf("%s: the published status was changed", name)
		}
	}
}

// Who asks a loop that takes no requests waits no longer than it wants to.
func TestBoardOfBusyLoop(t *testing.T) {
	b := NewBoard()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Reload(ctx); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	if b.Status() != nil {
		t.Error("there is a status before the loop has begun")
	}
	if (*Board)(nil).requests() != nil {
		t.Error("nobody can ask without a board")
	}
}

func TestProblemsOfRules(t *testing.T) {
	many := rules.Problems{}
	for i := range 30 {
		many = append(many, rules.Problem{ID: "x", File: "a.yaml", Line: i + 1, Column: 2, Message: "wrong"})
	}
	got := problemsOf(many)
	if len(got) != maxProblems+1 || got[0].String() != "a.yaml:1:2: wrong" || got[0].ID != "x" || got[maxProblems].String() != "... and 10 more problems" {
		t.Errorf("%d: %v", len(got), got)
	}
	if got := problemsOf(errors.New("no answer")); len(got) != 1 || got[0].String() != "no answer" {
		t.Errorf("%v", got)
	}
}

// A silence of a rule that has another name now says so.
func TestSilenceOfAMissingRule(t *testing.T) {
	s := &Status{ByRule: []RuleStatus{{Rule: "new"}}}
	all := s.SilencedBy(t.Context(), silence.List{{ID: 1, Rules: []string{"old"}}, {ID: 2, Rules: []string{"new"}}})
	if len(all) != 2 || all[0].AtLeast || len(all[0].MissingRules) != 1 || all[0].MissingRules[0] != "old" || all[1].MissingRules != nil {
		t.Errorf("%+v", all)
	}
}

// Who does not wait for all to be counted hears that it is not all.
func TestSilencesCountedInPart(t *testing.T) {
	s := &Status{Report: &report.Report{}}
	for range 10 {
		s.Report.Findings = append(s.Report.Findings, &report.Finding{Rule: &rules.Rule{Name: "r"}, Candidate: &look.Candidate{}})
	}
	in := silence.List{{ID: 1, Rules: []string{"r"}}}
	if all := s.SilencedBy(t.Context(), in); all[0].Spares != 10 || all[0].AtLeast {
		t.Errorf("%+v", all[0])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if all := s.SilencedBy(ctx, in); all[0].Spares != 0 || !all[0].AtLeast {
		t.Errorf("%+v", all[0])
	}
}
