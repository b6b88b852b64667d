package scripted_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/differ"
	"sockwarden/engine/report"
	"sockwarden/rules"
	"sockwarden/rules/lang/langtest"
)

func (s *stage) differ(was, now *rules.Program) *differ.Difference {
	s.t.Helper()
	d, err := s.Diff(s.t.Context(), was, now, 0)
	s.must(err)
	return d
}

// told are the changes as one reads them.
func toldChanges(d *differ.Difference) string {
	var all []string
	for _, c := range d.Changes {
		all = append(all, fmt.Sprintf("%s %d (%d) %s: %s -> %s", c.Kind, c.Count, c.Living, c.Rule, c.Old.String(), c.New.String()))
	}
	return strings.Join(all, "\n")
}

// TestDiffSays: what becomes of sockets by either, and who it is that lives.
func TestDiffSays(t *testing.T) {
	old, leaks := rule(hung, "destroy"), func(s *stage) { s.leak(3, time.Hour) }
	for name, c := range map[string]struct {
		old, new string
		sockets  func(*stage)
		want     string
		summary  string
	}{
		"nothing": {old, old, leaks, "", ""},
		"only time and rations": {
			old, rule(hung, "destroy", "for: 1h", "soak: 1h", "canary: 1%", "limits: {per_cycle: 1, per_minute: 1, share: 1%, cooldown: 1h}"), leaks, "", "",
		},
		"another name":    {old, strings.Replace(old, "name: r", "name: other", 1), leaks, "", ""},
		"another comment": {old, old + "# comment\n", leaks, "", ""},
		"newly acted on": {
			"rules: []\n", old, leaks, "added 3 (0) r: none -> destroy", "3 more sockets, 0 living, by r",
		},
		"no longer": {
			old, rule(hung+" and port == 1", "destroy"), leaks, "removed 3 (0) r: destroy -> none", "3 sockets fewer, 0 living, by r",
		},
		"unproven, so living": {
			"rules: []\n", rule(closeWait, "destroy"), func(s *stage) { s.leak(1, time.Second) }, "added 1 (1) r: none -> destroy",
			"1 more socket, 1 living, by r",
		},
		"otherwise": {
			old, rule(hung, "destroy, {signal: TERM, wait: 5s}"), leaks, "changed 3 (1) r: destroy -> destroy, then signal TERM wait=5s",
			"3 sockets otherwise, 1 living, by r",
		},
		"on a condition": {
			rule(hung, "destroy, {signal: TERM, if: port == 80}"), rule(hung, "destroy, {signal: TERM, if: port == 81}"), leaks,
			"changed 3 (0) r: destroy, then signal TERM if port == 80 -> destroy, then signal TERM if port == 81", "3 sockets otherwise, 0 living, by r",
		},
		"a variable of a rung": {
			"vars: {p: 80}\n" + rule(hung, "destroy, {signal: TERM, if: port == p}"), "vars: {p: 81}\n" + rule(hung, "destroy, {signal: TERM, if: port == p}"), leaks,
			"changed 3 (0) r: destroy, then signal TERM if port == p -> destroy, then signal TERM if port == p", "3 sockets otherwise, 0 living, by r",
		},
		"protected": {
			old, "protect: [{name: ssh, when: port == 80}]\n" + old, leaks, "removed 3 (0) r: destroy -> protect ssh", "3 sockets fewer, 0 living, by r",
		},
		"spared for another reason": {
			rule(hung, "destroy", "unless: port == 80"), "protect: [{name: ssh, when: port == 80}]\n" + old, leaks,
			"changed 3 (0) r: unless of r -> protect ssh", "3 sockets otherwise, 0 living, by r",
		},
		"a protect more": {
			"protect: [{name: ssh, when: port == 80}]\n" + old, "protect: [{name: a, when: port == 80}, {name: ssh, when: port == 80}]\n" + old, leaks, "", "",
		},
		"a rule before": {
			old, "rules:\n  - {name: first, when: port == 80, mode: observe}\n  - {name: second, when: port == 80, then: [log]}\n" +
				strings.TrimPrefix(old, "rules:\n"), leaks, "changed 3 (0) second: destroy -> log", "3 sockets otherwise, 0 living, by second",
		},
		"observed": {old, rule(hung, "destroy", "mode: observe"), leaks, "removed 3 (0) r: destroy -> mode observe", "3 sockets fewer, 0 living, by r"},
		"window":   {old, rule(hung, "destroy", `during: ["01:00-02:00"]`), leaks, "removed 3 (0) r: destroy -> outside of the windows of r: 01:00-02:00 UTC", "3 sockets fewer, 0 living, by r"},
		"with a process": {
			old, rule(hung, "{signal: TERM}"), func(s *stage) { s.leak(2, time.Hour); s.sockets(4, collectors.Established, time.Hour, 7) },
			"changed 2 (5) r: destroy -> signal TERM", "2 sockets otherwise, 5 living, by r",
		},
		"max_collateral stays": {
			rule(hung, "{signal: TERM}"), rule(hung, "{signal: TERM}", "limits: {max_collateral: 3}"),
			func(s *stage) { s.leak(2, time.Hour); s.sockets(4, collectors.Established, time.Hour, 7) },
			"removed 2 (5) r: signal TERM -> limited: max_collateral 3: 4 established connections would die with app[7]", "2 sockets fewer, 5 living, by r",
		},
		"a group": {
			rule(hung, "destroy", "group: pid", "having: count > 2"), rule(hung, "destroy", "group: pid", "having: count > 3"), leaks,
			"removed 3 (0) r: destroy -> none", "3 sockets fewer, 0 living, by r",
		},
		"what a group keeps": {
			rule(hung, "destroy", "group: pid", "keep: 2"), rule(hung, "destroy", "group: pid", "keep: 1"), leaks,
			"added 1 (0) r: none -> destroy", "1 more socket, 0 living, by r",
		},
		"nobody": {
			rule("port == 9", "log", "group: host", "having: count == 1"), rule("port == 9", "log", "group: host", "having: count == 0"), leaks,
			"added 1 (0) r: none -> log", "1 more socket, 0 living, by r",
		},
		"guarded": {
			"rules: []\n", old, func(s *stage) {
				s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, collectors.Owner{PID: 9, Name: "sshd"})
			},
			"changed 1 (0) r: none -> guarded: protected process sshd: needs {destroy: {protected: true}}", "1 socket otherwise, 0 living, by r",
		},
		"several": {
			old, rule(closeWait, "destroy"), func(s *stage) { s.leak(3, time.Hour); s.leak(2, time.Second) }, "added 2 (2) r: none -> destroy",
			"2 more sockets, 2 living, by r",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, engine.Options{})
			c.sockets(s)
			d := s.differ(s.file(c.old), s.file(c.new))
			if got := toldChanges(d); got != c.want {
				t.Errorf("%s\nnot %s", got, c.want)
			}
			if got := d.Summary(); got != c.summary {
				t.Errorf("%s\nnot %s", got, c.summary)
			}
			if got := toldChanges(s.differ(d.Old, d.Old)) + toldChanges(s.differ(d.New, d.New)); got != "" {
				t.Errorf("from itself differs %s", got)
			}
		})
	}
}

