package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/rules/lang/langtest"
)

// patience is far more than any text within the bounds may take.
const patience = 10 * time.Second

// watchdog ends the process unless it is stopped in time: otherwise a hang would only
// slow the fuzzing down.
func watchdog(text string) *time.Timer {
	return time.AfterFunc(patience, func() { panic(fmt.Sprintf("still busy with %.200q", text)) })
}

// seedFiles calls add with the text of every rules file of testdata.
func seedFiles(f *testing.F, add func(text string)) {
	f.Helper()
	add(builtinText)
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			add(string(text))
		}
	}
}

// FuzzLoad: whatever the text of a file, it is taken, or refused with problems at places
// within it, the same each time.
func FuzzLoad(f *testing.F) {
	seedFiles(f, func(text string) {
		f.Add(text)
		f.Add("\ufeff" + strings.ReplaceAll(text, "\n", "\r\n"))
	})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		opts := Options{Paths: []string{filepath.Join(dir, "rules.yaml")}, Catalog: testCatalog()}
		writeFile(t, opts.Paths[0], text)
		defer watchdog(text).Stop()
		p, _, err := Load(opts)
		again, _, errAgain := Load(opts)
		if err != nil {
			checkFuzzProblems(t, err, errAgain)
			return
		}
		if errAgain != nil || p.Generation != again.Generation {
			t.Fatalf("another program the second time: %v", errAgain)
		}
		if c := again.Diff(p); len(c.Added)+len(c.Changed)+len(c.Removed) > 0 {
			t.Errorf("the same rules differ: %+v", c)
		}
		for _, r := range fuzzRecords() {
			p.NewEvaluator().Match(r)
			for _, rule := range p.Rules {
				rule.When.Eval(r)
			}
		}
		_ = p.Warnings.Detail()
	})
}

func checkFuzzProblems(t *testing.T, err, again error) {
	t.Helper()
	var list Problems
	if !errors.As(err, &list) || len(list) == 0 {
		t.Fatalf("got %v (%T), want Problems", err, err)
	}
	if again == nil || again.Error() != err.Error() {
		t.Fatalf("first\n%v\nthen\n%v", err, again)
	}
	for _, p := range list {
		if len([]rune(p.Message)) > maxMessage+3 {
			t.Errorf("a message of %d bytes", len(p.Message))
		}
		if p.Line < 0 || (p.Line > 0 && (p.Column < 1 || p.Column > len([]rune(p.Source))+2)) {
			t.Errorf("%s: not in its line %q", p, p.Source)
		}
		_ = p.Detail()
	}
}

// fuzzRecords are records with every field, with some, and with next to none.
func fuzzRecords() []*collectors.Record {
	bare := collectors.NewRecord(&collectors.Socket{Known: langtest.AlwaysKnown, Protocol: collectors.UDP, State: collectors.Close}, nil, nil, nil, "")
	return []*collectors.Record{leak(), without(collectors.FieldAge, collectors.FieldProcess, collectors.FieldPID), &bare}
}
