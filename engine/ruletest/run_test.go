package ruletest_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sockwarden/actions"
	"sockwarden/actions/abort"
	"sockwarden/actions/destroy"
	"sockwarden/actions/exec"
	actionlog "sockwarden/actions/log"
	"sockwarden/actions/repair"
	"sockwarden/actions/restart"
	"sockwarden/actions/signal"
	"sockwarden/actions/webhook"
	"sockwarden/engine/catalog"
	"sockwarden/engine/ruletest"
	"sockwarden/rules"
)

// options are for the tests of a directory.
func options(paths ...string) ruletest.Options {
	hook := webhook.Plugin()
	return ruletest.Options{
		Paths: paths,
		Actions: []actions.Plugin{
			destroy.Plugin(), abort.Plugin(), signal.Plugin(), repair.Plugin(), restart.Plugin(), exec.Plugin(), actionlog.Plugin(slog.New(slog.DiscardHandler)),
		},
		Notifiers: rules.Catalog{{
			Name: hook.Name, Params: catalog.Params(hook.Params), Bind: func(p map[string]any) (any, error) { return hook.New(p) },
		}},
	}
}

// run runs tests of rules, both given as text.
func run(t *testing.T, rulesText, tests string) (*ruletest.Result, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"rules.yaml": "version: 1\n" + rulesText, "rules_test.yaml": "rules: [rules.yaml]\n" + tests} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ruletest.Run(t.Context(), options(dir))
}

// failures are the failures of all tests, one a line: what was expected, what came, why.
func failures(r *ruletest.Result) string {
	var lines []string
	for _, f := range r.Files {
		for _, one := range f.Tests {
			for _, x := range one.Failures {
				lines = append(lines, fmt.Sprintf("%s: %s / %s / %s", x.Socket, x.Expected, x.Got, x.Why))
			}
		}
	}
	return strings.Join(lines, "\n")
}

// passes wants all tests to pass.
func passes(t *testing.T, rulesText, tests string) {
	t.Helper()
	r, err := run(t, rulesText, tests)
	if err != nil {
		t.Fatal(err)
	}
	if text := failures(r); text != "" || r.Passed == 0 || r.Failed > 0 {
		t.Errorf("%d passed, %d failed\n%s", r.Passed, r.Failed, text)
	}
}

const hung = `
vars: {timeout: 60}
rules:
  - name: hung
    when: state == "CLOSE_WAIT" and age > timeout and port in rustdesk
    then: [destroy]
  - name: patient
    when: state == "CLOSE_WAIT" and age > 30 and port == 8080
    for: 20s
    then: [destroy, {signal: TERM, wait: 10s}]
    limits: {max_collateral: 100}
  - name: leak
    when: state == "CLOSE_WAIT"
    group: pid
    having: count > 500
    then: [{signal: TERM, wait: 10s}]
    limits: {max_collateral: 100}
`

// TestContract is the example of the documentation.
func TestContract(t *testing.T) {
	passes(t, hung, `
vars: {timeout: 60}
defaults: {protocol: tcp}
timezone: UTC
tests:
  - name: hung for a minute, destroyed
    sockets:
      a: {state: CLOSE_WAIT, port: 21118, process: hbbs, pid: 10, age: 61, idle: 61}
      b: {state: CLOSE_WAIT, port: 21118, process: hbbs, pid: 10, age: 59, idle: 61}
    expect: {a: {rule: hung, decision: act, action: destroy}, b: none}
  - name: for needs 20 seconds without a break, and a refused destroy is followed by TERM
    live: true
    sockets: {a: {state: CLOSE_WAIT, port: 8080, process: app, pid: 7, age: 90}}
    outcomes: {destroy: refused}
    steps:
      - expect: {a: pending}
      - advance: 21s
        expect: {a: {decision: act, actions: [destroy, signal TERM]}}
  - name: a count
    sockets: {a: {times: 501, state: CLOSE_WAIT, process: app, pid: 7, age: 90}}
    expect: {a: {rule: leak, decision: act}}
  - name: it comes back
    sockets: {a: {state: CLOSE_WAIT, port: 8080, process: app, pid: 7}}
    steps:
      - advance: 5s
        set: {a: {state: ESTABLISHED}}
        expect: {a: none}
`)
}

