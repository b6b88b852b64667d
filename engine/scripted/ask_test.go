package scripted_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/pause"
	"sockwarden/engine/report"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
	"sockwarden/rules/lang/langtest"
)

// bench is a judge alone, with everything that it goes by.
type bench struct {
	*stage
	looker *look.Looker
	judge  *judge.Judge
	store  *memory.Store
	dir    string
}

// bench puts a judge into the world that remembers what a state file says.
func (s *stage) bench(state string) *bench {
	s.t.Helper()
	w := s.World.World()
	_, known, err := memory.OpenState(state, false, w.Mono)
	s.must(err)
	b := &bench{stage: s, dir: s.t.TempDir()}
	kept, _, err := memory.OpenState(filepath.Join(b.dir, "kept.json"), false, w.Mono)
	s.must(err)
	log := slog.New(slog.DiscardHandler)
	b.store = &memory.Store{State: kept, Memory: known, Clock: w}
	b.looker = look.NewLooker(w, log, known, look.Options{Sources: []collectors.Plugin{s.Source()}, Events: look.EventsOff})
	b.judge = judge.New(w, log, known, b.looker, judge.Options{})
	return b
}

// decide looks and decides.
func (b *bench) decide(p *rules.Program, live bool, paused *pause.Pause) *judge.Cycle {
	b.t.Helper()
	picture, err := b.looker.Look(b.t.Context(), b.judge.Council.Wanted(p))
	b.must(err)
	c := judge.NewCycle(picture, live)
	c.Paused = paused
	b.judge.Decide(b.t.Context(), c)
	return c
}

// remembered is all that the judge knows, as text in a fixed order.
func (b *bench) remembered() string {
	b.t.Helper()
	b.must(b.store.Save())
	text, err := os.ReadFile(filepath.Join(b.dir, "kept.json"))
	b.must(err)
	parts := regexp.MustCompile(`[\[\]{}]+`).Split(string(text), -1)
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}

// randomRules writes rules with everything that can spare.
func randomRules(w langtest.Writer) string {
	condition := func() string {
		switch w.IntN(8) {
		case 0:
			return w.Condition(2).Rules
		case 1:
			return "cmdline == 'x'" // nobody knows it here
		}
		return langtest.Pick(w, "true", closeWait, hung, `state in ["CLOSE_WAIT", "ESTABLISHED"]`, "port == 80", "remote_port > 40010",
			`process == "app"`, "age > 2", "not owned", `process != "sshd"`)
	}
	var b strings.Builder
	b.WriteString(langtest.RandomDefinitions)
	fmt.Fprintf(&b, "defaults: {breaker: {count: %d}}\n", langtest.Pick(w, 1, 3, 10, 500))
	if w.IntN(3) == 0 {
		fmt.Fprintf(&b, "protect: [{name: p, when: %q}]\n", condition())
	}
	b.WriteString("rules:\n")
	for i := range 1 + w.IntN(4) {
		if w.IntN(8) == 0 {
			fmt.Fprintf(&b, "  - name: watched%d\n    when: %q\n    mode: observe\n", i, condition())
		}
		fmt.Fprintf(&b, "  - name: r%d\n    when: %q\n    then: [%s]\n", i, condition(),
			langtest.Pick(w, "destroy", "{signal: TERM}", "log", "{destroy: {udp: true}, if: 'port == 80'}", "{poke: {owners: all}}"))
		for _, key := range []string{
			fmt.Sprintf("unless: %q", condition()), "for: 5s", "mode: observe", "mode: disabled", "soak: 20s", "canary: 50%", `during: ["13:00-14:00"]`,
		} {
			if w.IntN(7) == 0 && !strings.Contains(b.String()[strings.LastIndex(b.String(), "- name"):], key[:4]) {
				b.WriteString("    " + key + "\n")
			}
		}
		if w.IntN(5) == 0 {
			b.WriteString("    group: [pid]\n    having: count > 2\n")
		}
		fmt.Fprintf(&b, "    limits: {cooldown: %s, per_cycle: %d, per_minute: %d, share: %s, max_collateral: %d}\n", langtest.Pick(w, "5m", "1s"),
			langtest.Pick(w, 1, 4, 100), langtest.Pick(w, 3, 100), langtest.Pick(w, "100%", "100%", "10%"), langtest.Pick(w, 1, 100))
	}
	return b.String()
}

// randomSockets adds some sockets of a few processes.
func (s *stage) randomSockets(w langtest.Writer) {
	s.Add(collectors.Socket{State: collectors.Listen}, time.Hour, app(7))
	for range 3 + w.IntN(20) {
		state := langtest.Pick(w, collectors.CloseWait, collectors.CloseWait, collectors.Established, collectors.LastAck)
		age := time.Duration(w.IntN(120)) * time.Second
		var owners []collectors.Owner
		for range langtest.Pick(w, 0, 1, 1, 1, 2) {
			owners = append(owners, langtest.Pick(w, app(7), app(8+len(owners)), collectors.Owner{PID: 20 + len(owners), Name: "sshd"}))
		}
		s.Add(collectors.Socket{State: state, LocalPort: langtest.Pick[uint16](w, 80, 22)}, age, owners...)
	}
}