// TestDiffExamples: the living first, three at most.
func TestDiffExamples(t *testing.T) {
	s := newStage(t, engine.Options{})
	s.leak(5, time.Hour)
	young := s.leak(1, time.Second)[0]
	c := s.differ(s.file("rules: []\n"), s.rules(closeWait, "destroy")).Changes[0]
	if len(c.Examples) != 3 || c.Examples[0].Socket.Cookie != young.Cookie || c.Count != 6 {
		t.Errorf("%d of %d, first %d", len(c.Examples), c.Count, c.Examples[0].Socket.Cookie)
	}
}

// TestDiffObserves: two looks prove what one does not.
func TestDiffObserves(t *testing.T) {
	s := newStage(t, engine.Options{Events: engine.EventsOff})
	s.sockets(1, collectors.Listen, time.Hour, 7)
	was, now := s.file("rules: []\n"), s.rules("age > 60", "log")
	d := s.differ(was, now)
	if len(d.Changes) != 0 || d.Report.AgeUnproven != 1 {
		t.Errorf("%s, %d unproven", toldChanges(d), d.Report.AgeUnproven)
	}
	d, err := s.Diff(t.Context(), was, now, 61*time.Second)
	s.must(err)
	if len(d.Changes) != 1 {
		t.Error("two looks prove nothing")
	}
}