// TestFailures: a failure says what was expected, what came, and what decided.
func TestFailures(t *testing.T) {
	const a = "{state: CLOSE_WAIT, port: 21118, process: hbbs, age: 61}"
	for _, c := range []struct{ sockets, expect, want string }{
		{"a: {state: CLOSE_WAIT, port: 21118, process: hbbs, age: 59}", "a: {rule: hung, decision: act}", "a: act by hung / none / hung: age > timeout is false (age is 59s)"},
		{"a: {state: CLOSE_WAIT, port: 21118, process: hbbs}", "a: {rule: hung, decision: act}", "a: act by hung / none / hung: age > timeout is unknown (age is not given)"},
		{
			"a: {state: CLOSE_WAIT, port: 21118, process: hbbs, age: 5, age_max: 5m}", "a: {rule: hung, decision: act}",
			"a: act by hung / none / hung: age > timeout is unknown (age is between 5s and 5m)",
		},
		{"a: " + a, "a: none", "a: none / act by hung: destroy / "},
		{"a: " + a, "a: pending", "a: pending / act by hung: destroy / "},
		{"a: " + a, "a: {action: signal TERM}", "a: signal TERM / act by hung: destroy / "},
		{"a: " + a, "a: {decision: act, actions: []}", "a: act: no action / act by hung: destroy / "},
		{"a: " + a + ", b: " + a, "a: act", "b: nothing: the test does not name it / act by hung: destroy / "},
		{"a: {state: ESTABLISHED, port: 21118}", "a: act", "a: act / none / no rule is about ESTABLISHED"},
		{
			"a: {state: CLOSE_WAIT, port: 21118, age: 61}", "a: act",
			"a: act / guarded by hung (owner not visible: no process has it, it is on the way from one to another or the kernel's own: wait, or " +
				"--allow-unknown-owner) / the test does not say who has it: give process, pid, or owned: false",
		},
		{
			"a: {state: CLOSE_WAIT, port: 21118, process: sshd, age: 61}", "a: act",
			"a: act / guarded by hung (protected process sshd: needs {destroy: {protected: true}}) / ",
		},
		{"a: {times: 3, state: CLOSE_WAIT, process: app}", "a: {rule: leak, decision: act}", "a: act by leak / none (3 sockets) / leak: count > 500 is false (count is 3)"},
		{"a: {times: 3, state: CLOSE_WAIT, port: 21118, process: app, age: 61}", "a: {decision: act, count: 2}", "a: act, of 2 / 3 of 3 / "},
		{"a: {state: CLOSE_WAIT, port: 21118, process: app, age: 3}", "a: {decision: act, rule: hung, count: 1}", "a: act by hung, of 1 / 0 of 1; one of the others: none / hung: age > timeout is false (age is 3s)"},
	} {
		r, err := run(t, hung, "tests:\n  - name: x\n    sockets: {"+c.sockets+"}\n    expect: {"+c.expect+"}\n")
		if err != nil {
			t.Errorf("%s: %v", c.expect, err)
			continue
		}
		if got := failures(r); got != c.want || r.Failed != 1 {
			t.Errorf("%s, %s:\n%s\nnot\n%s", c.sockets, c.expect, got, c.want)
		}
	}
}