// TestAskAgrees: for random rules and sockets, after a live engine has acted on some, the
// first gate that spares when all are asked has the decision and the reason of the
// finding; asking leaves no trace.
func TestAskAgrees(t *testing.T) {
	seen := map[report.Decision]int{}
	more := 0
	for seed := range uint64(langtest.Rounds(250)) {
		w := langtest.NewWriter(seed, 21)
		s := newStage(t, engine.Options{}, poker())
		s.randomSockets(w)
		p, state := s.file(randomRules(w)), s.state()
		s.restart(engine.Options{Live: true, StateFile: state})
		if w.IntN(2) == 0 {
			s.Outcomes["destroy"] = []scripted.Outcome{{Result: "refused"}}
			s.run(p)
		}
		s.Close()
		b := s.bench(state)
		var paused *pause.Pause
		if w.IntN(8) == 0 {
			paused = &pause.Pause{By: "anna"}
		}
		for range 3 {
			s.Advance(time.Duration(w.IntN(4)) * time.Second)
			more += b.agrees(seed, b.decide(p, w.IntN(2) == 0, paused), seen)
		}
	}
	for _, d := range []report.Decision{
		report.DecideAct, report.DecideObserve, report.DecidePending, report.DecideUnless, report.DecideProtect, report.DecideGuarded, report.DecideLimited,
		report.DecideBreaker, report.DecideCooldown, report.DecideShadowed, report.DecidePaused, report.DecideSoak, report.DecideCanary, report.DecideWindow,
	} {
		if seen[d] == 0 {
			t.Errorf("nothing was %s", d)
		}
	}
	if more == 0 {
		t.Error("no socket was spared by two gates")
	}
}

// agrees compares the answers about the cases of a cycle with the decisions, and returns
// how many cases more than one gate spares.
func (b *bench) agrees(seed uint64, c *judge.Cycle, seen map[report.Decision]int) (more int) {
	b.t.Helper()
	before, next, errs := b.remembered(), c.Report.Next, len(c.Report.Errors)
	decided := map[*look.Candidate]map[*rules.Rule]bool{}
	for _, f := range c.Cases {
		if decided[f.Candidate] == nil {
			decided[f.Candidate] = map[*rules.Rule]bool{}
		}
		decided[f.Candidate][f.Rule] = true
		seen[f.Decision]++
		was, all := *f.Finding, b.judge.Ask(b.t.Context(), c, f)
		first, n := sparing(all)
		if first.Decision != f.Decision || first.Reason != f.Reason {
			b.t.Fatalf("seed %d: %s %s: decided %s %q, but %s says %s %q\n%+v", seed, f.Rule.Name, f.Socket.State, f.Decision, f.Reason,
				first.Gate, first.Decision, first.Reason, all)
		}
		if n > 1 {
			more++
		}
		if was.Decision != f.Decision || was.Reason != f.Reason || was.Held != f.Held || was.Collateral != f.Collateral {
			b.t.Fatalf("seed %d: asking changed a finding", seed)
		}
	}
	for _, cand := range c.Candidates {
		for _, rule := range c.Program.Rules {
			if decided[cand][rule] || rule.Mode == rules.ModeDisabled {
				continue
			}
			first, n := sparing(b.judge.Ask(b.t.Context(), c, b.judge.Undecided(c, cand, rule)))
			if cand.Eval(rule.When) == rules.True && (n == 0 || first.Decision != "") {
				b.t.Fatalf("seed %d: %s decided nothing about %s, but %q says %q", seed, rule.Name, cand.Socket.State, first.Gate, first.Decision)
			}
		}
	}
	if after := b.remembered(); after != before || c.Report.Next != next || len(c.Report.Errors) != errs {
		b.t.Fatalf("seed %d: asking left a trace\n%s\n%s", seed, before, after)
	}
	return more
}

// sparing returns the first answer that spares, or DecideAct if none does, and how many
// spare.
func sparing(all []judge.Answer) (first judge.Answer, n int) {
	first.Decision = report.DecideAct
	for _, a := range all {
		if a.Spares {
			if n++; n == 1 {
				first = a
			}
		}
	}
	return first, n
}

// TestAskAll: if several gates would spare a socket, each says so, even for a socket that
// no rule takes.
func TestAskAll(t *testing.T) {
	s := newStage(t, engine.Options{})
	s.leak(2, time.Hour)
	p := s.file("protect: [{name: ssh, when: port == 80}]\n" + rule(hung, "destroy", "for: 20s", "mode: observe", "limits: {per_cycle: 1}") +
		"  - {name: other, when: port == 1, unless: state == 'CLOSE_WAIT', then: [destroy]}\n")
	b := s.bench("")
	c := b.decide(p, false, nil)
	names := func(f *judge.Case) string {
		var all []string
		for _, a := range b.judge.Ask(b.t.Context(), c, f) {
			if a.Spares {
				all = append(all, a.Gate+": "+cmp.Or(a.Reason, "?"))
			}
		}
		return strings.Join(all, "; ")
	}
	if got, want := names(c.Cases[0]), "for: r for 20s, so far 0s; mode: mode observe; protect: protect ssh"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	if got, want := names(b.judge.Undecided(c, c.Candidates[0], p.Rules[1])), "unless: unless of other; protect: protect ssh"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}
