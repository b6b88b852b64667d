package lang

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	for _, pattern := range []string{"../default.yaml", "../testdata/good/*.yaml", "../testdata/bad/*.yaml"} {
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

// fuzzRecords are records with every field, with some, and with next to none.
func fuzzRecords() []*collectors.Record {
	bare := collectors.NewRecord(&collectors.Socket{Known: langtest.AlwaysKnown, Protocol: collectors.UDP, State: collectors.Close}, nil, nil, nil, "")
	return []*collectors.Record{langtest.Leak(), langtest.Without(collectors.FieldAge, collectors.FieldProcess, collectors.FieldPID), &bare}
}

// FuzzCompile: whatever the text of a condition, it compiles or is refused at a place
// within it, and a compiled one cannot fail.
func FuzzCompile(f *testing.F) {
	seedFiles(f, func(text string) {
		for line := range strings.SplitSeq(text, "\n") {
			if _, when, found := strings.Cut(line, "when: "); found {
				f.Add(strings.Trim(when, `'"`))
			}
		}
	})
	sc := scopeOf(f, langtest.Definitions)
	f.Fuzz(func(t *testing.T, text string) {
		defer watchdog(text).Stop()
		c, errs := Compile(text, sc)
		if (c == nil) != (len(errs) > 0) {
			t.Fatalf("%v and %v", c, errs)
		}
		for _, e := range errs {
			if e.From < 0 || e.From > len([]rune(text)) || e.Message == "" {
				t.Errorf("at %d of %d: %s", e.From, len([]rune(text)), e.Message)
			}
		}
		if c == nil {
			return
		}
		for _, r := range fuzzRecords() {
			if got := c.Eval(r); got != c.Eval(r) {
				t.Error("another value the second time")
			}
			tree := c.Explain(r)
			if got := c.Eval(r); got != tree.Value {
				t.Errorf("it is %v, its tree %v", got, tree.Value)
			}
			each(&tree, func(p *Part) {
				if p.Text == "" || !slices.Contains(ops, p.Op) {
					t.Errorf("%q is %q", p.Text, p.Op)
				}
				if alone, errs := Compile(p.Text, sc); alone == nil || alone.Eval(r) != p.Value {
					t.Errorf("%q is %v, alone it is another, or %v", p.Text, p.Value, errs)
				}
			})
		}
	})
}