// TestSteps: time passes, and a watcher looks at each interval and threshold on the way.
func TestSteps(t *testing.T) {
	passes(t, `
rules:
  - name: old
    when: state == "CLOSE_WAIT" and age > 60
    then: [destroy]
    limits: {cooldown: 30s}
  - name: idle
    when: state == "ESTABLISHED" and idle > 120
    for: 30s
    then: [destroy]
`, `
tests:
  - name: a threshold between two looks is looked at
    live: true
    interval: 10m
    sockets: {a: {state: CLOSE_WAIT, process: app, age: 0}}
    steps:
      - advance: 59s
        expect: {a: none}
      - advance: 3m
        expect: {a: {decision: act, actions: [destroy]}}
  - name: refused again and again
    live: true
    sockets: {a: {state: CLOSE_WAIT, process: app, age: 90, outcomes: {destroy: [refused, refused, gone]}}}
    steps:
      - expect: {a: {decision: act, action: destroy}}
      - advance: 25s
        expect: {a: {decision: cooldown, actions: []}}
      - advance: 100s
        expect: {a: {decision: act, actions: [destroy, destroy]}}
  - name: stamps grow, and data renews them
    sockets: {a: {state: ESTABLISHED, process: app, idle: 60}}
    steps:
      - advance: 1m10s
        expect: {a: pending}
      - advance: 30s
        expect: {a: {decision: act, rule: idle}}
      - set: {a: {idle: 0}}
        expect: {a: none}
      - advance: 119s
        expect: {a: none}
      - advance: 1m
        expect: {a: act}
  - name: an age that is not given is observed from the first look on
    sockets: {a: {state: CLOSE_WAIT, process: app}}
    steps:
      - advance: 59s
        expect: {a: none}
      - advance: 12s
        expect: {a: act}
  - name: another state begins there
    sockets: {a: {state: ESTABLISHED, process: app, age: 1h}}
    steps:
      - advance: 10s
        set: {a: {state: CLOSE_WAIT}}
        expect: {a: none}
      - advance: 61s
        expect: {a: act}
  - name: sockets come and go
    sockets: {a: {state: CLOSE_WAIT, process: app, age: 61}}
    steps:
      - add: {b: {state: CLOSE_WAIT, process: app, age: 50}}
        expect: {a: act, b: none}
      - remove: [a]
        advance: 11s
        expect: {a: act, b: act}
      - advance: 11s
        expect: {a: none, b: act}
  - name: effects of steps that expect nothing count in the next that does
    live: true
    sockets: {a: {state: CLOSE_WAIT, process: app, age: 61}}
    steps:
      - advance: 1s
      - advance: 1s
        expect: {a: {decision: act, action: destroy}}
`)
}

// TestLive: effects do what they do, or what the test says.
func TestLive(t *testing.T) {
	passes(t, `
rules:
  - name: r
    when: state == "CLOSE_WAIT" and age > 60
    then: [destroy, {signal: TERM, wait: 10s, if: result != "gone"}, {signal: KILL, wait: 2s}]
    limits: {max_collateral: 100}
`, `
tests:
  - name: a process that ends takes its sockets along
    live: true
    outcomes: {destroy: refused}
    sockets:
      a: {state: CLOSE_WAIT, pid: 7, process: app, age: 61}
      b: {state: ESTABLISHED, pid: 7, process: app, age: 61}
      c: {state: ESTABLISHED, pid: 8, process: app, age: 61}
    steps:
      - expect: {a: {actions: [destroy, signal TERM]}}
      - advance: 10s
        set: {b: {state: CLOSE_WAIT}, c: {state: CLOSE_WAIT}}
        expect: {a: none, b: none, c: none}
      - advance: 61s
        expect: {c: {actions: [destroy, signal TERM]}}
  - name: of one effect, and of the one with its parameter
    live: true
    outcomes: {destroy: fd_still_held, signal: still_running, signal KILL: ended}
    sockets: {a: {state: CLOSE_WAIT, process: app, age: 61}}
    steps:
      - expect: {a: {actions: [destroy, signal TERM]}}
      - advance: 11s
        expect: {a: {actions: [signal KILL]}}
  - name: the outcome of a step
    live: true
    sockets: {a: {state: CLOSE_WAIT, process: app, age: 50}, b: {state: CLOSE_WAIT, pid: 9, age: 50, outcomes: {destroy: gone}}}
    steps:
      - outcomes: {destroy: refused}
        advance: 11s
        expect: {a: {actions: [destroy, signal]}, b: {actions: [destroy]}}
`)
}

