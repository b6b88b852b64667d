package rules

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors"
)

var testWords = TestWords{
	Decisions: []string{"act", "pending", "observe"}, Results: []string{"gone", "refused"}, Actions: []string{"destroy", "signal"},
}

// everyKey is a test file with every key that there is.
const everyKey = `
rules: [a.yaml, builtin]
vars: {n: 5, l: [1, 2], m: {a: 1m, b: 2}}
sets: {web: [80, 443]}
defaults: {protocol: tcp, process: app}
timezone: Europe/Vienna
start: 2026-11-26T23:00:00
interval: 30s
tests:
  - name: one
    description: what it is about
    kernel: "6.1"
    live: true
    vars: {n: 6}
    outcomes: {destroy: refused, signal TERM: [refused, gone]}
    sockets:
      a: {state: close-wait, port: 80, age: 1m30s, remote_addr: "::ffff:10.0.0.1", owner_processes: [{pid: 1}, {pid: 2, process: x}], process: x}
      b: {times: 3, state: ESTAB, session: true, hidden: true, owned: true}
    steps:
      - expect: {a: act, b: [{decision: act, count: 1}, {decision: none, count: 2}]}
        advance: 1m
        remove: [b]
        set: {a: {state: LAST_ACK}}
      - expect: [{where: port == 80, rule: r, decision: pending, reason: for, actions: [], count: 1}]
  - {name: two, defaults: {process: other}, from: x.jsonl, expect: []}
`

// TestParseTests reads all that a test file can say.
func TestParseTests(t *testing.T) {
	f, err := ParseTests("x_test.yaml", everyKey, testWords)
	if err != nil {
		t.Fatal(err)
	}
	one, two := f.Tests[0], f.Tests[1]
	if len(f.Rules) != 2 || len(one.Sockets) != 2 || one.Kernel != "6.1" || !one.Live || one.Interval != 30*time.Second || two.From.Path != "x.jsonl" {
		t.Errorf("%+v", one)
	}
	if got := one.Start.UTC(); got != time.Date(2026, 11, 26, 22, 0, 0, 0, time.UTC) {
		t.Errorf("begins %s", got)
	}
	if len(one.Vars) != 1 || one.Vars[0].Value != "6" || two.Vars[1].Value != "1,2" || two.Vars[2].Value != "a:1m,b:2" {
		t.Errorf("%+v %+v", one.Vars, two.Vars)
	}
	a := one.Sockets[0]
	if a.Given[collectors.FieldState] != "CLOSE_WAIT" || a.Given[collectors.FieldAge] != 90.0 || a.Given[collectors.FieldProtocol] != "tcp" || len(a.Owners) != 2 {
		t.Errorf("%+v", a)
	}
	s := one.Steps[0]
	if s.Advance != time.Minute || len(s.Expect) != 3 || s.Expect[1].Count != 1 || s.Remove[0].Name != "b" || s.Set[0].Name != "a" {
		t.Errorf("%+v", s)
	}
}

// TestTestDefaults: a test says more than its file, and a socket more than both.
func TestTestDefaults(t *testing.T) {
	f, err := ParseTests("x_test.yaml", `
rules: [builtin]
defaults: {state: CLOSE_WAIT, process: app, port: 80}
tests:
  - {name: one, defaults: {process: other}, sockets: {a: {port: 81}, b: {process: third}}, expect: {}}
`, testWords)
	if err != nil {
		t.Fatal(err)
	}
	a, b := f.Tests[0].Sockets[0].Given, f.Tests[0].Sockets[1].Given
	if a[collectors.FieldProcess] != "other" || a[collectors.FieldPort] != 81.0 || b[collectors.FieldProcess] != "third" || b[collectors.FieldPort] != 80.0 {
		t.Errorf("%v %v", a, b)
	}
}

const beforeTest = "rules: [builtin]\ntests:\n  - name: x\n"

