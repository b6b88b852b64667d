package rules

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// TestFile is a file of tests of rules: what should become of invented sockets.
type TestFile struct {
	Path  string
	Rules []TestPath // what it tests
	Tests []*Test

	src *source
}

// TestPath is the name of a file or directory, or builtin, and where it stands.
type TestPath struct {
	Path string
	At   TestPlace
}

// TestPlace is a place in a test file: a line and a column, from 1.
type TestPlace struct{ Line, Column int }

// Problem is what is wrong at a place of the file.
func (f *TestFile) Problem(at TestPlace, format string, args ...any) Problem {
	return f.src.problem(idWrongTest, at.Line, at.Column, fmt.Sprintf(format, args...))
}

// Test is one test: sockets in an invented world, what happens there, and what is expected.
type Test struct {
	Name string
	At   TestPlace
	TestSetting
	Live     bool          // the engine acts
	Sockets  []*TestSocket // at the beginning, in the order of the file
	Outcomes TestOutcomes
	Steps    []*TestStep
	// From is the recording whose sockets are the world, nil for none.
	From *TestPath
}

// TestSetting is what a file says for all its tests, and a test for itself.
type TestSetting struct {
	Vars   []Override
	VarsAt TestPlace
	Sets   map[string]*Set // in place of those of the rules
	SetsAt TestPlace
	Zone   *time.Location
	Start  time.Time // when the test begins
	// Interval is the time from look to look.
	Interval time.Duration
	Kernel   string // version of the kernel, "" for the newest

	start    *yaml.Node // Start, before the zone is known
	defaults *TestSocket
}

// TestStep is one step of a test: time passes, then things change, then one more look.
type TestStep struct {
	At       TestPlace
	Advance  time.Duration
	Set, Add []*TestSocket
	Remove   []TestName
	Outcomes TestOutcomes
	// Expect is what should have been decided; Expects is false where the step does not say.
	Expect  []*TestExpect
	Expects bool
}

// TestName is the name of a socket of the test, and where it stands.
type TestName struct {
	Name string
	At   TestPlace
}

// TestOutcomes are the results that effects have one after the other, by an action or an
// effect ("signal TERM"). The last one repeats.
type TestOutcomes map[string][]string

// TestWords are the words of other rooms that tests can use.
type TestWords struct{ Decisions, Results, Actions []string }

const (
	testInterval = 10 * time.Second
	// maxLooks and maxTestSockets bound a test, so that a slip of the finger does not run
	// for hours.
	maxLooks       = 20_000
	maxTestSockets = 100_000
)

// testStart is when tests begin that do not say.
var testStart = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// IsTestFile reports whether a file is one of tests, by its name.
func IsTestFile(path string) bool {
	return strings.HasSuffix(path, "_test.yaml") || strings.HasSuffix(path, "_test.yml")
}

// ParseTests reads the text of a test file. The error is Problems.
func ParseTests(path, text string, words TestWords) (*TestFile, error) {
	var problems problemList
	text = strings.TrimPrefix(text, "\ufeff")
	r := &reader{src: newSource(path, text), problems: &problems}
	f := &TestFile{Path: path, src: r.src}
	if !utf8.ValidString(text) {
		r.fileProblem(idUnreadable, "is not UTF-8 text: save it as UTF-8")
		return nil, problems.all()
	}
	if strings.TrimSpace(text) == "" {
		r.fileProblem(idWrongTest, `the file is empty: it needs "rules: [..]" and "tests: [..]"`)
		return nil, problems.all()
	}
	root, ok := r.parseYAML()
	if !ok {
		return nil, problems.all()
	}
	if at := holdsRules(root); at != nil {
		r.errorf(idWrongTest, at, "this is a file of rules, not of tests: name one that says \"rules: [%s]\" and has tests", filepath.Base(path))
		return nil, problems.all()
	}
	p := &testParser{reader: r, file: f, words: words, setting: TestSetting{Zone: time.UTC, Interval: testInterval}}
	testFileKeys.fields(r, root, "a test file", p, &p.setting)
	p.tests()
	if len(f.Rules) == 0 && problems.seen == 0 {
		r.errorf(idMissing, root, "no rules: write \"rules: [rules.yaml]\", with the files to test, or builtin")
	}
	if problems.seen > 0 {
		return nil, problems.all()
	}
	return f, nil
}

