package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// refusing has actions that refuse some sockets: destroy refuses listening ones, signal
// those that nobody has.
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

// warningsOf loads one rule and returns its warnings of one kind, as "column: message".
func warningsOf(t *testing.T, catalog Catalog, kind lang.ID, rule string) (*Rule, []string) {
	t.Helper()
	dir := writeFiles(t, map[string]string{"rules.yaml": "version: 1\nsets: {tailnet: [100.64.0.0/10]}\nrules:\n- {name: r, " + rule + "}\n"})
	p, _, err := Load(Options{Catalog: catalog, Paths: []string{filepath.Join(dir, "rules.yaml")}})
	if err != nil {
		t.Fatalf("%s: %v", rule, err)
	}
	var got []string
	for _, w := range ofKind(p.Warnings, kind) {
		got = append(got, fmt.Sprintf("%d: %s", w.Column, w.Message))
	}
	return p.Rules[0], got
}

// If no rung of a rule applies to anything that it may match, it gets a warning where the
// first rung stands; no other rule does.
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
		r, got := warningsOf(t, refusing(), idNeverActs, rule)
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

// A rule that waits longer than the kernel keeps its sockets gets a warning, whatever it
// waits by.
func TestAgeUnreachable(t *testing.T) {
	for rule, warned := range map[string]bool{
		`then: [destroy], when: state == "TIME_WAIT" and age > 61`:         true,
		`then: [destroy], when: state == "TIME_WAIT", for: 1m`:             true,
		`then: [destroy], when: state == "TIME_WAIT" and age > 30`:         false,
		`then: [destroy], when: state == "TIME_WAIT", for: 59s`:            false,
		`then: [destroy], when: state == "CLOSE_WAIT" and idle>1, for: 1h`: false,
	} {
		if _, got := warningsOf(t, testCatalog(), idAgeUnreachable, rule); (len(got) > 0) != warned {
			t.Errorf("%s: %q", rule, got)
		}
	}
}

// A rule that ends whatever is connected gets a warning; one that says which connections
// does not.
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
		if _, got := warningsOf(t, testCatalog(), idTakesAll, rule); (len(got) > 0) != warned {
			t.Errorf("%s: %q", rule, got)
		}
	}
}

// The waits of the built-in rules get no warning, neither there nor in a copy, as long as
// it is unchanged.
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

// A rule that never matches gets a warning that says why, by what its condition asks for.
func TestNeverMatches(t *testing.T) {
	const ports = "no port can be everything that it says about port: to mean one of several, write port in [80, 443]"
	const nothing = "its condition is false, whatever the socket is"
	for when, want := range map[string]string{
		`port == 4 and port == 5`:                                               ports,
		`not (port >= 0)`:                                                       ports,
		`port < 10 and owned and port > 20`:                                     ports,
		`remote_port == 4 and remote_port == 5 and port == 3`:                   "no port can be everything that it says about remote_port: to mean one of several, write remote_port in [80, 443]",
		`state == "LISTEN" and state == "CLOSE"`:                                `no state can be everything that it says about state: to mean one of several, write state in ["CLOSE_WAIT", "LAST_ACK"]`,
		`protocol == "tcp" and protocol == "udp"`:                               `no socket is of two protocols: to mean both, write protocol in ["tcp", "udp"]`,
		`family == "ipv4" and family == "ipv6"`:                                 "no socket is of both families: to mean both, say nothing of family",
		`protocol == "udp" and state == "LISTEN"`:                               "a UDP socket is ESTABLISHED (connected) or CLOSE, and in no other state",
		`(port == 1 and port == 2) or (state == "LISTEN" and state == "CLOSE")`: "no socket is all that it asks for",
		`(port == 1 and port == 2) or (port == 3 and port == 4)`:                ports,
		`port in none`:           "nothing is in none, which is empty",
		`port in none and owned`: "nothing is in none, which is empty",
		`port == 1 and m`:        "nothing is in none, which is empty",
		`port in []`:             "nothing is in an empty list",
		`false`:                  nothing,
		`not true and port == 1`: nothing,
		`port in listed`:         "", // it will be filled
		`port == 4 or port == 5`: "",
		`port not in none`:       "",
	} {
		text := "version: 1\nsets: {none: [], listed: {file: list.txt, may_be_empty: true}}\nmacros: {m: port in none}\nrules:\n- {name: r, then: [log], when: '" + when + "'}\n"
		dir := writeFiles(t, map[string]string{"rules.yaml": text, "list.txt": "# nothing yet\n"})
		p, err := load(dir, "rules.yaml")
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if want == "" {
			checkLines(t, problemLines(t, ofKind(p.Warnings, idNeverMatches), dir))
			continue
		}
		checkLines(t, problemLines(t, ofKind(p.Warnings, idNeverMatches), dir), `5:33: rule "r" never matches: `+want)
	}
}

// What can spare nothing, or spares everything, is said where it stands: in unless of a rule
// and of an override, and in protect.
func TestDeadSpares(t *testing.T) {
	const neither = `is true of no socket`
	for text, want := range map[string]string{
		`rules: [{name: r, when: port == 9, unless: port == 1 and port == 2, mode: observe}]`:                                                       "44: unless of rule \"r\": port == 1 and port == 2 " + neither,
		`rules: [{name: r, when: port == 9, unless: 'owned or state != "LISTEN" or state != "CLOSE"', mode: observe}]`:                              "45: unless of rule \"r\": owned or state",
		`protect: [{name: ssh, when: 'port == 22 and port == 2222'}]`:                                                                               "30: protect \"ssh\": port == 22 and port == 2222 " + neither,
		`overrides: {r: {unless: port == 1 and port == 2}}` + "\nrules: [{name: r, when: port == 9, unless: remote_port == 3, mode: observe}]":      "25: unless of rule \"r\": port == 1 and port == 2 " + neither,
		"sets: {friends: {file: known.txt, may_be_empty: true}}\nprotect: [{name: known, when: remote_addr in friends}]":                            "",
		"vars: {ports: []}\n" + `rules: [{name: r, when: port == 9, unless: port in ports, mode: observe}]` + "\nprotect: [{name: s, when: owned}]": "",
	} {
		dir := writeFiles(t, map[string]string{"rules.yaml": "version: 1\n" + text + "\n", "known.txt": ""})
		p, _, err := Load(Options{Catalog: testCatalog(), Paths: []string{filepath.Join(dir, "rules.yaml")}})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var got []string
		for _, w := range append(ofKind(p.Warnings, idNeverTrue), ofKind(p.Warnings, idAlwaysTrue)...) {
			got = append(got, fmt.Sprintf("%d: %s", w.Column, w.Message))
		}
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
			t.Errorf("%s\n got %q\nwant %q", text, got, want)
		}
	}
}