// TestFacts: what is not given is unknown, and guards see an ordinary host.
func TestFacts(t *testing.T) {
	passes(t, `
timezone: UTC
rules:
  - {name: unowned, when: state == "FIN_WAIT2" and not owned, then: [destroy]}
  - {name: first-wait, when: state == "FIN_WAIT1", then: [destroy]}
  - {name: waits, when: unaccepted and age > 20 and listener_process == "web", then: [{signal: TERM, listener: true}]}
  - {name: in, when: direction == "inbound" and port == 99, then: [destroy]}
  - {name: moved, when: local_addr_gone and port == 98, then: [destroy]}
  - {name: night, when: port == 97, during: ["22:00-06:00"], then: [destroy]}
  - {name: stalled, when: send_stalled > 60 and port == 96, then: [destroy]}
  - {name: shared, when: 'process in ["a", "b"] and port == 95', then: [destroy]}
  - {name: named, when: container == "web" and unit == "" and port == 94, then: [destroy]}
  - {name: ns, when: netns == "blue" and port == 93, then: [destroy]}
  - {name: sig, when: port == 92 and age > 60, then: [{signal: TERM}]}
  - {name: peer, when: peer_process == "nginx" and port == 91, then: [destroy]}
  - {name: v6, when: family == "ipv6" and port == 90 and interface == "eth7", then: [destroy]}
netns: [host, blue]
`, `
tests:
  - name: owned is not known unless it is given
    sockets: {a: {state: FIN_WAIT2}, b: {state: FIN_WAIT2, owned: false}, c: {state: FIN_WAIT2, orphan: true}, d: {state: FIN_WAIT2, process: x}}
    expect: {a: none, b: act, c: act, d: none}
  - name: the kernel is the newest, or the one that is given
    sockets: {a: {state: FIN_WAIT1, owned: false}}
    expect: {a: act}
  - name: an older kernel
    kernel: "6.1"
    sockets: {a: {state: FIN_WAIT1, owned: false}}
    expect: {a: {decision: guarded, reason: "before Linux 6.11"}}
  - name: one's own session, and somebody hidden
    sockets:
      a: {state: ESTABLISHED, port: 99, direction: inbound, process: x, session: true}
      b: {state: ESTABLISHED, port: 99, direction: inbound, process: x, hidden: true}
      c: {state: ESTABLISHED, port: 99, direction: inbound, process: x}
      d: {state: ESTABLISHED, port: 99, process: x}
    expect: {a: {decision: guarded, reason: your own session}, b: guarded, c: act, d: none}
  - name: listeners of the test count
    sockets:
      l: {state: LISTEN, port: 99, process: x}
      m: {state: LISTEN, port: 80, process: web, recv_queue: 1}
      a: {state: ESTABLISHED, port: 99, process: x}
      b: {state: ESTABLISHED, port: 80, unaccepted: true, age: 30}
    expect: {a: {rule: in, decision: act}, b: {rule: waits, action: signal TERM}}
  - name: facts that only the engine finds out
    sockets:
      a: {state: ESTABLISHED, port: 98, process: x, local_addr_gone: true}
      b: {state: ESTABLISHED, port: 98, process: x}
      c: {state: ESTABLISHED, port: 98, process: x, local_addr_gone: false}
      d: {state: ESTABLISHED, port: 96, process: x, send_stalled: 61}
      e: {state: ESTABLISHED, port: 96, process: x}
      f: {state: ESTABLISHED, port: 94, process: x, container: web, unit: ""}
      g: {state: ESTABLISHED, port: 94, process: x, container: web}
      h: {state: ESTABLISHED, port: 93, process: x, netns: blue}
      i: {state: ESTABLISHED, port: 93, process: x}
      j: {state: ESTABLISHED, port: 91, process: x, peer_process: nginx}
      k: {state: ESTABLISHED, port: 91, process: x}
      l: {state: ESTABLISHED, port: 90, process: x, remote_addr: "2001:db8::7", interface: eth7}
      m: {state: ESTABLISHED, port: 90, process: x, remote_addr: "2001:db8::7", interface: eth8}
    expect: {a: act, b: none, c: none, d: act, e: none, f: act, g: none, h: act, i: none, j: act, k: none, l: act, m: none}
  - name: several processes
    sockets:
      a: {state: ESTABLISHED, port: 95, owner_processes: [{process: a}, {process: b}]}
      b: {state: ESTABLISHED, port: 95, owner_processes: [{process: a}, {process: c, pid: 3}]}
    expect: {a: act, b: none}
  - name: the time of day
    start: 2026-11-26T21:59
    sockets: {a: {state: ESTABLISHED, port: 97, process: x}}
    steps:
      - expect: {a: window}
      - advance: 2m
        expect: {a: act}
  - name: an age of one look leads to no signal
    sockets:
      a: {state: CLOSE_WAIT, port: 92, process: x, age: 61, age_source: tcp_info}
      b: {state: CLOSE_WAIT, port: 92, pid: 12, age: 61}
    steps:
      - expect: {a: pending, b: act}
      - advance: 3s
        expect: {a: act, b: act}
`)
}

