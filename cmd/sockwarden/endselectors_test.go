package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sockwarden/rules"
)

// setsOf returns the sets of a rules file: numbers, addresses and names.
func setsOf(t *testing.T, text string) map[string]*rules.Set {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte("version: 1\nsets: "+text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, _, err := rules.Load(rules.Options{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	return p.Sets
}

const someServices = `# of the test
ssh		22/tcp				# SSH
domain	53/tcp
domain	53/udp
http	80/tcp	www
both	1/tcp
both	2/udp	two
odd	x/tcp
odd	99999/tcp
sctp	9/sctp
http-alt	8080/tcp
`

// What people write for ports and peers, and the condition that it becomes.
func TestEnds(t *testing.T) {
	sets := setsOf(t, `{ssh: [2222], web: [80, 443], banned: [198.51.100.7, 10.0.0.0/8], users: ["a"]}`)
	e := ends{sets: sets, services: readServices(strings.NewReader(someServices)), read: true}
	for text, want := range map[string]string{
		"22": "port in [22]", "21115-21119": "port in [21115..21119]", "80, 90-91": "port in [80] or port in [90..91]",
		"http": "port in [80]", "www": "port in [80]", "HTTP": "port in [80]", "http-alt": "port in [8080]", "domain": "port in [53]",
		"both": "port in [1, 2]", "two": "port in [2]", "http,53": "port in [80] or port in [53]",
		"ssh": "port in [2222]", "web": "port in [80, 443]", // sets come first
		"users": "!", "odd": "!", "sctp": "!", "99999": "!", "1x": "!", "9-1": "!", "": "!", ",": "!", "htpp": "!", "banned": "!",
	} {
		got, err := e.ports("--port", "port", []string{text})
		if want != "!" && got != "("+want+")" || (err != nil) != (want == "!") {
			t.Errorf("--port %s: %s, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"10.0.0.1": `remote_addr in ["10.0.0.1"]`, "10.0.0.0/8": `remote_addr in ["10.0.0.0/8"]`, "10/8": `remote_addr in ["10.0.0.0/8"]`,
		"192.168/16": `remote_addr in ["192.168.0.0/16"]`, "192.168.7/24": `remote_addr in ["192.168.7.0/24"]`, "fd7a::/48": `remote_addr in ["fd7a::/48"]`,
		"::1": `remote_addr in ["::1"]`, "[::1]": `remote_addr in ["::1"]`, "[fd7a::/48]": `remote_addr in ["fd7a::/48"]`, "[fd7a::]/48": `remote_addr in ["fd7a::/48"]`,
		"10.0.0.1:443": `((remote_addr in ["10.0.0.1"] and remote_port in [443]))`, "10/8:http": `((remote_addr in ["10.0.0.0/8"] and remote_port in [80]))`,
		"[::1]:80-90": `((remote_addr in ["::1"] and remote_port in [80..90]))`, "[fd7a::]/48:web": `((remote_addr in ["fd7a::/48"] and remote_port in [80, 443]))`,
		":443": `(remote_port in [443])`, "*:ssh": `(remote_port in [2222])`, "banned": "(remote_addr in banned)",
		"banned:443":   "((remote_addr in banned and remote_port in [443]))",
		"10.0.0.1,::1": `remote_addr in ["10.0.0.1", "::1"]`, "::1,banned,10/8:1": `(remote_addr in ["::1"] or remote_addr in banned or (remote_addr in ["10.0.0.0/8"] and remote_port in [1]))`,
		"10": "!", "10.0.0": "!", "10/33": "!", "/8": "!", "10.0.0.0.0/8": "!", "10.0.0.1:": "!", "10.0.0.1:x": "!", "example.org": "!", "example.org:443": "!",
		"*": "!", "[::1]80": "!", "[::1": "!", "[::1]:": "!", "[::1]:99999": "!", "web": "!", "users": "!", "banned/8": "!", "": "!", ":": "!",
	} {
		got, err := e.peers(strings.Split(text, ","))
		if want != "!" && got != want || (err != nil) != (want == "!") {
			t.Errorf("--peer %s: %s, %v", text, got, err)
		}
	}
	if _, err := e.ports("--port", "port", []string{"htpp"}); err == nil || !strings.Contains(err.Error(), `did you mean "http"`) {
		t.Errorf("no hint: %v", err)
	}
	for text, hint := range map[string]string{"web": "--remote-port", "bannd": `did you mean "banned"`, "10": "10/8"} {
		if _, err := e.peers([]string{text}); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("--peer %s: %v without %s", text, err, hint)
		}
	}
}

// Rules are read only where a selector may name a set.
func TestNamesSets(t *testing.T) {
	for text, want := range map[string]bool{
		"p 80": false, "p 80-90,1": false, "p ssh": true, "r 80": false, "r web": true,
		"a 10/8": false, "a ::1": false, "a [::1]:80": false, "a 10.0.0.1:ssh": true, "a banned": true, "a *:80": false, "a :80": false,
	} {
		kind, value, _ := strings.Cut(text, " ")
		s := selectors{}
		switch kind {
		case "p":
			s.ports = []string{value}
		case "r":
			s.remotePorts = []string{value}
		case "a":
			s.peers = []string{value}
		}
		if got := s.namesSets(); got != want || !s.given() {
			t.Errorf("%s: %t", text, got)
		}
	}
}

// The names of this host are the ones that ss takes.
func TestServicesOfHost(t *testing.T) {
	all := hostServices()
	if all.list("ssh") == "" || all.list("https") == "" {
		t.Errorf("%d names", len(all))
	}
	for _, name := range []string{"ssh", "https", "www", "domain"} {
		out, err := exec.Command("getent", "services", name).CombinedOutput()
		if err != nil {
			t.Logf("%s: %v %s", name, err, out) // this host has other names
			continue
		}
		if port := strings.Trim(all.list(name), "[]") + "/"; !strings.Contains(string(out), " "+port) {
			t.Errorf("%s: %s, not %s", name, all.list(name), out)
		}
	}
}