// testParser reads one test file.
type testParser struct {
	*reader
	file    *TestFile
	words   TestWords
	setting TestSetting
	nodes   []*yaml.Node // of the tests
	// recorded says that the sockets of the test that is read are those of a recording.
	recorded bool
}

func placeOf(n *yaml.Node) TestPlace { return TestPlace{n.Line, n.Column} }

var testFileKeys = append(keys[*testParser, *TestSetting]{
	{name: "rules", doc: "files and directories to test, relative to this file, or builtin", form: filledList(textForm), read: func(p *testParser, _ *TestSetting, n *yaml.Node) { p.rules(n) }},
	{
		name: "tests", doc: "the tests", form: filledList(refTo("test")), read: func(p *testParser, _ *TestSetting, n *yaml.Node) {
			p.nodes = p.items(n, "tests", `"- name: ..." for each test`)
		},
	},
}, settingKeys...)

var settingKeys = keys[*testParser, *TestSetting]{
	{name: "vars", doc: "values of variables of the rules", form: namedForm(textForm, refTo("value")), read: (*testParser).vars},
	{name: "sets", doc: "lists in place of sets of the rules, whose files are then not read", form: namedForm(textForm, listForm(textForm)), read: (*testParser).sets},
	{name: "defaults", doc: "fields of every socket", form: refTo("socket"), read: func(p *testParser, s *TestSetting, n *yaml.Node) {
		s.defaults = p.socket("defaults", n, nil)
	}},
	{name: "timezone", doc: "zone of start and during; UTC if left out", form: filledForm, read: func(p *testParser, s *TestSetting, n *yaml.Node) {
		text, ok := p.text(n, "timezone")
		zone, err := time.LoadLocation(text)
		if ok && (err != nil || text == "") {
			p.errorf(lang.IDWrongValue, n, "timezone %q is not known: write it as Europe/Vienna", text)
			return
		}
		s.Zone = zone
	}},
	{name: "start", doc: "when the test begins, as 2026-11-26T23:00:00; noon of 2026-01-01 if left out", form: startForm, read: func(_ *testParser, s *TestSetting, n *yaml.Node) { s.start = n }},
	{name: "interval", doc: "time from look to look; 10s if left out", form: durationForm, read: func(p *testParser, s *TestSetting, n *yaml.Node) {
		if s.Interval = p.duration(n, "interval"); s.Interval < time.Second && p.problems.seen == 0 {
			p.errorf(lang.IDWrongValue, n, "interval is at least 1s")
		}
	}},
	{name: "kernel", doc: "version of the kernel, as 6.1; the newest if left out", form: textForm, read: func(p *testParser, s *TestSetting, n *yaml.Node) { s.Kernel, _ = p.text(n, "kernel") }},
}

var testKeys = append(keys[*testParser, *Test]{
	{name: "name", doc: "what the test shows", form: filledForm, read: func(p *testParser, t *Test, n *yaml.Node) { t.Name, _ = p.text(n, "name") }},
	{name: "description", doc: "what it is about", form: textForm, read: func(p *testParser, _ *Test, n *yaml.Node) { p.text(n, "description") }},
	{name: "live", doc: "true: the engine acts; otherwise it only says what it would do", form: boolForm, read: func(p *testParser, t *Test, n *yaml.Node) { t.Live = p.yesOrNo(n, "live") }},
	{name: "sockets", doc: "the sockets at the beginning, by names of your own", form: refTo("sockets"), read: func(*testParser, *Test, *yaml.Node) {}}, // later: they need the defaults
	{name: "outcomes", doc: "results of effects; otherwise they succeed", form: refTo("outcomes"), read: func(p *testParser, t *Test, n *yaml.Node) { t.Outcomes = p.outcomes(n) }},
	{name: "from", doc: "a recording whose sockets are in the test, relative to this file", form: textForm, read: func(p *testParser, t *Test, n *yaml.Node) {
		if text, ok := p.text(n, "from"); ok {
			t.From = &TestPath{text, placeOf(n)}
		}
	}},
	{name: "steps", doc: "what happens, and what is expected then", form: filledList(refTo("step")), read: func(*testParser, *Test, *yaml.Node) {}},
	{name: "expect", doc: "what is decided, in a test of one look", form: refTo("expect"), read: func(*testParser, *Test, *yaml.Node) {}},
}, ofTest(settingKeys)...)

