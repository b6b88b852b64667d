package scripted_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/explain"
	"sockwarden/engine/report"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
	"sockwarden/rules/lang/langtest"
)

// explained asks about all sockets that a condition selects, by all rules.
func (s *stage) explained(p *rules.Program, selected string) *explain.Explanation {
	s.t.Helper()
	sel, err := rules.NewSelection(rules.Selection{Name: "asked", Text: selected, Mode: rules.ModeObserve})
	s.must(err)
	x, err := s.Explain(s.t.Context(), p, explain.Question{Selection: sel, Rules: p.Rules}, 0)
	s.must(err)
	return x
}

// TestExplainAgreesWithAudit: for random rules and sockets the verdicts are the findings
// of an audit at the same moment, by decision and reason; where there is no finding, some
// part is not true, or another reason is given. It writes nothing.
func TestExplainAgreesWithAudit(t *testing.T) {
	type finding struct {
		rule, reason string
		decision     report.Decision
	}
	type found map[string][]finding
	audited := func(s *stage, p *rules.Program) found {
		r, err := s.Look(t.Context(), p)
		s.must(err)
		all := found{}
		for _, f := range r.Findings {
			key := string(rune(f.Socket.Cookie))
			all[key] = append(all[key], finding{f.Rule.Name, f.Reason, f.Decision})
		}
		return all
	}
	takes, silenced, not, sockets := 0, 0, 0, 0
	for seed := range uint64(langtest.Rounds(150)) {
		w := langtest.NewWriter(seed, 22)
		s := newStage(t, engine.Options{}, poker())
		s.randomSockets(w)
		p, state := s.file(randomRules(w)), s.state()
		s.restart(engine.Options{Live: true, StateFile: state})
		s.Outcomes["destroy"] = []scripted.Outcome{{Result: "refused"}}
		s.run(p)
		s.Close()
		s.Advance(time.Duration(w.IntN(4)) * time.Second)
		kept, err := os.ReadFile(state)
		s.must(err)
		quiet := filepath.Join(t.TempDir(), "silences.json")
		if w.IntN(3) == 0 {
			s.hush(quiet, "remote_port > 40005")
		}
		dry := engine.Options{StateFile: state, ReadOnly: true, Silences: []string{quiet}}
		s.open(dry)
		before := audited(s, p)
		s.restart(dry)
		x := s.explained(p, "true")
		if after, err := os.ReadFile(state); err != nil || !bytes.Equal(kept, after) {
			t.Fatalf("seed %d: the state file was written, or %v", seed, err)
		}
		for _, one := range x.Sockets {
			var got []finding
			for _, v := range one.Verdicts {
				if v.Decision != explain.None {
					takes++
					if v.Decision == report.DecideSilenced {
						silenced++
					}
					if first, _ := sparing(v.Details().Gates); first.Decision != v.Decision || first.Reason != v.Reason {
						t.Fatalf("seed %d: %s %q, but the gates say %+v", seed, v.Decision, v.Reason, first)
					}
					got = append(got, finding{v.Rule.Name, v.Reason, v.Decision})
					continue
				}
				not++
				d := v.Details()
				if d.Part == nil && v.Reason == "" {
					t.Fatalf("seed %d: nothing says why %s does not take it", seed, v.Rule.Name)
				}
				if d.Part != nil && (d.Part.Value == rules.True || d.Part.Value != v.Value || d.Part.Text != v.Decides.Text) {
					t.Fatalf("seed %d: %s is %s and decides, in short %+v", seed, d.Part.Text, d.Part.Value, v.Decides)
				}
			}
			want := before[string(rune(one.Socket.Cookie))]
			delete(before, string(rune(one.Socket.Cookie)))
			if len(got) != len(want) {
				t.Fatalf("seed %d: %v, audit %v", seed, got, want)
			}
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("seed %d: %v, audit %v", seed, got[i], want[i])
				}
			}
		}
		if len(before) > 0 {
			t.Fatalf("seed %d: audit finds what explain does not show: %v", seed, before)
		}
		sockets += len(x.Sockets)
	}
	if takes == 0 || silenced == 0 || not == 0 || sockets < langtest.Rounds(500) {
		t.Errorf("%d sockets, %d times taken, %d silenced, %d not", sockets, takes, silenced, not)
	}
}

// said is what one reads first about a socket: its rule, what decides, what would change
// that, and what else would spare it.
func said(s *explain.Socket) string {
	v := s.Main
	if v == nil {
		return "no rule"
	}
	text, d := v.Rule.Name+": "+v.Text(), v.Details()
	if d.Cure != "" {
		text += " (" + d.Cure + ")"
	}
	for _, a := range v.Besides(d) {
		text += "; " + a.Gate + " " + a.Reason
	}
	return text
}