// TestShut: nothing of the host is opened that a test replaces, or that sends messages.
func TestShut(t *testing.T) {
	passes(t, `
sets:
  banned: {file: /nonexistent/banned.txt}
actions:
  ops: {plugin: webhook, url_file: /nonexistent/secret}
rules:
  - {name: ban, when: remote_addr in banned, then: [{exec: /nonexistent/program}], notify: [ops]}
`, `
sets: {banned: [203.0.113.0/24]}
tests:
  - name: banned
    sockets: {a: {state: ESTABLISHED, process: x, remote_addr: 203.0.113.9}, b: {state: ESTABLISHED, process: x}}
    expect: {a: {decision: act, action: exec}, b: none}
  - name: another list
    sets: {banned: [198.51.100.1]}
    live: true
    sockets: {a: {state: ESTABLISHED, process: x, remote_addr: 203.0.113.9}, b: {state: ESTABLISHED, process: x}}
    expect: {b: {decision: act, action: exec}}
`)
}

// TestWhere: a list of conditions, each about the sockets of which it is true.
func TestWhere(t *testing.T) {
	const sockets = `
tests:
  - name: x
    sockets: {a: {times: 3, state: CLOSE_WAIT, port: 21118, process: app, age: 61}, b: {times: 2, state: CLOSE_WAIT, port: 21117, process: hbbs, age: 61}}
    expect:
`
	passes(t, hung, sockets+"      - {where: port == 21118, rule: hung, decision: act, count: 3}\n      - {where: 'process == \"hbbs\"', action: destroy}\n")
	for expect, want := range map[string]string{
		"{where: port == 21118, decision: act, count: 2}":     ": act, of 2 where port == 21118 / 3 of 3 / \nb: nothing: the test does not name it / act by hung: destroy / ",
		"{where: port > 1, decision: none}":                   "a: none where port > 1 / act by hung: destroy (5 sockets) / ",
		"{where: port == 1, decision: act}":                   ": act where port == 1 / no socket that is meant / \na: nothing: the test does not name it / act by hung: destroy / \nb: nothing: the test does not name it / act by hung: destroy / ",
		"{where: 'state == \"CLOSE_WAIT\"', decision: act}":   "",
		"{decision: act, rule: hung}":                         "",
		"{decision: act, rule: hung, count: 5, reason: soak}": ": act by hung because \"soak\", of 5 / 0 of 5; one of the others: act by hung: destroy / ",
	} {
		r, err := run(t, hung, sockets+"      - "+expect+"\n")
		if err != nil {
			t.Errorf("%s: %v", expect, err)
			continue
		}
		if got := failures(r); got != want {
			t.Errorf("%s:\n%s\nnot\n%s", expect, got, want)
		}
	}
}

// TestNobody: a rule can take a group without any socket, and what it does is not overlooked.
func TestNobody(t *testing.T) {
	const missing = `
rules:
  - {name: missing, when: state == "LISTEN" and port == 80, group: host, having: count == 0, for: 30s, then: [log]}
`
	passes(t, missing, `
tests:
  - name: nothing listens
    live: true
    sockets: {a: {state: LISTEN, port: 81, process: x}}
    steps:
      - expect: {nobody: pending}
      - advance: 31s
        expect: {nobody: {actions: [log]}}
      - add: {b: {state: LISTEN, port: 80, process: x}}
        expect: {nobody: none}
`)
	r, err := run(t, missing, "tests: [{name: x, live: true, steps: [{advance: 31s, expect: {}}]}]\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := failures(r), "nobody: nothing: the test does not name it / cooldown by missing"; !strings.HasPrefix(got, want) {
		t.Errorf("%s", got)
	}
}