// ofTest are the keys of a setting as those of a test.
func ofTest(all keys[*testParser, *TestSetting]) (own keys[*testParser, *Test]) {
	for _, k := range all {
		own = append(own, key[*testParser, *Test]{name: k.name, doc: k.doc, form: k.form, read: func(p *testParser, t *Test, n *yaml.Node) { k.read(p, &t.TestSetting, n) }})
	}
	return own
}

func (p *testParser) rules(n *yaml.Node) {
	for _, k := range p.items(n, "rules", "rules: ["+scalarOr(n, "rules.yaml")+"]") {
		if text, ok := p.text(k, "an entry of rules"); ok {
			p.file.Rules = append(p.file.Rules, TestPath{text, placeOf(k)})
		}
	}
}

func (p *testParser) sets(s *TestSetting, n *yaml.Node) {
	s.Sets, s.SetsAt = map[string]*Set{}, placeOf(n)
	entries, _ := p.entries(n, "sets")
	for _, e := range entries {
		if set := (&names{reader: p.reader}).parseElements(e.value, false); set != nil {
			s.Sets[e.key.Value] = set
		}
	}
}

func (p *testParser) vars(s *TestSetting, n *yaml.Node) {
	s.Vars, s.VarsAt = nil, placeOf(n)
	entries, _ := p.entries(n, "vars")
	for _, e := range entries {
		s.Vars = append(s.Vars, Override{Name: e.key.Value, Value: p.override(e.value)})
	}
}

// override is a value as --var takes it.
func (p *testParser) override(n *yaml.Node) string {
	var parts []string
	switch n.Kind {
	case yaml.SequenceNode:
		for _, k := range n.Content {
			text, _ := p.text(k, "an element")
			parts = append(parts, text)
		}
		return strings.Join(parts, ",")
	case yaml.MappingNode:
		entries, _ := p.entries(n, "a map")
		for _, e := range entries {
			text, _ := p.text(e.value, "a value of a map")
			parts = append(parts, e.key.Value+":"+text)
		}
		return strings.Join(parts, ",")
	default:
		text, _ := p.text(n, "a variable")
		return text
	}
}

// tests reads the tests, which take over what the file says for all.
func (p *testParser) tests() {
	names := map[string]int{}
	for _, n := range p.nodes {
		t := p.test(n)
		if t == nil {
			continue
		}
		if line, dup := names[t.Name]; dup {
			p.errorf(idDuplicateName, n, "test %q is already on line %d: give one of them another name", t.Name, line)
		}
		names[t.Name] = n.Line
		p.file.Tests = append(p.file.Tests, t)
	}
	if len(p.nodes) == 0 && p.problems.seen == 0 {
		p.fileProblem(idWrongTest, `no tests: write "tests:" and a "- name: ..." for each`)
	}
}

func (p *testParser) test(n *yaml.Node) *Test {
	t := &Test{At: placeOf(n), TestSetting: p.setting}
	testKeys.fields(p.reader, n, "a test", p, t)
	if n.Kind != yaml.MappingNode {
		return nil
	}
	if t.Name == "" {
		p.errorf(idMissing, n, "a test needs a name: write \"- name: what it shows\"")
	}
	t.Start = testStart.In(t.Zone).Add(-offset(t.Zone))
	if t.start != nil {
		t.Start = p.start(t.start, t.Zone)
	}
	if p.setting.defaults != nil && t.defaults != p.setting.defaults {
		t.defaults = t.defaults.over(p.setting.defaults)
	}
	p.sections(t, n)
	return t
}

