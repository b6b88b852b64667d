package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// speaking are the functions whose texts people read; told are the members of values
// whose texts they read.
var (
	speaking = regexp.MustCompile(`^(Errorf|New|usagef|Fprintf?|Fprintln|Sprintf|Changedf|set|Info|Warn|Error|Join|problem|errorf|warnf|spares|fail|add)$`)
	told     = []string{"Short", "Long", "Summary", "Doc", "Meaning", "Unknown", "GoOn", "Cure", "Detail", "Why", "Reason", "Hint"}
)

// clumsy are wordings that people had to read twice.
var clumsy = regexp.MustCompile(`\(s\)|\bit is (looked|waited|asked)\b|\bis not to be\b|\bthere are slack\b|\bthe the\b`)

// printable keeps a sentence on one line.
var printable = strings.NewReplacer("\n", `\n`, "\t", `\t`, "\x00", `\0`)

// TestSentences collects every text that the program can print in one file, to be read in
// one sitting: a review shows each change of words, in its place.
func TestSentences(t *testing.T) {
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || slices.Contains([]string{"testdata", "examples", "socklab", "actiontest", "langtest", "scripted"}, d.Name())) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, s := range sentences(file) {
			all = append(all, filepath.Dir(name)+": "+printable.Replace(s))
		}
		return nil
	})
	if err != nil || len(all) < 500 {
		t.Fatalf("%d sentences, %v", len(all), err)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, s := range all {
		if clumsy.MatchString(s) {
			t.Errorf("clumsy: %s", s)
		}
	}
	got, golden := strings.Join(all, "\n")+"\n", "testdata/sentences.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		is, was := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for _, s := range is {
			if _, found := slices.BinarySearch(was, s); !found {
				t.Errorf("new: %s", s)
			}
		}
		t.Errorf("%s has %d sentences, the program %d: read the new ones, then UPDATE_GOLDEN=1 go test ./cmd/sockwarden -run TestSentences", golden, len(was), len(is))
	}
}

// sentences returns the texts of a file that people read.
func sentences(file *ast.File) (found []string) {
	var take func(n ast.Expr)
	take = func(n ast.Expr) {
		switch n := n.(type) {
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && strings.Count(strings.TrimSpace(s), " ") > 0 {
				found = append(found, strings.TrimSpace(s))
			}
		case *ast.BinaryExpr:
			take(n.X)
			take(n.Y)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name := ""
			switch f := n.Fun.(type) {
			case *ast.SelectorExpr:
				name = f.Sel.Name
			case *ast.Ident:
				name = f.Name
			}
			if speaking.MatchString(name) {
				for _, a := range n.Args {
					take(a)
				}
			}
		case *ast.KeyValueExpr:
			if k, ok := n.Key.(*ast.Ident); ok && slices.Contains(told, k.Name) {
				take(n.Value)
			}
		case *ast.ReturnStmt:
			for _, r := range n.Results {
				take(r)
			}
		}
		return true
	})
	return found
}