// TestDiffIsThatOfAudits: for random rules and sockets, what a difference says is newly or
// no longer acted on is what audits of both find at that moment, where nothing delays or
// rations. The other way round, it says the opposite. It changes nothing that is
// remembered.
func TestDiffIsThatOfAudits(t *testing.T) {
	delays := regexp.MustCompile(`(?m)^    (for|soak|canary): .*\n`)
	rations := regexp.MustCompile(`limits: \{.*(max_collateral: \d+)\}`)
	breaker := regexp.MustCompile(`breaker: \{count: \d+\}`)
	plain := func(text string) string {
		text = rations.ReplaceAllString(delays.ReplaceAllString(text, ""), "limits: {$1, per_cycle: 9999, per_minute: 9999, share: 100%}")
		return breaker.ReplaceAllString(text, "breaker: {count: 9999, share: 100%}")
	}
	seen := map[differ.Kind]int{}
	for seed := range uint64(langtest.Rounds(60)) {
		w := langtest.NewWriter(seed, 22)
		s := newStage(t, engine.Options{}, poker())
		s.randomSockets(w)
		a, b := randomRules(w), randomRules(w)
		acted := func(text string) map[uint64]bool {
			e := s.beside(engine.Options{NoBreaker: true})
			r, err := e.Look(t.Context(), s.file(text))
			s.must(err)
			found := map[uint64]bool{}
			for _, f := range r.Findings {
				if f.Decision == report.DecideAct && !f.NoSocket() {
					found[f.Socket.Cookie] = true
				}
			}
			return found
		}
		before := s.Now()
		was, now := acted(plain(a)), acted(plain(b))
		if s.Now() != before {
			continue // the audits waited for second looks
		}
		d, back := s.differ(s.file(a), s.file(b)), s.differ(s.file(b), s.file(a))
		want := map[differ.Kind]int{}
		for cookie := range now {
			if !was[cookie] {
				want[differ.Added]++
			}
		}
		for cookie := range was {
			if !now[cookie] {
				want[differ.Removed]++
			}
		}
		for _, k := range []differ.Kind{differ.Added, differ.Removed} {
			if got := d.Totals[k].Count; got != want[k] {
				t.Fatalf("seed %d: %d %s, not %d\n%s\n%s\n%s", seed, got, k, want[k], toldChanges(d), a, b)
			}
		}
		for k, o := range map[differ.Kind]differ.Kind{differ.Added: differ.Removed, differ.Removed: differ.Added, differ.Changed: differ.Changed} {
			if d.Totals[k].Count != back.Totals[o].Count {
				t.Fatalf("seed %d: %d %s, and back %d", seed, d.Totals[k].Count, k, back.Totals[o].Count)
			}
			seen[k] += d.Totals[k].Count
		}
		if text, err := json.Marshal(d); err != nil || !json.Valid(text) {
			t.Fatalf("seed %d: %s %v", seed, text, err)
		}
	}
	for _, k := range differ.Kinds {
		if seen[k] == 0 {
			t.Errorf("nothing was %s", k)
		}
	}
}
