package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// TestMPTCP lists MPTCP connections with their subflows, explains what becomes of them,
// and ends one with kill.
func TestMPTCP(t *testing.T) {
	l := socklab.ListenMPTCP(t, socklab.Home(t), socklab.IPv4)
	client, server := l.Dial(t)
	beside, _ := l.Dial(t)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{server}, Comm: "multi"})
	port, peer := fmt.Sprint(l.Addr.Port()), fmt.Sprint(client.Local.Port())
	one := "remote_port == " + peer

	tokens := map[string]string{}
	_, out, _ := run(t, "list", one+` && protocol != "udp"`, "-p", port, "--columns", "protocol,mptcp_token", "-o", "jsonl")
	for line := range strings.Lines(out) {
		var s struct {
			Protocol string `json:"protocol"`
			Token    string `json:"mptcp_token"`
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		tokens[s.Protocol] = s.Token
	}
	if len(tokens) != 2 || tokens["tcp"] == "" || tokens["tcp"] != tokens["mptcp"] {
		t.Errorf("a connection and its subflow: %v", tokens)
	}

	rules := func(then string) string {
		path := filepath.Join(t.TempDir(), "rules.yaml")
		text := fmt.Sprintf("version: 1\nrules:\n  - {name: multi, when: 'protocol == \"mptcp\" && port == %s && %s', then: [%s]}\n", port, one, then)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		args []string
		want string // a regular expression
	}{
		{[]string{"list", "-p", port, "-s", "established", "--by", "protocol"}, `^COUNT.*\n +2 +tcp `},
		{[]string{"list", "-p", port, "-s", "established", "--by", "protocol", "--proto", "mptcp,tcp"}, `(?s) 2 +tcp .* 2 +mptcp +\? +\? +\? `},
		{[]string{"list", one, "--proto", "mptcp"}, `mptcp ESTABLISHED +127.0.0.1:` + port + ` .* multi\[\d+\]`},
		{[]string{"audit", "--rules", rules("destroy")}, `1 guarded \(MPTCP, which destroy is not for: abort ends the whole connection\)`},
		{[]string{"audit", "--rules", rules("abort")}, `(?s)would act +multi +mptcp ESTABLISHED.*\nscanned 1 of`},
		{[]string{"rules", "check", rules("destroy")}, `can never act: it is about MPTCP, which destroy is not for`},
		{[]string{"rules", "explain", one, "--proto", "mptcp", "--rules", rules("destroy")}, `MPTCP, which destroy is not\s+for`},
		{[]string{"kill", "-p", port, "-y"}, `1 guarded \(MPTCP subflow`},
		{[]string{"kill", one, "--proto", "mptcp", "-p", port, "-y"}, `resetting 1 MPTCP connection(.*\n)*gone 1 `},
		{[]string{"list", one, "--proto", "mptcp,tcp", "--by", "state"}, `^COUNT.*\n$`},
		{[]string{"doctor"}, `MPTCP +\d+ mptcp sockets to be seen`},
	} {
		_, out, errs := run(t, c.args...)
		if want := regexp.MustCompile(c.want); !want.MatchString(out + errs) {
			t.Errorf("%s: not %s\n%s%s", c.args, c.want, out, errs)
		}
	}
	for what, c := range map[string]*socklab.Conn{"it": client, "the one beside it": beside} {
		_, err := unix.Read(c.FD, make([]byte, 1))
		if wants := map[bool]error{true: unix.ECONNRESET, false: unix.EAGAIN}[c == client]; !errors.Is(err, wants) {
			t.Errorf("%s: %v, not %v", what, err, wants)
		}
	}
}