// wrongTests are test files with mistakes, and what is said of them.
var wrongTests = [][2]string{
	{"", `x_test.yaml: the file is empty: it needs "rules: [..]" and "tests: [..]"`},
	{"rules: [a.yaml]\n", `no tests: write "tests:"`},
	{"tests: [{name: x, sockets: {a: {state: LISTEN}}, expect: {a: none}}]", `x_test.yaml:1:1: no rules: write "rules: [rules.yaml]"`},
	{"rules: a.yaml\ntests: []", `x_test.yaml:1:8: rules is a list, not "a.yaml": write rules: [a.yaml]`},
	{"ruels: []", `x_test.yaml:1:1: unknown key "ruels" in a test file (did you mean "rules"?)`},
	{"rules: [a.yaml]\ntests: [x]", `x_test.yaml:2:9: a test is a mapping`},
	{beforeTest, "x_test.yaml:3:5: the test expects nothing: write expect: {a: none}"},
	{beforeTest + "    expcet: {}", `x_test.yaml:4:5: unknown key "expcet" in a test (did you mean "expect"?)`},
	{beforeTest + "    expect: {a: none}", `x_test.yaml:4:14: the test has no socket "a"`},
	{beforeTest + "    sockets: {leak: {state: LISTEN}}\n    expect: {lek: none}", `x_test.yaml:5:14: the test has no socket "lek" (did you mean "leak"?)`},
	{beforeTest + "    sockets: {a: {port: 3}}\n    expect: {a: none}", "x_test.yaml:4:18: socket a needs a state: write state: CLOSE_WAIT"},
	{beforeTest + "    sockets: {a: {state: CLOSEWAIT}}\n    expect: {a: none}", `x_test.yaml:4:26: unknown state "CLOSEWAIT" (did you mean "CLOSE_WAIT"?)`},
	{beforeTest + "    sockets: {a: {state: LISTEN, prot: 3}}\n    expect: {a: none}", `x_test.yaml:4:34: a socket has no field "prot" (did you mean "port"?): rules fields lists them`},
	{beforeTest + "    sockets: {a: {state: LISTEN, port: 80000}}\n    expect: {a: none}", `x_test.yaml:4:40: port is a port up to 65535, not "80000"`},
	{beforeTest + "    sockets: {a: {state: LISTEN, port: http}}\n    expect: {a: none}", `port is a number of at least 0, not "http"`},
	{beforeTest + "    sockets: {a: {state: LISTEN, age: soon}}\n    expect: {a: none}", "x_test.yaml:4:39: age: "},
	{beforeTest + "    sockets: {a: {state: LISTEN, owned: maybe}}\n    expect: {a: none}", `owned is true or false, not "maybe"`},
	{beforeTest + "    sockets: {a: {state: LISTEN, remote_addr: 10.0.0}}\n    expect: {a: none}", `remote_addr is an address, not "10.0.0"`},
	{beforeTest + "    sockets: {a: {state: LISTEN, direction: in}}\n    expect: {a: none}", `direction is inbound or outbound, not "in"`},
	{beforeTest + "    sockets: {a: {state: LISTEN, cookie: 7}}\n    expect: {a: none}", "a test gives each socket its own cookie"},
	{beforeTest + "    sockets: {a: {state: TIME_WAIT, process: x}}\n    expect: {a: none}", "socket a cannot be: it has a process, and something says that nobody has it"},
	{beforeTest + "    sockets: {a: {state: CLOSE_WAIT, orphan: true}}\n    expect: {a: none}", "x_test.yaml:4:18: socket a cannot be: orphan: "},
	{beforeTest + "    sockets: {a: {state: LISTEN, times: 0}}\n    expect: {a: none}", "times is a whole number of at least 1"},
	{beforeTest + "    sockets: {a: {state: LISTEN, times: 100001}}\n    expect: {a: none}", "the test has 100,001 sockets, at most 100,000"},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    expect: {a: atc}", `x_test.yaml:5:17: a decision is `},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    expect: {a: {}}", "it says nothing to expect"},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    expect: {a: {action: destry}}", `unknown action "destry" (did you mean "destroy"?)`},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    expect: {a: {decision: none, actions: [destroy]}}", "decision none has no reason and no actions"},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    expect: {a: {desicion: none}}", `unknown key "desicion" in an entry of expect (did you mean "decision"?)`},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    outcomes: {destroy: rejected}\n    expect: {a: none}", `an outcome is gone or refused, not "rejected"`},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    steps: []", "the last step expects nothing"},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    steps: [{expect: {a: none}}, {advance: 1s}]", "the last step expects nothing"},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    steps: [{set: {b: {port: 1}}, expect: {a: none}}]", `the test has no socket "b" (did you mean "a"?)`},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    steps: [{set: {a: {times: 2}}, expect: {a: none}}]", "times is for sockets that appear"},
	{beforeTest + "    sockets: {a: {state: CLOSE_WAIT, process: x}}\n    steps: [{set: {a: {state: TIME_WAIT}}, expect: {a: none}}]", "x_test.yaml:5:23: socket a cannot become that: it has a process"},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    steps: [{advance: 3000d, expect: {a: none}}]", "looks, at most 20,000: advance less, or set a longer interval"},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    expect: {}\n    steps: [{expect: {a: none}}]", "a test with steps expects something in its steps"},
	{beforeTest + "    from: x.jsonl\n    sockets: {a: {state: LISTEN}}\n    expect: {}", "the sockets are those of the recording"},
	{beforeTest + "    from: x.jsonl\n    live: true\n    expect: {}", "nothing is ever done to a recording: leave out live and outcomes"},
	{beforeTest + "    from: x.jsonl\n    steps: [{remove: [], set: {}, add: {}, outcomes: {destroy: gone}, expect: {}}]", "nothing changes in a recording but the time"},
	{beforeTest + "    start: tomorrow\n    expect: {}", `start is a time as 2026-11-26T23:00:00, not "tomorrow"`},
	{beforeTest + "    timezone: Mars\n    expect: {}", `timezone "Mars" is not known`},
	{beforeTest + "    sockets: {a: {state: LISTEN}, a: {state: LISTEN}}\n    expect: {}", `duplicate key "a"`},
	{beforeTest + "    sockets: {nobody: {state: LISTEN}}\n    expect: {}", "nobody is what a test calls groups without sockets"},
	{beforeTest + "    expect: {}\n  - name: x\n    expect: {}", `test "x" is already on line 3`},
	{beforeTest + "    from: x.jsonl\n    expect: {a: none}", "x_test.yaml:5:13: sockets of a recording have no names: write a list that selects some"},
	{beforeTest + "    from: x.jsonl\n    steps: [{advance: 1s, expect: {a: none}}]", "sockets of a recording have no names"},
	{beforeTest + "    sockets: {a: {state: LISTEN}}\n    expect: {a: my-rule}", `"my-rule" is not a decision: it is none, `},
	{beforeTest + "    sockets: {a: {state: LISTEN, idle: 5 minutes}}\n    expect: {a: none}", `x_test.yaml:4:40: idle: "5 minutes" is not a time: write seconds, or units`},
	{beforeTest + "    expect: &a {}", "anchors are not supported"},
	{"rules: [\n", "a bracket or brace is not closed"},
	{"\xff\xfe", "is not UTF-8 text"},
	{"\ufeff \n", "the file is empty"},
}

