package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sockwarden/engine/catalog"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// kindsOf loads the text of a rules file and returns the kinds of its problems.
func kindsOf(t *testing.T, text string) (ids []lang.ID) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	registry, err := builtinActions(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := rules.Load(rules.Options{Paths: []string{path}, Catalog: catalog.New(registry), Notifiers: notifierCatalog()})
	if err == nil {
		for _, w := range found.Warnings {
			ids = append(ids, w.ID)
		}
		return ids
	}
	problems, ok := errors.AsType[rules.Problems](err)
	if !ok {
		t.Fatal(err)
	}
	for _, p := range problems {
		ids = append(ids, p.ID)
	}
	return ids
}

// TestKinds: the bad example of each kind of problem has that problem, and the good one
// has none at all.
func TestKinds(t *testing.T) {
	for _, k := range rules.Kinds() {
		if k.Means == "" || k.Cure == "" {
			t.Errorf("%s: no explanation or no cure", k.ID)
		}
		if k.Bad == "" {
			continue
		}
		if got := kindsOf(t, k.Bad); !slices.Contains(got, k.ID) {
			t.Errorf("%s: its bad example has %v\n%s", k.ID, got, k.Bad)
		}
		if got := kindsOf(t, k.Good); len(got) > 0 {
			t.Errorf("%s: its good example has %v\n%s", k.ID, got, k.Good)
		}
	}
}

// TestKindsAreWhole: every id that the code can give has an explanation, and every
// explanation an id.
func TestKindsAreWhole(t *testing.T) {
	var declared, explained []string
	for _, path := range []string{"rules/ids.go", "rules/lang/ids.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				id, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				declared = append(declared, id)
			}
			return true
		})
	}
	for _, k := range rules.Kinds() {
		explained = append(explained, string(k.ID))
	}
	slices.Sort(declared)
	slices.Sort(explained)
	if !slices.Equal(declared, explained) {
		t.Errorf("declared:\n%v\nexplained:\n%v", declared, explained)
	}
}

// TestLintsPage: docs/lints.md says what the program says.
func TestLintsPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# What `rules check` says\n\n`UPDATE_GOLDEN=1 go test ./cmd/sockwarden -run TestLintsPage` writes this page from the text of\n" +
		"`sockwarden rules check --explain KIND`. The word in brackets after a problem is its kind. An error refuses a file; a\n" +
		"warning is about something valid that can hardly be intended, or is unwise. With `--strict` a warning fails the check,\n" +
		"too. A comment silences one warning: on its line, on the line above it, or, above a rule, in the whole rule.\n\n" +
		"    # sockwarden:ignore no-anchor whatever runs here is ours\n")
	for _, warnings := range []bool{true, false} {
		b.WriteString(map[bool]string{true: "\n## Warnings\n", false: "\n## Errors\n"}[warnings])
		for _, k := range rules.Kinds() {
			if k.Warning != warnings {
				continue
			}
			fmt.Fprintf(&b, "\n### %s\n\n%s\n\n%s\n", k.ID, k.Means, k.Cure)
			if k.Bad != "" {
				fmt.Fprintf(&b, "\n```yaml wrong\n%s```\n\n```yaml\n%s```\n", k.Bad, k.Good)
			}
		}
	}
	path := filepath.Join(root, "docs", "lints.md")
	if update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if page, err := os.ReadFile(path); err != nil || string(page) != b.String() {
		t.Errorf("%v: docs/lints.md is not what the program says; UPDATE_GOLDEN=1 rewrites it", err)
	}
}
