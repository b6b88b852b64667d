package rules

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestEmptySetFile: an empty file rejects the rules if its entries would spare something.
func TestEmptySetFile(t *testing.T) {
	const head = "version: 1\nsets: {s: {file: s.txt}, other: [80]}\nmacros: {listed: remote_addr in s}\n"
	rule := func(keys string) string { return head + "rules: [{name: r, then: [destroy], " + keys + "}]\n" }
	refused := `2:11: set "s": s.txt is empty, and % reads it: the rule would take more than before; if that is intended, add may_be_empty: true`
	for name, c := range map[string]struct{ text, by string }{
		"nobody asks it":           {rule("when: owned"), ""},
		"when":                     {rule("when: remote_addr in s"), ""},
		"macro in when":            {rule("when: listed or owned"), ""},
		"not in":                   {rule("when: remote_addr not in s"), `a negation in rule "r"`},
		"not":                      {rule("when: not (owned and remote_addr in s)"), `a negation in rule "r"`},
		"not of a macro":           {rule("when: not listed"), `a negation in rule "r"`},
		"twice negated":            {rule(`when: "not (not listed)"`), ""},
		"both ways":                {rule("when: listed and local_addr not in s"), `a negation in rule "r"`},
		"compared":                 {rule("when: listed == owned"), `a negation in rule "r"`},
		"compared with []":         {rule(`when: "owned and s != []"`), `a negation in rule "r"`},
		"unless":                   {rule("when: owned, unless: remote_addr in s"), `unless of rule "r"`},
		"not in unless":            {rule("when: owned, unless: remote_addr not in s"), `unless of rule "r"`},
		"if":                       {strings.Replace(rule("when: owned"), "[destroy]", "[{destroy: {}, if: not listed}]", 1), `a negation in rule "r"`},
		"protect":                  {head + "protect: [{name: p, when: listed}]\n", `protect "p"`},
		"disabled":                 {rule("when: not listed, mode: disabled"), ""},
		"may be empty":             {strings.Replace(rule("when: not listed"), "s.txt}", "s.txt, may_be_empty: true}", 1), ""},
		"must not":                 {strings.Replace(rule("when: not listed"), "s.txt}", "s.txt, may_be_empty: false}", 1), `a negation in rule "r"`},
		"empty in the file itself": {strings.Replace(rule("when: not listed"), "{file: s.txt}", "[]", 1), ""},
	} {
		for _, content := range []string{"", "\n", "# nothing\n \n"} {
			t.Run(name, func(t *testing.T) {
				dir := writeFiles(t, map[string]string{"rules.yaml": c.text, "s.txt": content})
				_, err := load(dir, "rules.yaml")
				if c.by == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				checkLines(t, problemLines(t, err, dir), strings.Replace(refused, "%", c.by, 1))
				// It has one entry, which is good.
				writeFile(t, filepath.Join(dir, "s.txt"), "10.0.0.1")
				if _, err := load(dir, "rules.yaml"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	checkLines(t, problems(t, "version: 1\nsets: {s: {file: /dev/null, may_be_empty: perhaps}}\n"),
		"2:11: /dev/null: is not a regular file", `2:43: may_be_empty is true or false, not "perhaps"`)
}

// TestGrown: what a younger generation adds to a set file counts for an older one where
// it makes a rule take more, and nowhere else.
func TestGrown(t *testing.T) {
	const head = "version: 1\nsets: {s: {file: s.txt, may_be_empty: true}}\nmacros: {listed: remote_addr in s}\n"
	// The record of leak has the peer 203.0.113.9.
	const peer, other = "203.0.113.9\n", "10.9.9.9\n"
	for name, c := range map[string]struct {
		keys        string
		was, now    string
		when, spare Tri // of the older one with the younger one's additions; Unknown if there is none
	}{
		"added":               {"when: remote_addr in s", other, other + peer, True, Unknown},
		"prefix":              {"when: remote_addr in s", other, "203.0.113.0/24 # all\n", True, Unknown},
		"to an empty one":     {"when: remote_addr in s", "", peer, True, Unknown},
		"by a macro":          {"when: listed and owned", other, peer, True, Unknown},
		"no whole line":       {"when: listed", other, other + strings.TrimSuffix(peer, "\n"), False, Unknown},
		"one whole line":      {"when: listed", other, peer + "10.0.0.1", True, Unknown},
		"removed":             {"when: listed", peer, other, True, Unknown},
		"not in":              {"when: remote_addr not in s", other, peer, True, Unknown},
		"twice negated":       {`when: "not (remote_addr not in s)"`, other, peer, True, Unknown},
		"both ways":           {"when: listed and not (local_addr in s)", other, peer + "10.1.2.3\n", True, Unknown},
		"compared":            {"when: listed == owned", other, peer, False, Unknown},
		"unless":              {"when: owned, unless: remote_addr in s", other, peer, True, False},
		"not in unless":       {"when: owned, unless: remote_addr not in s", other, peer, True, True},
		"of another kind":     {"when: port == 21117 or remote_addr in s", other, peer, True, Unknown},
		"another kind of set": {"when: remote_addr in s", other, "80\n", False, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeFiles(t, map[string]string{"s.txt": c.was, "rules.yaml": head + "rules: [{name: r, then: [destroy], " + c.keys + "}]\n"})
			was, err := load(dir, "rules.yaml")
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "s.txt"), c.now)
			now, err := load(dir, "rules.yaml")
			if err != nil && name != "another kind of set" {
				t.Fatal(err)
			}
			if err != nil { // with rules that accept it
				writeFile(t, filepath.Join(dir, "rules.yaml"), "version: 1\nsets: {s: {file: s.txt}}\nrules: [{name: r, then: [destroy], when: port in s}]\n")
				if now, err = load(dir, "rules.yaml"); err != nil {
					t.Fatal(err)
				}
			}
			before := was.Rules[0].When.Eval(leak())
			grown := was.Grown(now)
			if got := grown.Rules[0].When.Eval(leak()); got != c.when {
				t.Errorf("when is %s, want %s", got, c.when)
			}
			if u := grown.Rules[0].Unless; u != nil && u.Eval(leak()) != c.spare {
				t.Errorf("unless is %s, want %s", u.Eval(leak()), c.spare)
			}
			if was.Rules[0].When.Eval(leak()) != before || was.Grown(was) != was {
				t.Error("the older generation itself has changed")
			}
			if grown.Generation != was.Generation || grown.Rules[0].Fingerprint != was.Rules[0].Fingerprint {
				t.Error("it is another generation, or another rule")
			}
			if c.when == True && len(grown.NewEvaluator().Match(leak())) != 1 {
				t.Error("it is not found by its ports and states")
			}
		})
	}
}

// TestRulesAreNotTheirSets: the contents of sets are not part of a rule, but which sets
// it asks is.
func TestRulesAreNotTheirSets(t *testing.T) {
	print := func(sets, when string) string {
		return mustLoad(t, "version: 1\nsets: {"+sets+"}\nrules: [{name: r, then: [destroy], when: "+when+"}]\n").Rules[0].Fingerprint
	}
	if print("a: [1], b: [1]", "port in a") != print("a: [2], b: [1]", "port in a") {
		t.Error("another rule for another port in a set")
	}
	if print("a: [1], b: [1]", "port in a") == print("a: [1], b: [1]", "port in b") {
		t.Error("the same rule for another set")
	}
}
