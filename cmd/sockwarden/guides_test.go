package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sockwarden/collectors/socklab"
)

// TestCookbook: every rule of the cookbook observes, and has no warning either once it
// enforces. Those that act on nothing have no action. Its test has sockets that it takes and
// sockets that it must not hit, so that no part of a condition could be missing.
func TestCookbook(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/cookbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	situations := strings.Split(string(text), "\n## ")[1:]
	if len(situations) < 27 {
		t.Errorf("%d situations", len(situations))
	}
	promises := 0
	for _, s := range situations {
		name, _, _ := strings.Cut(s, "\n")
		blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(s, -1)
		if len(blocks) != 2 || !strings.Contains(blocks[0][1], "    mode: observe") || !strings.Contains(s, "Must not hit") {
			t.Errorf("%s: it needs a rule that observes, its test, and what it must not hit", name)
			continue
		}
		rule, test := blocks[0][1], blocks[1][1]
		enforced := rule
		if strings.Contains(enforced, "then:") {
			enforced = strings.Replace(enforced, "mode: observe", "mode: enforce", 1)
		}
		if ids := kindsOf(t, enforced); len(ids) > 0 {
			t.Errorf("%s: %v once it enforces\n%s", name, ids, enforced)
		}
		covers(t, name, rule, test)
		if later := onceEnforced.ReplaceAllString(test, "${1}expect: $2"); later != test {
			promises++
			if code, out, errs := testRule(t, enforced, later); code != exitOK {
				t.Errorf("%s, once it enforces: exit code %d\n%s%s", name, code, out, errs)
			}
		}
	}
	if promises < 5 {
		t.Errorf("only %d tests say what comes once the rule enforces", promises)
	}
}

// onceEnforced is how a test of the cookbook says what comes once its rule enforces.
var onceEnforced = regexp.MustCompile(`(?m)^( +)expect: .*\n +# once it enforces: (.*)$`)

// testRule runs rules test with one rules file.
func testRule(t *testing.T, rule, test string, flags ...string) (exit int, out, errs string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"rules.yaml": rule, "rules_test.yaml": test} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return run(t, append([]string{"rules", "test", dir}, flags...)...)
}

// covers checks that the test of a rule passes, that it takes a socket, and that each part
// of its conditions was once true, and once false.
func covers(t *testing.T, name, rule, test string) {
	t.Helper()
	exit, out, errs := testRule(t, rule, test, "--coverage", "-o", "json")
	var doc struct {
		Coverage struct {
			Rules, Parts struct{ Tried, All int }
		} `json:"coverage"`
	}
	if err := json.Unmarshal([]byte(out), &doc); exit != exitOK || err != nil {
		t.Errorf("%s: exit code %d, %v\n%s%s", name, exit, err, out, errs)
		return
	}
	if c := doc.Coverage; c.Rules.Tried == 0 || c.Rules.Tried != c.Rules.All || c.Parts.Tried != c.Parts.All {
		t.Errorf("%s: the test leaves something out: %d of %d rules, %d of %d parts\n%s", name, c.Rules.Tried, c.Rules.All, c.Parts.Tried, c.Parts.All, out)
	}
}

// TestErrorFormat: with the errorformat that docs/rules.md shows, and those that Vim has, it
// finds every problem: a single one, several, and warnings.
func TestErrorFormat(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/rules.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`set errorformat\^=(.*)`).FindSubmatch(page)
	if m == nil {
		t.Fatal("docs/rules.md shows no errorformat")
	}
	var formats []string
	for f := range strings.SplitSeq(strings.ReplaceAll(string(m[1]), `\ `, " ")+",%f:%l:%c:%m", ",") {
		formats = append(formats, strings.NewReplacer("%trror", "error", "%tarning", "warning", "%f", `([^ :]+)`, "%l", `(\d+)`, "%c", `(\d+)`, "%m", ".+").Replace(f))
	}
	finds := regexp.MustCompile("(?m)^(?:" + strings.Join(formats, "|") + ")$")
	for text, want := range map[string]int{
		"version: 1\nrules: [{name: a, when: prt == 1, mode: observe}]\n":                           1,
		"version: 1\nrules: [{name: a, when: prt == 1, mode: observe}, {name: b, when: 1, x: 2}]\n": 4,
		"version: 1\nvars: {x: 1}\nrules: [{name: a, when: port >= 0, then: [destroy]}]\n":          2,
	} {
		file := filepath.Join(t.TempDir(), "rules.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, out, errs := run(t, "rules", "check", file)
		found := 0
		for _, place := range finds.FindAllString(out+errs, -1) {
			if strings.Contains(place, file+":") {
				found++
			}
		}
		if found != want || strings.Count(out+errs, file+":") != want {
			t.Errorf("%d of %d problems are found\n%s%s", found, want, out, errs)
		}
	}
}

