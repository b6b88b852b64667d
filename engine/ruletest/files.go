package ruletest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sockwarden/actions"
	"sockwarden/engine/catalog"
	"sockwarden/engine/recording"
	"sockwarden/engine/report"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
)

// Options say what to test, and how.
type Options struct {
	// Paths are test files, and directories whose *_test.yaml are.
	Paths []string
	// Run selects tests by their names; nil for all.
	Run *regexp.Regexp
	// Coverage asks for what no test has tried.
	Coverage bool
	// Actions and Notifiers are what rules can name.
	Actions   []actions.Plugin
	Notifiers rules.Catalog
}

// maxTestFile bounds a test file, in bytes.
const maxTestFile = 8 << 20

// decisions are those that an engine makes.
var decisions = []string{
	string(report.DecideAct), string(report.DecideObserve), string(report.DecidePending), string(report.DecideUnless), string(report.DecideProtect),
	string(report.DecideGuarded), string(report.DecideLimited), string(report.DecideBreaker), string(report.DecideCooldown), string(report.DecideShadowed),
	string(report.DecidePaused), string(report.DecideSoak), string(report.DecideCanary), string(report.DecideWindow),
}

// results are the outcomes of effects that a test can ask for.
var results = []string{
	string(actions.Gone), string(actions.FDStillHeld), string(actions.Ended), string(actions.StillRunning), string(actions.Done), string(actions.Repaired),
	string(actions.Unchanged), string(actions.Changed), string(actions.Refused), string(actions.Unsupported), string(actions.NotPermitted),
	string(actions.Timeout), string(actions.Failed),
}

// Words are what test files can say, with these actions.
func Words(plugins []actions.Plugin) rules.TestWords {
	w := rules.TestWords{Decisions: decisions, Results: results}
	for i := range plugins {
		w.Actions = append(w.Actions, plugins[i].Name)
	}
	return w
}

// find lists the test files of paths.
func find(paths []string) (files []string, err error) {
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil || !info.IsDir() {
			files = append(files, p) // reading it says what is wrong
			continue
		}
		entries, err := os.ReadDir(p)
		if err != nil {
			return nil, fmt.Errorf("tests of %s: %w", p, err)
		}
		for _, e := range entries {
			if rules.IsTestFile(e.Name()) && !strings.HasPrefix(e.Name(), ".") {
				files = append(files, filepath.Join(p, e.Name()))
			}
		}
	}
	return slices.Compact(files), nil
}

// readFile reads one test file.
func readFile(path string, w rules.TestWords) (*rules.TestFile, error) {
	refuse := func(format string, args ...any) error {
		return rules.Problems{{File: path, Message: fmt.Sprintf(format, args...)}}
	}
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxTestFile) {
		return nil, refuse("is not a file of at most %d bytes", maxTestFile)
	}
	text, err := os.ReadFile(path)
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return nil, refuse("cannot be read: %v", pe.Err)
	}
	if err != nil {
		return nil, refuse("cannot be read: %v", err)
	}
	return rules.ParseTests(path, string(text), w)
}

// file is a test file with the rules of its tests.
type file struct {
	*rules.TestFile
	programs []*rules.Program // of each of its tests
	worlds   []*scripted.World
	recorded []*recording.World // nil for a test that invents its sockets
	selects  [][][]*selected    // what each test expects of which sockets
}

// open loads the rules of each test, in a world of its own.
func (o *Options) open(f *rules.TestFile) (*file, error) {
	out := &file{TestFile: f}
	var wrong []rules.Problems
	for _, t := range f.Tests {
		err := o.add(out, t)
		if problems, ok := errors.AsType[rules.Problems](err); ok {
			wrong = append(wrong, problems)
		} else if err != nil {
			return nil, err
		}
	}
	if len(wrong) > 0 {
		return nil, rules.Join(wrong...)
	}
	return out, nil
}

// add loads the rules of one more test.
func (o *Options) add(f *file, t *rules.Test) error {
	var was *recording.World
	var err error
	if t.From != nil {
		if was, err = openRecording(f.TestFile, t.From); err != nil {
			return err
		}
	}
	w := scripted.New(t.Start)
	p, err := o.load(f.TestFile, t, w)
	if err != nil {
		return err
	}
	s, err := selections(f.TestFile, t, p)
	if err != nil {
		return err
	}
	f.programs, f.worlds, f.recorded, f.selects = append(f.programs, p), append(f.worlds, w), append(f.recorded, was), append(f.selects, s)
	return nil
}

// catalog is what the rules of a test can name.
func (o *Options) catalog(t *rules.Test, w *scripted.World) (rules.Catalog, error) {
	if t.From != nil {
		return recordedCatalog(o.Actions)
	}
	registry, err := actions.NewRegistry(w.Actions(o.Actions...)...)
	if err != nil {
		return nil, err
	}
	return catalog.New(registry), nil
}

// load reads the rules of a test.
func (o *Options) load(f *rules.TestFile, t *rules.Test, w *scripted.World) (*rules.Program, error) {
	known, err := o.catalog(t, w)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, r := range f.Rules {
		path := r.Path
		if path != rules.Builtin && !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(f.Path), path)
		}
		if _, err := os.Stat(path); path != rules.Builtin && errors.Is(err, fs.ErrNotExist) {
			return nil, rules.Problems{f.Problem(r.At, "rules: there is no %s: names are relative to this file", path)}
		}
		paths = append(paths, path)
	}
	p, _, err := rules.Load(rules.Options{
		Paths: paths, Vars: t.Vars, Sets: t.Sets, Zone: t.Zone, Shut: true, Catalog: known, Notifiers: o.Notifiers,
	})
	if usage, ok := errors.AsType[*rules.UsageError](err); ok {
		return nil, rules.Problems{f.Problem(t.VarsAt, "%s", strings.TrimPrefix(usage.Message, "--var: "))}
	}
	if err != nil {
		return nil, err
	}
	for name := range t.Sets {
		if _, ok := p.Sets[name]; !ok {
			return nil, rules.Problems{f.Problem(t.SetsAt, "no rules file has a set %q", name)}
		}
	}
	return p, nil
}