// TestWrongTests: each mistake has its place, and says what to write.
func TestWrongTests(t *testing.T) {
	for _, c := range wrongTests {
		_, err := ParseTests("x_test.yaml", c[0], testWords)
		problems, ok := errors.AsType[Problems](err)
		if !ok || !strings.Contains(problems.Error(), c[1]) {
			t.Errorf("%s\n%v\nnot %s", c[0], err, c[1])
		}
		for _, p := range problems {
			if p.Omitted == 0 && p.ID == "" {
				t.Errorf("%s: no kind", p)
			}
		}
	}
}

// TestDirSkipsTests: a directory of rules leaves out test files, and refuses rules by such
// a name.
func TestDirSkipsTests(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() error {
		_, _, err := Load(Options{Paths: []string{dir}, Catalog: testCatalog()})
		return err
	}
	write("a.yaml", "version: 1\nrules: [{name: a, when: port == 80, mode: observe}]\n")
	write("a_test.yaml", "rules: [a.yaml]\ntests: [{name: x, sockets: {a: {state: LISTEN}}, expect: {a: none}}]\n")
	if err := load(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"version: 1\nrules: [{name: b, when: port == 81, mode: observe}]\n": "a_test.yaml:2:1: rules in a file that is named like a test, which is not read: give it another name",
		"version: 1\nprotect: [{name: ssh, when: port == 22}]\n":            "a_test.yaml:2:1: protect in a file that is named like a test",
		"rules: [\n": "is named like a test file, but cannot be read as one",
	} {
		write("a_test.yaml", text)
		if err := load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %s", err, want)
		}
	}
}

// FuzzParseTests: whatever a test file says, reading it ends, and a socket that was read can
// be made.
func FuzzParseTests(f *testing.F) {
	f.Add("rules: [builtin]\ntests:\n  - name: x\n    sockets: {a: {state: CLOSE_WAIT, pid: 3, age: 5m, times: 2}}\n" +
		"    steps: [{advance: 5s, set: {a: {state: LAST_ACK}}, expect: {a: {decision: act, actions: [destroy]}}}]\n")
	f.Add("rules: [a]\nvars: {a: [1], b: {c: 2}}\nsets: {s: [80..90]}\ntests: [{name: x, outcomes: {destroy: gone}, expect: [{where: port == 1, count: 3, decision: none}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := ParseTests("x_test.yaml", text, testWords)
		if err != nil {
			return
		}
		for _, one := range file.Tests {
			for _, s := range one.Sockets {
				if _, err := s.Record(); err != nil {
					t.Errorf("%s: %v", s.Name, err)
				}
			}
		}
	})
}
