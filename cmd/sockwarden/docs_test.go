package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"sockwarden/collectors/socklab"
)

// root is the top of the project.
const root = "../.."

var (
	buildOnce sync.Once
	binary    string
	buildErr  error
)

// envBinary holds the path of the program if an earlier test process has built it.
const envBinary = "SOCKWARDEN_BUILT"

// build makes the program once; the tests run it inside their namespaces.
func build(t *testing.T) string {
	t.Helper()
	if built := os.Getenv(envBinary); built != "" {
		return built
	}
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "sockwarden-test") //nolint:usetesting // it outlives the test that builds it
		if err != nil {
			buildErr = err
			return
		}
		binary = filepath.Join(dir, "sockwarden")
		out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
		if err != nil {
			buildErr = fmt.Errorf("go build: %w\n%s", err, out)
			return
		}
		buildErr = os.Setenv(envBinary, binary) //nolint:usetesting // for those that run apart
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return binary
}

// run runs sockwarden and returns its exit code and output.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(build(t), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func documents(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "actions/*/README.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}

// TestRuleBlocks loads and runs every block of rules in the documents.
func TestRuleBlocks(t *testing.T) {
	socklab.Need(t)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	blocks := 0
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllSubmatch(text, -1) {
			if isTestBlock(m[1]) {
				continue // TestTestBlocks runs it
			}
			blocks++
			file := filepath.Join(t.TempDir(), "rules.yaml")
			if err := os.WriteFile(file, m[1], 0o600); err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(m[1], []byte("\noverrides:")) && !bytes.Contains(m[1], []byte("\nrules:")) {
				runRules(t, doc, file, "builtin") // it changes these
				continue
			}
			runRules(t, doc, file)
		}
	}
	if blocks < 5 {
		t.Errorf("%d blocks of rules in the documents, expected at least 5", blocks)
	}
}

// isTestBlock reports whether a block of a document is a test of rules.
func isTestBlock(text []byte) bool { return regexp.MustCompile(`(?m)^tests:`).Match(text) }

// TestTestBlocks runs every test in the documents, with the rules before it; TestCookbook
// does so for those of the cookbook.
func TestTestBlocks(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	tests := 0
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		var rules []byte
		for _, m := range block.FindAllSubmatch(text, -1) {
			if filepath.Base(doc) == "cookbook.md" {
				break
			}
			if !isTestBlock(m[1]) {
				rules = m[1]
				continue
			}
			tests++
			dir := t.TempDir()
			for name, content := range map[string][]byte{"rules.yaml": rules, "rules_test.yaml": m[1]} {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if code, out, errs := run(t, "rules", "test", dir); code != exitOK {
				t.Errorf("%s: exit code %d\n%s%s\n%s", doc, code, out, errs, m[1])
			}
		}
	}
	if tests < 3 {
		t.Errorf("%d tests in the documents", tests)
	}
}

// TestExampleTests: every example has a test file, as the built-in rules have, and all
// tests pass.
func TestExampleTests(t *testing.T) {
	if code, out, errs := run(t, "rules", "test", filepath.Join(root, "examples")); code != exitOK {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	tested := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(root, "examples/*_test.yaml"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`(?m)^rules: \[(.*)\]`).FindSubmatch(text)[1:] {
			for one := range strings.SplitSeq(string(name), ", ") {
				tested[one] = true
			}
		}
	}
	for _, f := range append(exampleFiles(t), "builtin") {
		if !tested[filepath.Base(f)] {
			t.Errorf("%s has no test", f)
		}
	}
}

// exampleFiles are the rules files among the examples.
func exampleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "examples/*.yaml"))
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.yaml") })
	if err != nil || len(files) < 3 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	return files
}

// TestExamples loads and runs every example.
func TestExamples(t *testing.T) {
	socklab.Need(t)
	for _, f := range exampleFiles(t) {
		runRules(t, f, f)
	}
}

var missingProgram = regexp.MustCompile(`(?m)^warning: .* could not run .* here: .*no such file or directory( \[program-missing\])?$`)

