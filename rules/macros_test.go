package rules

import (
	"fmt"
	"strings"
	"testing"

	"sockwarden/collectors"
)

// chain is n macros, each using the one before; the first is owned.
func chain(n int, format string) string {
	var b strings.Builder
	b.WriteString("macros:\n  m0: owned\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "  m%d: %s\n", i, strings.ReplaceAll(format, "%", fmt.Sprintf("m%d", i-1)))
	}
	return b.String()
}

func TestMacroDepth(t *testing.T) {
	const maxMacroDepth = 32
	sc := scopeOf(t, chain(maxMacroDepth, "not %"))
	if got := compiled(t, sc, fmt.Sprintf("m%d", maxMacroDepth-1)).Eval(leak()); got != False {
		t.Errorf("31 times not owned is %v", got)
	}
	// Every macro is fine by itself until one is too deep; only that one is reported.
	got := problems(t, "version: 1\n"+chain(maxMacroDepth+10, "owned and %")+"rules:\n  - {name: r, then: [destroy], when: m41}\n")
	checkLines(t, got, fmt.Sprintf("%d:18: macros are nested more than 32 deep: write some of them out", 3+maxMacroDepth))
}

// TestMacroGrowth: macros that double each other are stopped, and quickly.
func TestMacroGrowth(t *testing.T) {
	got := problems(t, "version: 1\n"+chain(30, "% or %")+"rules:\n  - {name: r, then: [destroy], when: m29}\n")
	if len(got) != 1 || !strings.HasSuffix(got[0], ": expression has more than 5000 parts with its macros expanded: use sets, or several rules") {
		t.Errorf("got %q", got)
	}
}

// TestLongExpressions tests the bounds of one expression.
func TestLongExpressions(t *testing.T) {
	const maxExpression = 8 << 10
	sc := scopeOf(t, "")
	for name, text := range map[string]string{
		"too long":    strings.Repeat("(", maxExpression) + "owned",
		"parentheses": strings.Repeat("(", maxExpression-5) + "owned",
		"brackets":    strings.Repeat("[", maxExpression),
		"signs":       strings.Repeat("-", maxExpression-1) + "1",
		"negations":   strings.Repeat("!", maxExpression-5) + "owned",
		"members":     "owned" + strings.Repeat(".a", maxExpression/2-10),
		"ors":         "owned" + strings.Repeat(" or 1", 1600),
		"regexp":      `process matches "` + strings.Repeat("(a{1000}", 900) + `"`,
	} {
		err := CheckExpr(text, nil)
		if err == nil || len(err.Error()) > 500 {
			t.Errorf("%s: %.1000v", name, err)
		}
	}
	for name, text := range map[string]string{
		"ors":         "owned" + strings.Repeat(" or owned", 900),
		"ands":        "owned" + strings.Repeat(" and owned", 800),
		"negations":   strings.Repeat("!", 4000) + "owned",
		"parentheses": strings.Repeat("(", 4000) + "owned" + strings.Repeat(")", 4000),
	} {
		if got := compiled(t, sc, text).Eval(leak()); got != True {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCheckExpr(t *testing.T) {
	if err := CheckExpr("port in rustdesk", BuiltinSets()); err != nil {
		t.Error(err)
	}
	err := CheckExpr("owned and\n  prot == 1", nil)
	checkLines(t, problemLines(t, err, ""), `expression:2:3: unknown name "prot" (did you mean "port"?)`)
	checkLines(t, problemLines(t, CheckExpr("owned and", nil), ""), "expression:1:10: the condition ends too early: something is missing behind and")
	checkLines(t, problemLines(t, CheckExpr("", nil), ""), `expression:1:1: an empty condition: write one, as state == "CLOSE_WAIT" and age > 60`)
}

func TestSelection(t *testing.T) {
	p, err := NewSelection(Selection{Name: "list", Text: `state == "LISTEN"`, Mode: ModeObserve, Reads: collectors.Fields(collectors.FieldProcess)})
	if err != nil {
		t.Fatal(err)
	}
	both := []collectors.Protocol{collectors.TCP, collectors.UDP}
	want := collectors.Query{
		Protocols: both, States: collectors.Mask(collectors.Listen),
		Fields:  collectors.Fields(collectors.FieldState, collectors.FieldProtocol, collectors.FieldProcess),
		Clauses: []collectors.Clause{{Protocols: both, States: collectors.Mask(collectors.Listen)}},
	}
	if fmt.Sprint(p.Query) != fmt.Sprint(want) || !p.Reads.Has(collectors.FieldProcess) || fmt.Sprint(p.NetNS) != "[host]" {
		t.Errorf("query %v, reads %s, netns %v", p.Query, p.Reads, p.NetNS)
	}
	r := leak()
	r.Socket.State, r.Socket.Protocol = collectors.Listen, collectors.UDP
	if hits := p.NewEvaluator().Match(r); len(hits) != 1 {
		t.Errorf("a selection is about every protocol: %v", hits)
	}
	if _, err := NewSelection(Selection{Name: "list", Text: "prot == 1"}); err == nil {
		t.Error("a wrong name was taken")
	}
}
