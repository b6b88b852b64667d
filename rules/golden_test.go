package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sockwarden/collectors"
)

// golden compares got with the file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		writeFile(t, path, got)
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update writes it): -want +got\n%s", path, diff)
	}
}

func testdata(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/%s: %d files, %v", pattern, len(files), err)
	}
	return files
}

// TestRefusedFiles: each file of testdata/bad is refused with exactly the problems listed
// beside it, all at once.
func TestRefusedFiles(t *testing.T) {
	for _, path := range testdata(t, "bad/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, err := load("", path)
			list, ok := err.(Problems) //nolint:errorlint // never wrapped
			if !ok {
				t.Fatalf("got %v, want Problems", err)
			}
			golden(t, strings.TrimSuffix(path, "yaml")+"txt", list.Detail()+"\n")
			checkPlaces(t, path, list)
		})
	}
}

// checkPlaces checks that each place is in the file, in order, and only once.
func checkPlaces(t *testing.T, path string, list Problems) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i, p := range list {
		if p.File != path {
			t.Errorf("%s: in the wrong file", p)
		}
		if p.Line > len(lines) || (p.Line > 0 && (p.Column < 1 || p.Column > len([]rune(lines[p.Line-1]))+1)) {
			t.Errorf("%s: no such place", p)
		}
		if i > 0 && (p.Line < list[i-1].Line || (p.Line == list[i-1].Line && p.Column < list[i-1].Column)) {
			t.Errorf("%s: not sorted", p)
		}
		if i > 0 && p == list[i-1] {
			t.Errorf("%s: twice", p)
		}
	}
}

// TestEveryRefusalOnce: the files with one expression for each rule report each rule at
// least once.
func TestEveryRefusalOnce(t *testing.T) {
	for _, path := range testdata(t, "bad/*.yaml") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "name: r01\n") {
			continue
		}
		_, err = load("", path)
		reported := map[int]bool{}
		for _, p := range err.(Problems) { //nolint:errorlint // never wrapped
			reported[p.Line] = true
		}
		for i, l := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(l, "    when: ") && !reported[i+1] {
				t.Errorf("%s:%d: taken: %s", path, i+1, l)
			}
		}
	}
}

// TestGoodFiles: each file of testdata/good is taken, with exactly the rules and warnings
// listed beside it.
func TestGoodFiles(t *testing.T) {
	for _, path := range testdata(t, "good/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			p, err := load("", path)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, "yaml")+"txt", describeProgram(p))
		})
	}
}

// describeProgram writes down what a program says.
func describeProgram(p *Program) string {
	var b strings.Builder
	fmt.Fprintf(&b, "netns %v\nbreaker %d %v %d\nquery %v %v info %v\n", p.NetNS, p.Breaker.Count, p.Breaker.Share, p.Breaker.ShareMin,
		p.Query.Protocols, statesIn(p.Query.States), p.Query.Fields.Meets(collectors.InfoFields()))
	for _, pr := range p.Protect {
		fmt.Fprintf(&b, "protect %s: %q\n", pr.Name, pr.When.Text)
	}
	for _, r := range p.Rules {
		fmt.Fprintf(&b, "rule %s line %d mode %s for %v limits %d %v labels %v\n  when %q\n", r.Name, r.Line, r.Mode, r.For, r.Limits.PerCycle, r.Limits.Cooldown, r.Labels, r.When.Text)
		if r.Unless != nil {
			fmt.Fprintf(&b, "  unless %q\n", r.Unless.Text)
		}
		for _, rung := range r.Then {
			fmt.Fprintf(&b, "  then %s %v wait %v", rung.Action, rung.Params, rung.Wait)
			if rung.If != nil {
				fmt.Fprintf(&b, " if %q", rung.If.Text)
			}
			fmt.Fprintln(&b)
		}
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning %s\n", w.Detail())
	}
	return b.String()
}