func runRules(t *testing.T, name string, files ...string) {
	t.Helper()
	args := append([]string{"rules", "check"}, files...)
	if strings.HasPrefix(name, filepath.Join(root, "examples")) {
		args = append(args, "--strict")
	}
	code, out, errs := run(t, args...)
	// No machine has the programs that documents name.
	if code != 0 || strings.Contains(missingProgram.ReplaceAllString(out, ""), "warning") {
		t.Errorf("%s: rules check exits %d\n%s%s", name, code, out, errs)
	}
	args = []string{"audit", "--state-file", filepath.Join(t.TempDir(), "state"), "-o", "json"}
	for _, file := range files {
		args = append(args, "--rules", file)
	}
	code, out, errs = run(t, args...)
	if code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("%s: audit exits %d\n%s%s", name, code, out, errs)
	}
}

// TestGuardsHaveTests checks that the tests named in docs/safety.md exist.
func TestGuardsHaveTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/safety.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllSubmatch(text, -1)
	if len(names) < 15 {
		t.Errorf("docs/safety.md names %d tests, expected at least 15", len(names))
	}
	var files []string
	for _, rooms := range []string{"engine", "engine/*", "rules", "rules/*", "collectors/*", "actions/*", "cmd/*"} {
		found, err := filepath.Glob(filepath.Join(root, rooms, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	for _, n := range names {
		if !bytes.Contains(all, []byte("func "+string(n[1])+"(t *testing.T)")) {
			t.Errorf("docs/safety.md names %s, which does not exist", n[1])
		}
	}
}

// TestDocumentedNames checks the decisions and results that scripts see against the
// tables of docs/json.md: changing a name breaks scripts.
func TestDocumentedNames(t *testing.T) {
	read := func(file string) string {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	names := func(text string, re *regexp.Regexp) []string {
		var all []string
		for _, m := range re.FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		slices.Sort(all)
		return all
	}
	decisions, results, _ := strings.Cut(read("docs/json.md"), "| result |")
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|")
	for _, c := range []struct{ file, typ, table string }{
		{"engine/report/report.go", "Decision", decisions},
		{"actions/action.go", "Result", results},
	} {
		declared := names(read(c.file), regexp.MustCompile(`\b`+c.typ+` += "([a-z_]+)"`))
		if documented := names(c.table, row); len(declared) < 10 || !slices.Equal(declared, documented) {
			t.Errorf("%s: %v\ndocumented: %v", c.file, declared, documented)
		}
	}
}

// TestMigration runs each command of docs/migrating.md, live ones included: in the
// namespaces of the tests they find nothing to act on.
func TestMigration(t *testing.T) {
	socklab.Need(t)
	commands := commandsIn(t, filepath.Join(root, "docs/migrating.md"), regexp.MustCompile("`(sockwarden [^`]*)`"))
	if len(commands) < 15 {
		t.Errorf("%d commands, expected at least 15", len(commands))
	}
	state := filepath.Join(t.TempDir(), "state")
	logFile := filepath.Join(t.TempDir(), "log")
	for _, c := range commands {
		c = strings.ReplaceAll(c, "/var/log/sockwarden.log", logFile)
		args := strings.Fields(c)[1:]
		if args[0] == "audit" || args[0] == "run" {
			args = append(args, "--state-file", state)
		}
		if code, out, errs := run(t, args...); code != 0 {
			t.Errorf("%s: exits %d\n%s%s", c, code, out, errs)
		}
	}
}

// TestCronLines checks that cron, which does not look into /usr/local/bin, finds the
// programs that its lines name.
func TestCronLines(t *testing.T) {
	n := 0
	for _, file := range append(documents(t), "testdata/golden/help-run.txt") {
		for _, c := range commandsIn(t, file, regexp.MustCompile(`(?m)(\*/\d+ \* \* \* \* .*)$`)) {
			n++
			if !regexp.MustCompile(`^\*/\d+ \* \* \* \* root /usr/local/bin/sockwarden `).MatchString(c) {
				t.Errorf("%s: %s", file, c)
			}
		}
	}
	if n < 2 {
		t.Errorf("%d lines for cron", n)
	}
}

func commandsIn(t *testing.T, file string, re *regexp.Regexp) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, m := range re.FindAllSubmatch(text, -1) {
		commands = append(commands, strings.ReplaceAll(string(m[1]), "\\|", "|"))
	}
	return commands
}

// TestReadmeCommands runs the commands of README.md, except those that need a terminal or
// run for ever.
func TestReadmeCommands(t *testing.T) {
	socklab.Need(t)
	dir := t.TempDir()
	rules := "version: 1\nrules:\n  - {name: a, when: port == 1, then: [destroy]}\n"
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(`(?m)^    (?:sudo )?(?:\./)?(sockwarden [^#\n]*)`)
	runDocumented(t, dir, "README.md", re, 6)
}

// runDocumented runs the commands of a document that a pattern finds in a directory, those
// that kill without doing it. There must be some.
func runDocumented(t *testing.T, dir, doc string, re *regexp.Regexp, atLeast int) {
	t.Helper()
	ran := 0
	for _, c := range commandsIn(t, filepath.Join(root, doc), re) {
		if strings.Contains(c, "watch") {
			continue // TestSystemdUnits runs it
		}
		c = strings.Replace(strings.TrimSpace(c), " --observe 6m", "", 1) // it would take six minutes
		if strings.Contains(c, "kill") {
			c += " --dry-run"
		}
		cmd := exec.Command("sh", "-c", filepath.Dir(build(t))+"/"+c)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", c, err, out)
		}
		ran++
	}
	if ran < atLeast {
		t.Errorf("ran %d commands of %s, expected at least %d", ran, doc, atLeast)
	}
}

// TestHelpExamples parses the examples in the help of every command: the flags that they
// use exist.
func TestHelpExamples(t *testing.T) {
	top := (&app{}).root()
	flag := regexp.MustCompile(`(?:^| )-{1,2}([a-z][a-z-]*)`)
	quoted := regexp.MustCompile(`'[^']*'|--sort -\S+`)
	comment := regexp.MustCompile(`[|#>].*`)
	for _, cmd := range top.Commands() {
		if cmd.Example == "" {
			t.Errorf("%s has no examples in its help", cmd.Name())
		}
		for line := range strings.Lines(cmd.Example) {
			_, args, found := strings.Cut(comment.ReplaceAllString(line, ""), "sockwarden ")
			if !found {
				continue
			}
			target, _, err := top.Find(strings.Fields(args))
			if err != nil || target == top {
				t.Errorf("%s: example of no command: %s", cmd.Name(), line)
				continue
			}
			_ = target.InheritedFlags() // merges them into Flags
			for _, m := range flag.FindAllStringSubmatch(quoted.ReplaceAllString(args, ""), -1) {
				if target.Flags().Lookup(m[1]) == nil && (len(m[1]) > 1 || target.Flags().ShorthandLookup(m[1]) == nil) {
					t.Errorf("%s: example uses -%s, which does not exist: %s", cmd.Name(), m[1], line)
				}
			}
		}
	}
}

// TestReadmeTable checks the first output in README.md against what the program printed,
// and that every table of the documents fits 80 columns.
func TestReadmeTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?s)\n    \$ sudo sockwarden audit [^\n]*\n(    DRY RUN.*?)\n\n[A-Z]`).FindStringSubmatch(string(text))
	if block == nil {
		t.Fatal("README.md shows no audit")
	}
	want, err := os.ReadFile("testdata/golden/readme-audit.txt")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?m)^    ").ReplaceAllString(block[1], "") + "\n"
	if got := repeated(shown); got != string(want) {
		t.Errorf("README.md shows\n%s\nand the program\n%s", got, want)
	}
	for line := range strings.Lines(shown) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 && !strings.HasPrefix(line, "matched") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
