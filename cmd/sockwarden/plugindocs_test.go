package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sockwarden/actions"
)

func allActions(t testing.TB) []actions.Plugin {
	t.Helper()
	registry, err := builtinActions(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return registry.All()
}

// actionsTable is what docs/rules.md says about the actions.
func actionsTable(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	row := func(name, of, summary, needs string) {
		if _, err := os.Stat(filepath.Join(root, "actions", name, "README.md")); err != nil {
			t.Errorf("%s needs a README: %v", name, err)
		}
		fmt.Fprintf(&b, "| [%s](../actions/%s/README.md) | %s | %s | %s |\n", name, name, of, summary, needs)
	}
	b.WriteString("| action | for each | what it does | needs |\n|---|---|---|---|\n")
	for _, p := range allActions(t) {
		row(p.Name, p.Words(), p.Summary, p.NeedsText())
	}
	for _, p := range builtinNotifiers() {
		row(p.Name, "rule and cycle", "not in `then`, but under `actions`: "+p.Summary, p.Needs)
	}
	return b.String()
}

// TestActionsTable: the table in docs/rules.md is what the actions say about themselves.
func TestActionsTable(t *testing.T) {
	path := filepath.Join(root, "docs/rules.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`(?s)(\n## Actions\n\n)(\|.*?\n)(\n)`)
	m := table.FindSubmatchIndex(text)
	if m == nil {
		t.Fatal("docs/rules.md has no table of actions")
	}
	want := actionsTable(t)
	switch got := string(text[m[4]:m[5]]); {
	case got == want:
	case update:
		if err := os.WriteFile(path, []byte(string(text[:m[4]])+want+string(text[m[5]:])), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of actions in docs/rules.md differs; UPDATE_GOLDEN=1 rewrites it\n--- want\n%s\n--- got\n%s", want, got)
	}
}

// TestPrivileges: SECURITY.md names every capability that an action needs.
func TestPrivileges(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range allActions(t) {
		for _, n := range p.Needs {
			if !strings.Contains(string(text), n.Capability.Name) {
				t.Errorf("SECURITY.md does not say what %s is for, which %s needs", n.Capability.Name, p.Name)
			}
		}
	}
}