// TestExplainSays: what decides, the values of the age in the words of docs/ages.md, and
// what would make the condition true or known.
func TestExplainSays(t *testing.T) {
	leak := func(s *stage) *scripted.Socket { return s.leak(1, 12*time.Second)[0] }
	old := func(s *stage) *scripted.Socket { return s.leak(1, time.Hour)[0] }
	established := func(s *stage) *scripted.Socket { return s.sockets(1, collectors.Established, time.Hour, 7)[0] }
	listener := func(s *stage) *scripted.Socket { return s.sockets(1, collectors.Listen, time.Hour, 7)[0] }
	guarded := func(s *stage) *scripted.Socket {
		return s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, collectors.Owner{PID: 9, Name: "sshd"})
	}
	const ripe = "age > 60 is false (true in 49s, if it stays as it is)"
	for name, test := range map[string]struct {
		file   string
		socket func(*stage) *scripted.Socket
		want   string
	}{
		"acts":       {rule(hung, "destroy"), old, "r: would act: destroy"},
		"false":      {rule(hung+" and port == 21117", "destroy"), old, "r: port == 21117 is false"},
		"young":      {rule(hung, "destroy"), leak, "r: " + ripe},
		"both false": {rule("age > 60 and port == 21117", "destroy"), leak, "r: port == 21117 is false"},
		"another":    {rule(closeWait, "destroy"), established, `r: state == "CLOSE_WAIT" is false`},
		"in a macro": {"macros: {hung: 'state == \"CLOSE_WAIT\" and age > 60'}\n" + rule("hung and port > 0", "destroy"), leak, "r: " + ripe},
		"unknown": {rule(closeWait+" and cmdline == 'x'", "destroy"), old, "r: cmdline == 'x' is unknown (cmdline is not known: " +
			collectors.FieldCmdline.Doc().Unknown + ")"},
		"protect": {
			"protect: [{name: ssh, when: port == 80}]\n" + rule(hung, "destroy", "for: 20s"), old,
			"r: for 20s still runs (20s left, if it matches until then: watch, or runs with the same state file, count); protect protect ssh",
		},
		"guard":    {rule(hung, "destroy", "mode: observe"), guarded, "r: mode observe; guard protected process sshd: needs {destroy: {protected: true}}"},
		"disabled": {rule(hung, "destroy", "mode: disabled"), old, "r: mode disabled"},
		"group":    {rule(hung, "{signal: TERM}", "group: pid", "having: count > 2"), old, "r: count > 2 is false"},
		"or":       {rule("port == 1 or port == 2", "destroy"), old, "r: port == 1 or port == 2 is false"},
		"listener": {rule("age > 60", "destroy"), listener, "r: age > 60 is unknown (one look proves no age of tcp LISTEN; " +
			"two looks prove it: --observe 1m1s, watch, or runs with the same state file); guard listener: needs {destroy: {listen: true}}"},
		"still better": {rule(hung+" and port == 1", "destroy") + "  - {name: near, when: 'age > 60 and port == 80', then: [destroy]}\n", leak, "near: " + ripe},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, engine.Options{Events: engine.EventsOff})
			test.socket(s)
			x := s.explained(s.file(test.file), "port == 80")
			if len(x.Sockets) != 1 || len(x.Groups) != 1 {
				t.Fatalf("%d sockets, %d groups", len(x.Sockets), len(x.Groups))
			}
			if got := said(x.Sockets[0]); got != test.want {
				t.Errorf("%s\nnot %s", got, test.want)
			}
		})
	}
}

// TestExplainOwner: of several owners, the one for whom the condition is not true is
// shown.
func TestExplainOwner(t *testing.T) {
	s := newStage(t, engine.Options{})
	s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, app(7), collectors.Owner{PID: 8, Name: "other"})
	d := s.explained(s.rules(`process == "app"`, "destroy"), "true").Sockets[0].Main.Details()
	if d.Owner == nil || d.Owner.PID != 8 || d.Part.Reads["process"] != "other" {
		t.Errorf("owner %v, part %+v", d.Owner, d.Part)
	}
}

// TestExplainGroups: many sockets are summed up by what decides; those that no rule is
// about come last.
func TestExplainGroups(t *testing.T) {
	s := newStage(t, engine.Options{})
	s.leak(5, time.Hour)
	s.leak(2, 12*time.Second)
	s.sockets(9, collectors.Established, time.Hour, 7)
	p := s.file(rule(hung, "destroy", "limits: {per_cycle: 3}") + "  - {name: x, when: state == 'LAST_ACK', then: [destroy]}\n")
	var got []string
	for _, g := range s.explained(p, "true").Groups {
		got = append(got, strings.Repeat("i", len(g.Sockets))+" "+g.Text)
	}
	want := "iii would act: destroy, ii limited: per_cycle 3 reached, ii age > 60 is false, iiiiiiiii no rule is about ESTABLISHED"
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("%s\nnot %s", text, want)
	}
}

// TestExplainObserves: two looks prove what one does not, and whoever does not wait for the
// second gets no half answer.
func TestExplainObserves(t *testing.T) {
	s := newStage(t, engine.Options{Events: engine.EventsOff})
	s.sockets(1, collectors.Listen, time.Hour, 7)
	p := s.rules("age > 60", "log")
	sel, err := rules.NewSelection(rules.Selection{Name: "asked", Text: "true", Mode: rules.ModeObserve})
	s.must(err)
	q := explain.Question{Selection: sel, Rules: p.Rules}
	x, err := s.Explain(t.Context(), p, q, 61*time.Second)
	s.must(err)
	if d := x.Sockets[0].Main.Decision; d != report.DecideAct {
		t.Errorf("%s: %s", d, said(x.Sockets[0]))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Explain(ctx, p, q, time.Minute); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
