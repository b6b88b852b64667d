package rules

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sockwarden/rules/lang"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// testCatalog has the program's actions, as the rules see them, and one with parameters
// of every type.
func testCatalog() Catalog {
	return Catalog{
		{Name: "destroy", Params: []Param{{Name: "listen", Type: ParamBool}, {Name: "udp", Type: ParamBool}}, Bind: nothingWrong},
		{Name: "signal", Main: "signal", Params: []Param{{Name: "signal", Type: ParamString}, {Name: "owners", Type: ParamString}}, Bind: checkSignal},
		{Name: "log", Main: "level", Params: []Param{{Name: "level", Type: ParamString}}, Spares: true, Bind: nothingWrong},
		{Name: "knock", Main: "times", Params: []Param{{Name: "times", Type: ParamNumber}, {Name: "pause", Type: ParamDuration}}, Bind: nothingWrong},
		{Name: "beep", Bind: nothingWrong},
	}
}

func nothingWrong(map[string]any) (any, error) { return nil, nil } //nolint:nilnil // nothing is bound

func checkSignal(params map[string]any) (any, error) {
	switch name, _ := params["signal"].(string); {
	case name == "":
		return nil, errors.New("which signal? write {signal: TERM}")
	case !slices.Contains([]string{"TERM", "KILL", "HUP"}, name):
		return nil, fmt.Errorf("unknown signal %q: write a name such as TERM, KILL or HUP", name)
	}
	return nil, nil
}

// writeFiles writes files below a new directory, which it returns.
func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	return dir
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// load loads paths, relative to dir if there is one.
func load(dir string, paths ...string) (*Program, error) {
	opts := Options{Catalog: testCatalog()}
	for _, p := range paths {
		opts.Paths = append(opts.Paths, filepath.Join(dir, p))
	}
	p, _, err := Load(opts)
	return p, err
}

// mustLoad loads the text of one file.
func mustLoad(t testing.TB, text string) *Program {
	t.Helper()
	p, err := load(writeFiles(t, map[string]string{"rules.yaml": text}), "rules.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// problems loads the text of one file, which must be refused, and returns the problems as
// "line:col: message".
func problems(t testing.TB, text string) []string {
	t.Helper()
	dir := writeFiles(t, map[string]string{"rules.yaml": text})
	_, err := load(dir, "rules.yaml")
	return problemLines(t, err, dir)
}

// problemLines returns the problems in err, without dir.
func problemLines(t testing.TB, err error, dir string) []string {
	t.Helper()
	var list Problems
	if !errors.As(err, &list) {
		t.Fatalf("got %v (%T), want Problems", err, err)
	}
	var lines []string
	for _, p := range list {
		line := strings.ReplaceAll(p.String(), dir+"/", "")
		lines = append(lines, strings.TrimPrefix(line, "rules.yaml:"))
	}
	return lines
}

// ofKind returns the problems of the given kinds: a test is about those, whatever else
// its files lack.
func ofKind(all Problems, kinds ...lang.ID) (some Problems) {
	for _, p := range all {
		if slices.Contains(kinds, p.ID) {
			some = append(some, p)
		}
	}
	return some
}

func checkLines(t testing.TB, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// rule returns a file with one rule that has the given condition.
func ruleWith(when string) string {
	return "version: 1\nrules:\n  - name: r\n    then: [destroy]\n    when: |\n      " + strings.ReplaceAll(when, "\n", "\n      ") + "\n"
}

// shell runs a command line in a directory.
func shell(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}
