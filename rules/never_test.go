package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sockwarden/collectors"
)

// refusing has actions that refuse some sockets: destroy those that listen, signal those
// that nobody has.
func refusing() Catalog {
	c := testCatalog()
	for i := range c {
		c[i].Refuses = map[string]func(bound any, s *collectors.Socket) string{
			"destroy": func(_ any, s *collectors.Socket) string { return when(s.State == collectors.Listen, "it listens") },
			"signal":  func(_ any, s *collectors.Socket) string { return when(s.Inode == 0, "nobody has it") },
		}[c[i].Name]
	}
	return c
}

func when(is bool, why string) string {
	if is {
		return why
	}
	return ""
}

// warningsOf loads one rule and returns what is warned of, as "column: message".
func warningsOf(t *testing.T, catalog Catalog, rule string) (*Rule, []string) {
	t.Helper()
	dir := writeFiles(t, map[string]string{"rules.yaml": "version: 1\nsets: {tailnet: [100.64.0.0/10]}\nrules:\n- {name: r, " + rule + "}\n"})
	p, _, err := Load(Options{Catalog: catalog, Paths: []string{filepath.Join(dir, "rules.yaml")}})
	if err != nil {
		t.Fatalf("%s: %v", rule, err)
	}
	var got []string
	for _, w := range p.Warnings {
		got = append(got, fmt.Sprintf("%d: %s", w.Column, w.Message))
	}
	return p.Rules[0], got
}

// A rule none of whose rungs is for anything that it may match is warned about where the
// first of them stands, and no other is.
func TestNeverActs(t *testing.T) {
	for rule, want := range map[string]string{
		`then: [destroy], when: state == "LISTEN"`:                               `20: rule "r" can never act: it listens`,
		`then: [log, destroy], when: state == "LISTEN"`:                          "",
		`then: [destroy, {signal: TERM}], when: state == "LISTEN"`:               "", // whoever listens has it
		`then: [destroy], when: 'state in ["LISTEN", "CLOSE_WAIT"]'`:             "",
		`then: [destroy], mode: observe, when: state == "LISTEN"`:                "",
		`then: [{signal: TERM}], when: state == "TIME_WAIT"`:                     `20: rule "r" can never act: nobody has it`,
		`then: [{signal: TERM}], when: 'state in ["TIME_WAIT", "SYN_RECV"]'`:     `20: rule "r" can never act: nobody has it`,
		`then: [{signal: TERM}], when: orphan`:                                   `20: rule "r" can never act: nobody has it`,
		`then: [{signal: TERM}], when: not owned and port == 9`:                  `20: rule "r" can never act: nobody has it`,
		`then: [{signal: TERM}], when: state == "FIN_WAIT1" and idle > 1`:        "",
		`then: [{signal: TERM}], when: 'state in ["TIME_WAIT"] and port in [9]'`: `20: rule "r" can never act: nobody has it`,
	} {
		r, got := warningsOf(t, refusing(), rule)
		if want == "" {
			checkLines(t, got)
		} else {
			checkLines(t, got, want)
		}
		if (r.NeverActs == "") != (want == "") {
			t.Errorf("%s: never acts: %q", rule, r.NeverActs)
		}
	}
}

// A rule that ends whatever is connected is warned about, and none that says which.
func TestEverything(t *testing.T) {
	for rule, warned := range map[string]bool{
		`then: [destroy], when: true`:                                                true,
		`then: [log, {signal: KILL}], when: true`:                                    true,
		`then: [destroy], when: age > 3600`:                                          true,
		`then: [destroy], when: state == "ESTABLISHED"`:                              true,
		`then: [destroy], when: 'state != "LISTEN" and protocol in ["tcp", "udp"]'`:  true,
		`then: [destroy], when: 'true', unless: state == "LISTEN"`:                   true,
		`then: [log], when: true`:                                                    false,
		`then: [destroy], mode: observe, when: true`:                                 false,
		`then: [destroy], when: 'true', unless: remote_addr in tailnet`:              false,
		`then: [destroy], when: protocol == "udp"`:                                   false,
		`then: [destroy], when: state == "TIME_WAIT"`:                                false,
		`then: [destroy], when: state == "ESTABLISHED" and idle > "2h"`:              false,
		`then: [destroy], when: port == 80`:                                          false,
		`then: [destroy], when: process == "nginx"`:                                  false,
		`then: [destroy], when: 'true', group: process, having: count > 500`:         false,
		`then: [destroy], when: state == "ESTABLISHED" and remote_addr in tailnet`:   false,
		`then: [destroy], when: direction == "inbound" or process contains "nginx"`:  false,
		`then: [destroy], when: 'remote_addr in ["10.0.0.0/8"] and owned and age>1'`: false,
	} {
		if _, got := warningsOf(t, testCatalog(), rule); (len(got) > 0) != warned {
			t.Errorf("%s: %q", rule, got)
		}
	}
}

// What the built-in rules wait for is warned of neither there nor in a copy of them, as
// long as it is the same.
func TestShipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy.yaml")
	if err := os.WriteFile(path, []byte(BuiltinText()+"\n  - {name: more, when: port == 1, then: [destroy]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{Builtin, path} {
		for value, warned := range map[string]bool{"": false, "90": true, "30": false} {
			opts := Options{Paths: []string{from}, Catalog: testCatalog()}
			if value != "" {
				opts.Vars = []Override{{Name: "time_wait_timeout", Value: value}, {Name: "include_ports", Value: "80"}}
			}
			p, _, err := Load(opts)
			if err != nil {
				t.Fatal(err)
			}
			if (len(p.Warnings) > 0) != warned {
				t.Errorf("%s, %q: %v", from, value, p.Warnings)
			}
		}
	}
}
