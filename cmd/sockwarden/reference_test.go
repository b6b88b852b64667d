package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// TestReferencePage: docs/reference.md says what the code says.
func TestReferencePage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Reference\n\n`UPDATE_GOLDEN=1 go test ./cmd/sockwarden -run TestReferencePage` writes this page from the code: all names that a rules\n" +
		"file can have, and those that its results have. [rules.md](rules.md) explains what a rule does with them, and\n" +
		"`sockwarden rules fields`, `plugins` and `rules check --explain` print the same.\n")
	referenceFields(&b)
	referenceWords(t, &b)
	referenceStates(&b)
	referenceActions(t, &b)
	referenceDecisions(t, &b)
	referenceLints(&b)
	path := filepath.Join(root, "docs", "reference.md")
	if update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if page, err := os.ReadFile(path); err != nil || string(page) != b.String() {
		t.Errorf("%v: docs/reference.md is not what the program says; UPDATE_GOLDEN=1 rewrites it", err)
	}
}

// cell is text within a row of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func referenceFields(b *strings.Builder) {
	b.WriteString("\n## Fields\n\nA comparison with a field that is unknown is unknown, and a rule takes only what its condition is true of.\n\n" +
		"| field | type | meaning | unknown |\n|---|---|---|---|\n")
	for _, d := range collectors.AllFields() {
		typ := d.Type.String()
		if d.Unit != "" && d.Unit != "s" {
			typ += " (" + d.Unit + ")"
		}
		meaning := d.Meaning
		if len(d.Values) > 0 && d.Field != collectors.FieldState {
			meaning += ": one of " + strings.Join(d.Values, ", ")
		}
		names := "`" + strings.Join(append([]string{d.Name}, d.Aliases...), "`, `") + "`"
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", names, typ, cell(meaning), cell(d.Unknown))
	}
}

func referenceWords(t *testing.T, b *strings.Builder) {
	t.Helper()
	b.WriteString("\n## Operators and functions\n\n| name | meaning | example |\n|---|---|---|\n")
	for _, w := range lang.Words() {
		fmt.Fprintf(b, "| `%s` | %s | `%s` |\n", w.Name, cell(w.Meaning), cell(w.Example))
		if !strings.Contains(w.Example, w.Name) {
			t.Errorf("the example of %s does not use it: %s", w.Name, w.Example)
		}
	}
}

func referenceStates(b *strings.Builder) {
	b.WriteString("\n## States and sets\n\nThe spellings of ss and netstat count, too: `close-wait` is `CLOSE_WAIT`. `--state` also takes the groups.\n\n| state | in the groups |\n|---|---|\n")
	for _, name := range collectors.StateNames() {
		state, _ := collectors.ParseState(name)
		var in []string
		for _, group := range []string{"all", "connected", "synchronized", "bucket", "big"} {
			if mask, _ := collectors.ParseStates(group); mask.Has(state) {
				in = append(in, "`"+group+"`")
			}
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.Join(in, ", "))
	}
	b.WriteString("\n| built-in set | what it holds |\n|---|---|\n")
	sets := rules.BuiltinSets()
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range sets {
			if !yield(n) {
				return
			}
		}
	}) {
		fmt.Fprintf(b, "| `%s` | `%s` |\n", name, sets[name])
	}
}

func referenceActions(t *testing.T, b *strings.Builder) {
	t.Helper()
	b.WriteString("\n## Actions\n")
	for _, p := range allActions(t) {
		fmt.Fprintf(b, "\n### [%s](../actions/%s/README.md)\n\nFor each %s: %s. Needs: %s. Results: %s.\n", p.Name, p.Name, p.Words(), p.Summary, p.NeedsText(), resultsText(p.Results))
		referenceParams(b, p.Params, p.Main)
	}
	for _, p := range builtinNotifiers() {
		fmt.Fprintf(b, "\n### [%s](../actions/%s/README.md)\n\nNot in `then`, but under `actions`: %s.\n", p.Name, p.Name, p.Summary)
		referenceParams(b, p.Params, "")
	}
}

func resultsText(results []actions.Result) string {
	names := []string{"`changed`", "`not_permitted`", "`unsupported`"}
	for _, r := range results {
		names = append(names, "`"+string(r)+"`")
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func referenceParams(b *strings.Builder, params []actions.Param, mainParam string) {
	if len(params) == 0 {
		return
	}
	b.WriteString("\n| parameter | type | meaning |\n|---|---|---|\n")
	for _, p := range params {
		doc := p.Doc
		if p.Name == mainParam {
			doc += "; can stand right after the name"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", p.Name, p.Type, cell(doc))
	}
}

// referenceDecisions takes the tables of docs/json.md, which TestDocumentedNames holds
// against the code.
func referenceDecisions(t *testing.T, b *strings.Builder) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/json.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"decision", "result"} {
		table := regexp.MustCompile(`(?m)^\| ` + name + ` \|.*\n(\|.*\n)+`).Find(text)
		if table == nil {
			t.Fatalf("docs/json.md has no table of each %s", name)
		}
		fmt.Fprintf(b, "\n## %ss\n\n%s", strings.ToUpper(name[:1])+name[1:], table)
	}
}

func referenceLints(b *strings.Builder) {
	b.WriteString("\n## Problems that `rules check` finds\n\n[lints.md](lints.md) has a bad and a good example of each.\n\n| kind | severity | means |\n|---|---|---|\n")
	for _, k := range rules.Kinds() {
		first, _, _ := strings.Cut(k.Means, ". ")
		fmt.Fprintf(b, "| [%s](lints.md#%s) | %s | %s |\n", k.ID, k.ID, k.Severity(), cell(strings.TrimSuffix(strings.TrimSpace(first), ".")))
	}
}