// TestCoverage says what no test has tried.
func TestCoverage(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"rules.yaml": "version: 1\n" + hung,
		"a_test.yaml": `
rules: [rules.yaml]
tests:
  - name: a
    sockets: {a: {state: CLOSE_WAIT, port: 21118, process: hbbs, age: 61}, b: {state: CLOSE_WAIT, process: hbbs, age: 1}}
    expect: {a: act}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := options(dir)
	o.Coverage = true
	r, err := ruletest.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	all, rungs, parts := r.Coverage.Tried()
	if (all != ruletest.Numbers{Tried: 1, All: 3}) || (rungs != ruletest.Numbers{Tried: 1, All: 4}) || (parts != ruletest.Numbers{Tried: 4, All: 10}) {
		t.Errorf("%+v %+v %+v", all, rungs, parts)
	}
	var untried []string
	for _, one := range r.Coverage.Rules {
		for _, p := range one.Parts {
			if p.Fixed {
				continue
			}
			untried = append(untried, fmt.Sprintf("%s %s %v %v", p.Key, p.Text, p.True, p.False))
		}
	}
	want := `when state == "CLOSE_WAIT" and age > timeout and port in rustdesk true true
when state == "CLOSE_WAIT" true false
when age > timeout true true
when port in rustdesk true true
when state == "CLOSE_WAIT" and age > 30 and port == 8080 false true
when state == "CLOSE_WAIT" true false
when age > 30 true true
when port == 8080 false true
when state == "CLOSE_WAIT" true false
having count > 500 false true`
	if got := strings.Join(untried, "\n"); got != want {
		t.Errorf("%s", got)
	}
}

// TestRunSelects: tests are selected by their names, files by theirs.
func TestRunSelects(t *testing.T) {
	dir := t.TempDir()
	const tests = "rules: [builtin]\ntests:\n  - {name: first, sockets: {a: {state: LISTEN}}, expect: {a: none}}\n" +
		"  - {name: second, sockets: {a: {state: LISTEN}}, expect: {a: act}}\n"
	for _, name := range []string{"a_test.yaml", "b_test.yml", "c.yaml", ".d_test.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(tests), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := options(dir)
	o.Run = regexp.MustCompile("^f")
	if r, err := ruletest.Run(t.Context(), o); err != nil || r.Passed != 2 || r.Failed != 0 || len(r.Files) != 2 {
		t.Errorf("%+v %v", r, err)
	}
	o.Run = regexp.MustCompile("third")
	if r, err := ruletest.Run(t.Context(), o); err != nil || r.Passed+r.Failed != 0 {
		t.Errorf("%+v %v", r, err)
	}
}

// TestWrongSettings: what a test says of the rules must be there.
func TestWrongSettings(t *testing.T) {
	const end = "tests: [{name: x, sockets: {a: {state: LISTEN}}, expect: {a: none}}]\n"
	for text, want := range map[string]string{
		"vars: {timout: 3}\n" + end:  `rules_test.yaml:2:7: no rules file has a variable "timout" (did you mean "timeout"?)`,
		"vars: {timeout: x}\n" + end: "rules_test.yaml:2:7: timeout is a number, not \"x\"",
		"sets: {x: [1]}\n" + end:     `rules_test.yaml:2:7: no rules file has a set "x"`,
		"tests: [{name: x, sockets: {a: {state: LISTEN}}, expect: {a: {rule: hing, decision: act}}}]\n":   `no rule "hing" (did you mean "hung"?)`,
		"tests: [{name: x, sockets: {a: {state: LISTEN}}, expect: [{where: prot == 1, decision: none}]}]": `where: expression:1:1: unknown name "prot"`,
	} {
		_, err := run(t, hung, text)
		if problems, ok := errors.AsType[rules.Problems](err); !ok || !strings.Contains(problems.Error(), want) {
			t.Errorf("%s\n%v\nnot %s", text, err, want)
		}
	}
}
