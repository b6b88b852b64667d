package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sockwarden/cmd/sockwarden/draft"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
)

// selected makes a socket of a process, in a state since and without data for a time.
func selected(state collectors.State, name string, seconds float64) *engine.Candidate {
	s := collectors.Socket{Protocol: collectors.TCP, State: state, LocalPort: 8080, RemotePort: 40000, Inode: 7}
	s.Known = collectors.Fields(collectors.FieldProtocol, collectors.FieldState, collectors.FieldPort, collectors.FieldRemotePort, collectors.FieldOwned)
	f := collectors.Facts{Age: collectors.Age{Min: seconds, Source: collectors.AgeEvent}}
	f.Known = collectors.Fields(collectors.FieldAge, collectors.FieldProcess, collectors.FieldPID)
	if name != "" {
		f.Owners = []collectors.Owner{{Known: f.Known, PID: 9, Name: name}}
	}
	return engine.NewCandidate(&s, &collectors.Namespace{}, &f)
}

// TestMadeRulesAreClean: whatever was selected, the file loads without a warning, as
// observing and as enforcing rule, and has no line that a process chose.
func TestMadeRulesAreClean(t *testing.T) {
	names := []string{"app", "", "a b", "x: y", "# no", "' or true", "\"] or port == 22", "a\nrules: []", "\x1b[31m", "{a}", "%s", "\xff"}
	for state := range collectors.State(12) {
		if state == 0 {
			continue
		}
		for i, name := range names {
			s := draft.Selection{
				Name: "made", Made: time.Unix(0, 0), Sets: rules.BuiltinSets(), Command: []string{"sockwarden", "list", "a\nb", "it's"},
				Sockets: []*engine.Candidate{selected(state, name, float64(i*i*40)), selected(state, names[0], 4000)},
			}
			text, err := draft.Rule(&s)
			if err != nil {
				t.Errorf("%v %q: %v", state, name, err)
				continue
			}
			for _, mode := range []string{"observe", "enforce"} {
				if ids := kindsOf(t, strings.Replace(text, "mode: observe", "mode: "+mode, 1)); len(ids) > 0 {
					t.Errorf("%v %q, %s: %v\n%s", state, name, mode, ids, text)
				}
			}
			if strings.Contains(text, "\x1b") || !utf8.ValidString(text) || strings.Count(text, "\nrules:") != 1 {
				t.Errorf("%q is not kept in its line:\n%s", name, text)
			}
		}
	}
}

// TestMadeRuleTakes: the thresholds are ones that the sockets have passed, and a guess is
// said to be one.
func TestMadeRuleTakes(t *testing.T) {
	for _, c := range []struct {
		seconds float64
		age     string
	}{{7000, "1h"}, {700, "10m"}, {61, "1m"}, {31, "30s"}, {5, "1m"}} {
		text, err := draft.Rule(&draft.Selection{Name: "made", Sockets: []*engine.Candidate{
			selected(collectors.SynSent, "app", c.seconds), selected(collectors.SynSent, "app", 10*c.seconds),
		}})
		if err != nil {
			t.Fatal(err)
		}
		if when := fmt.Sprintf(`when: state == "SYN_SENT" and port == 8080 and process == "app" and age > "%s"`, c.age); !strings.Contains(text, when) {
			t.Errorf("%vs: no %s\n%s", c.seconds, when, text)
		}
		guess := strings.Contains(text, "is a guess")
		if taken := strings.Contains(text, "true of 2 of them"); taken == guess || guess != (c.seconds < 30) {
			t.Errorf("%vs: a guess %v, takes both %v\n%s", c.seconds, guess, taken, text)
		}
	}
}

// TestTidy: selectors are written as a person would, and mean the same.
func TestTidy(t *testing.T) {
	for part, want := range map[string]string{
		"(port in [80])":                      "port == 80",
		"(port in [80] or port in [82..84])":  "(port == 80 or port in [82..84])",
		`state in ["CLOSE_WAIT"]`:             `state == "CLOSE_WAIT"`,
		`state in ["CLOSE_WAIT", "LAST_ACK"]`: `state in ["CLOSE_WAIT", "LAST_ACK"]`,
		`remote_addr in ["10.0.0.0/8"]`:       `remote_addr in ["10.0.0.0/8"]`,
	} {
		if got := tidy(part); got != want {
			t.Errorf("%s: %s, want %s", part, got, want)
		}
	}
}

// TestBracketed: what binds less than "and" keeps its meaning.
func TestBracketed(t *testing.T) {
	for expr, whole := range map[string]bool{
		"port == 80": false, "port == 80 and age > 5": false, "port == 80 or port == 81": true, "port == 80 || port == 81": true, "port == 80 /* web */": false,
	} {
		got := bracketed(expr)
		if strings.HasPrefix(got, "(") != whole {
			t.Errorf("%q: %q", expr, got)
		}
		if err := rules.CheckExpr(got+" and owned", nil); err != nil {
			t.Errorf("%q: %v", got, err)
		}
	}
}

// TestMakeRuleReads: all that a rule is generalised by is looked up.
func TestMakeRuleReads(t *testing.T) {
	text, err := draft.Rule(&draft.Selection{Name: "made", Sockets: []*engine.Candidate{
		selected(collectors.CloseWait, "app", 60), selected(collectors.FinWait2, "app", 60), selected(collectors.Established, "app", 60),
	}})
	if err != nil {
		t.Fatal(err)
	}
	when := regexp.MustCompile(`(?m)^    when: (.*)$`).FindStringSubmatch(text)
	if when == nil {
		t.Fatal(text)
	}
	for f := range draft.Reads().Each {
		named := slices.Contains(regexp.MustCompile(`[a-z_]+`).FindAllString(when[1], -1), f.String())
		if !named && !slices.Contains([]collectors.Field{collectors.FieldDirection, collectors.FieldRemotePort, collectors.FieldAge, collectors.FieldOwned}, f) {
			t.Errorf("%v is looked up, and the rule does not read it: %s", f, when[1])
		}
	}
}
