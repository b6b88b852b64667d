package scripted_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/engine"
	"sockwarden/engine/explain"
	"sockwarden/engine/report"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
	"sockwarden/rules/lang/langtest"
)

// atOnce is the loop of an engine that runs no cycle.
func atOnce(_ context.Context, f func()) error {
	f()
	return nil
}

// asks asks an engine about all sockets that a condition selects.
func (s *stage) asks(a *engine.Asker, selected string, show func(*engine.Answer)) {
	s.t.Helper()
	sel, err := rules.NewSelection(rules.Selection{Name: "asked", Text: selected, Mode: rules.ModeObserve})
	s.must(err)
	s.must(a.Explain(s.t.Context(), atOnce, func(p *rules.Program) (explain.Question, error) {
		return explain.Question{Selection: sel, Rules: p.Rules, Nobody: selected == "true"}, nil
	}, func(x *engine.Answer) error {
		show(x)
		return nil
	}))
}

// asked says what an engine says of the only socket that a condition selects.
func (s *stage) asked(a *engine.Asker, selected string) (text string) {
	s.t.Helper()
	s.asks(a, selected, func(x *engine.Answer) {
		if len(x.Sockets) != 1 {
			s.t.Fatalf("%d sockets", len(x.Sockets))
		}
		text = said(x.Sockets[0])
	})
	return text
}

// An engine answers by what it has seen in hours, not by one look: how long a rule has
// matched, what cools down, what is spent, a pause.
func TestAskerKnowsWhatTheEngineKnows(t *testing.T) {
	pause := filepath.Join(t.TempDir(), "pause.json")
	s := newStage(t, engine.Options{}, keeper())
	s.restart(engine.Options{Live: true, PauseFiles: []string{pause}})
	s.Repeats(10 * time.Second)
	a := engine.NewAsker(s.Engine)
	defer a.Close()
	s.leak(1, time.Hour)
	if err := a.Explain(t.Context(), atOnce, nil, nil); err != engine.ErrNotYet { //nolint:errorlint // it is that one
		t.Errorf("before the first cycle: %v", err)
	}
	p := s.rules(closeWait, "keep", "for: 1h", "limits: {cooldown: 5m}")
	for range 4 {
		s.run(p)
		s.Advance(5 * time.Minute)
	}
	if got, want := s.asked(a, "port == 80"), "r: for 1h still runs (40m left, if it matches until then)"; got != want {
		t.Errorf("%s\nnot %s", got, want)
	}
	for range 9 {
		s.run(p)
		s.Advance(5 * time.Minute)
	}
	s.run(p)
	s.Advance(time.Minute)
	if got, want := s.asked(a, "port == 80"), "r: cools down"; !strings.HasPrefix(got, want) {
		t.Errorf("%s\nnot %s", got, want)
	}
	s.Advance(10 * time.Minute)
	s.pause(pause)
	if got, want := s.asked(a, "port == 80"), "r: paused "; !strings.HasPrefix(got, want) {
		t.Errorf("%s\nnot %s", got, want)
	}
}

// For random rules and sockets, an engine says of each socket what its next cycle at the
// same moment decides; and an engine that was asked does, keeps and logs the same as one
// that was not.
func TestAskingLeavesNoTrace(t *testing.T) {
	const rounds = 50
	answered, decisions := 0, map[report.Decision]int{}
	for seed := range uint64(langtest.Rounds(rounds)) {
		var traces []string
		for _, asking := range []bool{false, true} {
			w := langtest.NewWriter(seed, 23)
			s := newStage(t, engine.Options{}, poker())
			s.randomSockets(w)
			p, state := s.file(randomRules(w)), s.state()
			s.restart(engine.Options{Live: true, StateFile: state})
			s.Repeats(10 * time.Second)
			if w.IntN(2) == 0 {
				s.Outcomes["destroy"] = []scripted.Outcome{{Result: "refused"}}
			}
			a := engine.NewAsker(s.Engine)
			var trace strings.Builder
			for range 3 {
				r := s.run(p)
				for _, f := range r.Findings {
					fmt.Fprintf(&trace, "%d %s %s %q %v\n", f.Socket.Cookie, f.Rule.Name, f.Decision, f.Reason, f.Actions)
				}
				s.Advance(time.Duration(w.IntN(4)) * time.Second)
				for range 2 * len(traces) {
					s.asks(a, "true", func(x *engine.Answer) { answered += len(x.Sockets) })
				}
			}
			kept, err := os.ReadFile(state)
			s.must(err)
			fmt.Fprintf(&trace, "%s\n%v\n%s", sorted(string(kept)), s.Done, regexp.MustCompile(`(?m)^time=\S+`).ReplaceAllString(strings.Join(s.log.lines(), "\n"), ""))
			if asking {
				s.agreesWithCycle(seed, a, p, decisions)
			}
			a.Close()
			s.Close()
			traces = append(traces, trace.String())
		}
		if traces[0] != traces[1] {
			t.Fatalf("seed %d: questions left a trace\n%s\n\n%s", seed, traces[0], traces[1])
		}
	}
	for _, d := range []report.Decision{report.DecideAct, report.DecidePending, report.DecideCooldown, report.DecideGuarded, report.DecideSoak, report.DecideShadowed} {
		if decisions[d] == 0 && langtest.Rounds(rounds) == rounds { // else there are too few
			t.Errorf("nothing was %s", d)
		}
	}
	if answered < langtest.Rounds(rounds) {
		t.Errorf("only %d answers", answered)
	}
}

// agreesWithCycle compares what an engine says of each socket with what its next cycle
// decides. Two things are not the same in the next cycle: what an interval has spent is not
// spent any more, and the breaker counts calm cycles.
func (s *stage) agreesWithCycle(seed uint64, a *engine.Asker, p *rules.Program, seen map[report.Decision]int) {
	s.t.Helper()
	says, broken := map[string]string{}, false
	s.asks(a, "true", func(x *engine.Answer) {
		for _, one := range x.Sockets {
			for _, v := range one.Verdicts {
				if v.Decision != explain.None {
					says[fmt.Sprint(one.Socket.Cookie, " ", v.Rule.Name)] = fmt.Sprintf("%s %q", v.Decision, v.Reason)
					seen[v.Decision]++
				}
				broken = broken || v.Decision == report.DecideBreaker
			}
		}
	})
	r := s.run(p)
	decides := map[string]string{}
	for _, f := range r.Findings {
		decides[fmt.Sprint(f.Socket.Cookie, " ", f.Rule.Name)] = fmt.Sprintf("%s %q", f.Decision, f.Reason)
		broken = broken || f.Decision == report.DecideBreaker
	}
	if broken {
		return
	}
	if len(says) != len(decides) {
		s.t.Fatalf("seed %d: says %v, decides %v", seed, says, decides)
	}
	for key, want := range decides {
		if says[key] != want && !strings.HasPrefix(says[key], "limited \"per_cycle") {
			s.t.Fatalf("seed %d: %s: says %s, decides %s", seed, key, says[key], want)
		}
	}
}

// sorted puts the parts of a JSON text in an order that does not depend on that of maps.
func sorted(text string) string {
	parts := regexp.MustCompile(`[\[\]{}]+`).Split(text, -1)
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}