// offset makes the usual start noon in any zone.
func offset(zone *time.Location) time.Duration {
	_, seconds := testStart.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}

// sections reads what needs the defaults of a test.
func (p *testParser) sections(t *Test, n *yaml.Node) {
	at := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		at[n.Content[i].Value] = n.Content[i+1]
	}
	known := map[string]bool{}
	p.recorded = t.From != nil
	if t.From != nil && (t.Live || t.Outcomes != nil) {
		p.errorf(idWrongTest, n, "nothing is ever done to a recording: leave out live and outcomes")
	}
	if s := at["sockets"]; s != nil {
		if t.From != nil {
			p.errorf(idWrongTest, s, "the sockets are those of the recording: leave out sockets, or from")
		}
		t.Sockets = p.sockets(s, t.defaults, known)
	}
	steps, expect := at["steps"], at["expect"]
	switch {
	case steps != nil && expect != nil:
		p.errorf(idWrongTest, expect, "a test with steps expects something in its steps: move expect into the last one")
	case steps != nil:
		p.steps(t, steps, known)
	case expect == nil:
		p.errorf(idMissing, n, "the test expects nothing: write expect: {a: none}")
	default:
		t.Steps = []*TestStep{{At: placeOf(expect), Expects: true, Expect: p.expect(expect, known)}}
	}
	p.bounds(t, n)
}

// bounds refuses tests that would take for ever.
func (p *testParser) bounds(t *Test, n *yaml.Node) {
	looks, sockets := 0, 0
	all := slices.Clone(t.Sockets)
	for _, s := range t.Steps {
		looks += 1 + int(s.Advance/max(t.Interval, time.Second))
		all = append(all, s.Add...)
	}
	for _, s := range all {
		sockets += s.Times
	}
	if looks > maxLooks {
		p.errorf(lang.IDTooLarge, n, "the test takes %s looks, at most %s: advance less, or set a longer interval", thousands(looks), thousands(maxLooks))
	}
	if sockets > maxTestSockets {
		p.errorf(lang.IDTooLarge, n, "the test has %s sockets, at most %s", thousands(sockets), thousands(maxTestSockets))
	}
}

// start reads a time of day, in the zone of the test.
func (p *testParser) start(n *yaml.Node, zone *time.Location) time.Time {
	text, ok := p.text(n, "start")
	if !ok {
		return time.Time{}
	}
	for _, form := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.RFC3339} {
		if at, err := time.ParseInLocation(form, text, zone); err == nil {
			return at
		}
	}
	p.errorf(lang.IDWrongValue, n, "start is a time as 2026-11-26T23:00:00, not %s", nodeKind(n))
	return time.Time{}
}

// outcomes reads {destroy: refused, signal TERM: [still_running, ended]}.
func (p *testParser) outcomes(n *yaml.Node) TestOutcomes {
	out := TestOutcomes{}
	entries, _ := p.entries(n, "outcomes")
	for _, e := range entries {
		p.effect(e.key, e.key.Value)
		all := []*yaml.Node{e.value}
		if e.value.Kind == yaml.SequenceNode {
			all = e.value.Content
		}
		for _, k := range all {
			out[e.key.Value] = append(out[e.key.Value], p.oneOf(k, "an outcome", p.words.Results...))
		}
		if len(all) == 0 {
			p.errorf(idMissing, e.value, "no outcome: write %s: refused", e.key.Value)
		}
	}
	return out
}

// effect checks the name of an action, or an action with its main parameter.
func (p *testParser) effect(n *yaml.Node, text string) {
	name, _, _ := strings.Cut(text, " ")
	if !slices.Contains(p.words.Actions, name) {
		p.errorf(idUnknownAction, n, "unknown action %q%s: there are %s", name, p.suggest(name, p.words.Actions), strings.Join(p.words.Actions, ", "))
	}
}