// TestGuidedTour goes the way of docs/first-rule.md, in the playground, as root and as
// somebody else: the rule that it shows is the one that is made, and each command does what
// the page says. The rule waits for a minute, and so does the test.
func TestGuidedTour(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/first-rule.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(page))
	for name, prefix := range map[string][]string{"root": nil, "nobody": nobody} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := demo(t, strings.NewReader(firstRuleScript(string(page))), prefix...)
			p.Env = append(p.Env, "HOME="+p.dir)
			if err := p.Run(); err != nil {
				if name == "nobody" && strings.Contains(p.err.String(), "this host does not let you make namespaces") {
					socklab.Lacks(t, errors.New(p.err.String()))
				}
				t.Fatalf("%v\n%s%s", err, p.out.String(), p.err.String())
			}
			rest := p.out.String()
			for _, says := range []string{
				"OK  1 file, 1 rule", `age > "1m" is false|leak: mode observe`, "mode observe", "ok      leak_test.yaml  2 tests", "ok      seen_test.yaml", "observed 5",
				"5 sockets newly acted on, 0 living", "socket hung", "expected  observe", "ok      leak_test.yaml  2 tests", "fd_still_held", "acted 5",
				`\{"count":1,"port":8080,"state":"LISTEN"[^\n]*\n[^{]*acted 0,`,
				"HOST\n", "ok      /etc/sockwarden/rules.d/leak_test.yaml  2 tests", "1 rule, generation .*, /etc/sockwarden/rules.d/leak.yaml",
			} {
				at := regexp.MustCompile(says).FindStringIndex(rest)
				if at == nil {
					t.Fatalf("no %q in the rest:\n%s\n%s%s", says, rest, p.out.String(), p.err.String())
				}
				rest = rest[at[1]:]
			}
			if block == nil || !strings.Contains(p.out.String(), "\n"+block[1]) {
				t.Errorf("the rule that the page shows is not the one that is made:\n%s", p.out.String())
			}
			p.takenAlong(t)
		})
	}
}

// firstRuleScript has the commands of the page, with what a reader does between them. What
// is for the host comes last, and is done in the playground.
func firstRuleScript(page string) string {
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, m := range regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(regexp.MustCompile("(?s)```.*?```").ReplaceAllString(page, ""), -1) {
		command := strings.TrimPrefix(m[1], "sudo ")
		switch {
		case strings.HasPrefix(command, "go "):
			continue
		case command == "exit":
			script.WriteString("sockwarden list -p 8080 --by port,state -o jsonl\nsockwarden run --live --rules leak.yaml\necho HOST\ncd /\nmount -t tmpfs none /etc\n")
			continue
		case strings.HasPrefix(command, "sockwarden record"):
			script.WriteString("cat leak.yaml\n")
		case strings.HasPrefix(command, "sockwarden audit --rules"):
			script.WriteString("until " + command + " -o json | grep -q '\"observed\": 5'; do sleep 1; done\n")
		}
		script.WriteString(command + "\n")
	}
	return script.String()
}

// takenAlong checks that the files that were copied are all that is left.
func (p *playground) takenAlong(t *testing.T) {
	t.Helper()
	for _, name := range []string{"leak.yaml", "leak_test.yaml", "leak.jsonl.zst"} {
		if err := os.Remove(filepath.Join(p.dir, name)); err != nil {
			t.Error(err)
		}
	}
	p.leavesNothing(t)
}
