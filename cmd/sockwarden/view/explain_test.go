package view

import (
	"encoding/json"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/explain"
	"sockwarden/engine/judge"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// explanation explains n sockets that the same part decides, with a long text and a
// hostile name in it, and one that is acted on.
func explanation(n int) *explain.Explanation {
	long := `process in ["` + strings.Repeat("long-name-", 8) + `", "other"] or port in [80, 8080, 21117]`
	decides := lang.Part{
		Op: lang.OpOr, Text: long, Value: rules.False, Names: []string{"process", "port"},
		Reads: map[string]any{"process": "evil\x1b[31m", "port": 21118.0}, Unknown: map[string]string{},
	}
	when := lang.Part{Op: lang.OpAnd, Text: "idle > 60 and " + long, Value: rules.False, Parts: []lang.Part{
		{Op: lang.OpCompare, Text: "idle > 60", Value: rules.Unknown, Names: []string{"idle"}, Unknown: map[string]string{"idle": "UDP"}},
		{Op: lang.OpCompare, Text: "retransmits < 2.5", Value: rules.True, Names: []string{"retransmits"}, Reads: map[string]any{"retransmits": 2.0}},
		decides,
	}}
	rule := &rules.Rule{
		Name: "relay", File: "/etc/sockwarden/rules.d/relay.yaml", Line: 7, When: &rules.Cond{Uses: map[string]string{"port": "1"}},
		Then: []rules.Rung{{Action: "destroy"}},
	}
	x := &explain.Explanation{Report: &engine.Report{Generation: "sha256:0123456789", Unseen: 3, UnseenNamespaces: 1}}
	group := &explain.Group{Rule: rule, Decision: explain.None, Text: long + " is false"}
	for range n {
		v, d := &explain.Verdict{Rule: rule, Decision: explain.None, Decides: &when.Parts[2], Value: rules.False}, &explain.Details{
			When: when, Part: &when.Parts[2], Cure: "true in 2h, if it stays as it is",
			Gates: []judge.Answer{
				{Gate: "for", Spares: true, Decision: engine.DecidePending, Reason: "relay for 20s, so far 0s"},
				{Gate: "guard", Decision: engine.DecideAct},
			},
		}
		s := &explain.Socket{Candidate: held(collectors.CloseWait, 21118, "evil\x1b[31m", 1874, also("sshd", 9)), Verdicts: []*explain.Verdict{v}, Main: v}
		v.Details = func() *explain.Details { return d }
		d.Owner = &s.Facts.Owners[1]
		group.Sockets, x.Sockets = append(group.Sockets, s), append(x.Sockets, s)
	}
	act := &explain.Verdict{Rule: rule, Decision: engine.DecideAct}
	act.Details = func() *explain.Details { return &explain.Details{When: lang.Part{Value: rules.True}} }
	s := &explain.Socket{Candidate: held(collectors.LastAck, 80, "web", 3), Verdicts: []*explain.Verdict{act}, Main: act}
	x.Sockets = append(x.Sockets, s)
	x.Groups = []*explain.Group{{Rule: rule, Decision: engine.DecideAct, Text: act.Text(), Sockets: []*explain.Socket{s}}, group}
	return x
}

func TestExplain(t *testing.T) {
	s := setting()
	s.Program.Vars = map[string]string{"port": "never", "por": "never", "other": "5"}
	text := shown(t, Text, func(o Out) error { return Explain(o, explanation(3), s) })
	golden(t, "explain", text)
	for line := range strings.Lines(text) {
		if w := width(strings.TrimSuffix(line, "\n")); w > widest && !strings.Contains(line, "long-name-long-name") && !strings.HasPrefix(line, "note: ") {
			t.Errorf("%d columns: %s", w, line)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("a name reaches the terminal as it is")
	}
}

// However many sockets there are, the lines are few: JSON has them all.
func TestExplainMany(t *testing.T) {
	few := shown(t, Text, func(o Out) error { return Explain(o, explanation(3), setting()) })
	many := shown(t, Text, func(o Out) error { return Explain(o, explanation(3000), setting()) })
	if strings.Count(few, "\n") != strings.Count(many, "\n") {
		t.Errorf("%d lines become %d", strings.Count(few, "\n"), strings.Count(many, "\n"))
	}
	var doc struct {
		Generation   string
		JudgedBy     string `json:"judged_by"`
		Explanations []struct {
			Rule, Verdict, Decides, Owner string
			When                          struct {
				Value string
				Parts []struct{ Unknown map[string]string }
			}
			Gates []struct {
				Gate, Reason string
				Spares       bool
			}
		}
	}
	text := shown(t, JSON, func(o Out) error { return Explain(o, explanation(30), setting()) })
	if err := json.Unmarshal([]byte(text), &doc); err != nil || len(doc.Explanations) != 31 || doc.JudgedBy != "host" {
		t.Fatalf("%v: %d explanations", err, len(doc.Explanations))
	}
	one := doc.Explanations[0]
	if one.Rule != "relay" || one.Verdict != "none" || one.When.Value != "false" || one.When.Parts[0].Unknown["idle"] != "UDP" || one.Owner != "sshd[9]" {
		t.Errorf("%+v", one)
	}
	if len(one.Gates) != 2 || !one.Gates[0].Spares || one.Gates[1].Spares || one.Gates[1].Reason != "" {
		t.Errorf("%+v", one.Gates)
	}
	lines := shown(t, Lines, func(o Out) error { return Explain(o, explanation(30), setting()) })
	if n := strings.Count(lines, "\n"); n != 31 {
		t.Errorf("%d lines", n)
	}
}
