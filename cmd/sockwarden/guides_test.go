package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sockwarden/collectors/socklab"
)

// TestCookbook: every rule of the cookbook observes, and has no warning either once it
// enforces. Those that act on nothing have no action.
func TestCookbook(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/cookbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	situations := strings.Split(string(text), "\n## ")[1:]
	if len(situations) < 20 {
		t.Errorf("%d situations", len(situations))
	}
	for _, s := range situations {
		name, _, _ := strings.Cut(s, "\n")
		block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(s)
		if block == nil || !strings.Contains(block[1], "    mode: observe") {
			t.Errorf("%s: no rule that observes", name)
			continue
		}
		enforced := block[1]
		if strings.Contains(enforced, "then:") {
			enforced = strings.Replace(enforced, "mode: observe", "mode: enforce", 1)
		}
		if ids := kindsOf(t, enforced); len(ids) > 0 {
			t.Errorf("%s: %v once it enforces\n%s", name, ids, enforced)
		}
	}
}

// TestFirstRule goes the way of docs/first-rule.md, in the playground: the rule that it
// shows is the one that is made, and each command does what the page says.
func TestFirstRule(t *testing.T) {
	socklab.Need(t)
	page, err := os.ReadFile(filepath.Join(root, "docs/first-rule.md"))
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, m := range regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(regexp.MustCompile("(?s)```.*?```").ReplaceAllString(string(page), ""), -1) {
		switch {
		case strings.HasPrefix(m[1], "go run "):
			continue
		case strings.HasPrefix(m[1], "sed -i"):
			script.WriteString("cat leak.yaml\n")
		case strings.HasPrefix(m[1], "sockwarden audit"):
			script.WriteString("until " + m[1] + " -o json | grep -q '\"observed\": 5'; do sleep 0.1; done\n")
		}
		script.WriteString(m[1] + "\n")
	}
	script.WriteString("echo AFTER\nsockwarden list --by port,state -o jsonl\nsed -i 's/loading: none/loading: observe/' leak_test.yaml\nsockwarden rules test leak_test.yaml\n")
	p := demo(t, strings.NewReader(script.String()))
	err = p.Run()
	text, after, found := strings.Cut(p.out.String(), "AFTER\n")
	if !found || err == nil || strings.Contains(after, "CLOSE_WAIT\"") {
		t.Fatalf("%v\n%s%s\n%s", err, text, p.err.String(), after)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(page))
	if block == nil || !strings.Contains(text, "\n"+block[1]) {
		t.Errorf("the rule that the page shows is not the one that is made:\n%s", text)
	}
	for _, says := range []string{"OK  1 file, 1 rule", `age > "1m" is false`, "mode observe", "observed 5", "by leak", "acted 5", "ok      seen_test.yaml"} {
		if !strings.Contains(text, says) {
			t.Errorf("no %q:\n%s\n%s", says, text, p.err.String())
		}
	}
	if !strings.Contains(after, "loading") {
		t.Errorf("the broken test names no socket:\n%s%s", after, p.err.String())
	}
}
