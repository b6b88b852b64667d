package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestFormatsOfTests: what the documents show of rules test as JSON and for CI is what it
// prints.
func TestFormatsOfTests(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"rules.yaml": `version: 1
rules:
  - name: web-leak
    when: state == "CLOSE_WAIT" and age > 60
    then: [destroy, {signal: TERM, wait: 10s}]
    limits: {max_collateral: 0}
`, "rules_test.yaml": `rules: [rules.yaml]
tests:
  - name: a leak, and a young one
    sockets:
      old: {state: CLOSE_WAIT, process: nginx, age: 61}
      young: {state: CLOSE_WAIT, process: nginx, age: 59}
    expect: {old: act, young: {rule: web-leak, decision: act}}
  - name: a connection that serves
    sockets: {a: {state: ESTABLISHED, process: nginx}}
    expect: {a: none}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	printed := func(flags ...string) string {
		exit, out, errs := run(t, append([]string{"rules", "test", filepath.Join(dir, "rules_test.yaml")}, flags...)...)
		if exit != exitFailed {
			t.Fatalf("exit code %d\n%s", exit, errs)
		}
		return strings.ReplaceAll(out, dir+"/", "")
	}
	page := readText(t, filepath.Join(root, "docs/testing-rules.md"))
	if xml := printed("-o", "junit"); !strings.Contains(page, "```xml\n"+xml+"```\n") {
		t.Errorf("docs/testing-rules.md does not show this:\n%s", xml)
	}
	section := regexp.MustCompile(`(?s)\n## rules test\n\n(    .*?)\n\n- `).FindStringSubmatch(readText(t, filepath.Join(root, "docs/json.md")))
	if section == nil {
		t.Fatal("docs/json.md says nothing of rules test")
	}
	var shown, is any
	if err := json.Unmarshal([]byte(section[1]), &shown); err != nil {
		t.Fatal(err)
	}
	out := printed("-o", "json", "--coverage")
	if err := json.Unmarshal([]byte(out), &is); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(shown, is) {
		t.Errorf("docs/json.md shows\n%v\nand this is printed:\n%v", shown, is)
	}
}
