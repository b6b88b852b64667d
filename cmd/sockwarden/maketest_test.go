package main

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/cmd/sockwarden/draft"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/catalog"
	"sockwarden/engine/recording"
	"sockwarden/engine/ruletest"
	"sockwarden/rules"
)

// judging are rules of many kinds.
const judging = `version: 1
protect: [{name: ssh, when: port == 22 or remote_port == 22}]
sets: {banned: ["203.0.113.0/24"]}
rules:
  - {name: leak, when: 'state == "CLOSE_WAIT" and age > 60 and idle > 60', then: [destroy, {signal: TERM, wait: 10s}], limits: {per_cycle: 20, max_collateral: 0}}
  - {name: banned, when: 'remote_addr in banned and state != "TIME_WAIT"', unless: 'process == "sshd"', then: [destroy], limits: {cooldown: {peer: 10s}}}
  - {name: many, when: 'state == "ESTABLISHED" and port == 443', group: remote_addr, keep: 10, mode: observe}
  - {name: waits, when: 'state == "LAST_ACK" and age > 30 and idle > 30', for: 1m, then: [destroy]}
  - {name: process, when: 'state in ["FIN_WAIT2", "CLOSING"] and process == "app"', group: pid, having: count > 3 and max_age > 10, then: [{signal: TERM, wait: 10s}], limits: {max_collateral: 5, cooldown: 1h}}
  - {name: missing, when: 'state == "LISTEN" and port == 443', group: host, having: count == 0, mode: observe}
  - {name: deaf, when: 'protocol == "udp" and port == 21116 and recv_queue > 10', mode: observe}
  - {name: night, when: 'state == "SYN_SENT" and age > 1', during: ["01:00-02:00"], then: [destroy]}
`

// incident makes one of some sockets, whose rules are in rules.yaml of a directory.
func incident(t *testing.T, dir string, sockets []draft.Fate) draft.Incident {
	t.Helper()
	return incidentBy(t, dir, judging, sockets)
}

func incidentBy(t *testing.T, dir, text string, sockets []draft.Fate) draft.Incident {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plugins, err := builtinActions(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := rules.Load(rules.Options{Paths: []string{filepath.Join(dir, "rules.yaml")}, Catalog: catalog.New(plugins), Notifiers: notifierCatalog()})
	if err != nil {
		t.Fatal(err)
	}
	o := ruletest.Options{Actions: plugins.All(), Notifiers: notifierCatalog()}
	return draft.Incident{
		Name: "made", Command: []string{"sockwarden", "list", "a\nb"}, Made: time.Unix(0, 0), Place: "on the host",
		Start: time.Date(2026, 11, 26, 1, 30, 0, 0, time.UTC), Rules: []string{"rules.yaml"}, Program: p, Sockets: sockets,
		Say: func(text string) ([][]ruletest.Saying, error) {
			return ruletest.Say(t.Context(), o, filepath.Join(dir, "made_test.yaml"), text)
		},
	}
}

// passes writes a made test and runs it.
func passes(t *testing.T, dir string, in *draft.Incident) (text string) {
	t.Helper()
	text, err := draft.Test(in)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "made_test.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plugins, err := builtinActions(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ruletest.Run(t.Context(), ruletest.Options{Paths: []string{path}, Actions: plugins.All(), Notifiers: notifierCatalog()})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if r.Failed != 0 || r.Passed != 1 {
		t.Fatalf("%d passed, %d failed: %+v\n%s", r.Passed, r.Failed, r.Files[0].Tests[0].Failures, text)
	}
	return text
}

// anySocket is one in any state, of anybody.
func anySocket(t *testing.T, r *rand.Rand) draft.Fate {
	t.Helper()
	states := []collectors.State{
		collectors.Established, collectors.SynSent, collectors.SynRecv, collectors.FinWait1, collectors.FinWait2, collectors.TimeWait, collectors.Close,
		collectors.CloseWait, collectors.LastAck, collectors.Listen, collectors.Closing,
	}
	names := []string{"app", "app", "sshd", "a b", "x: y", "\"] or port == 22", "a\nrules: []", "\xff", "true", "7", ""}
	addrs := []string{"203.0.113.7", "198.51.100.9", "10.0.0.1", "2001:db8::7"}
	c := selected(states[r.IntN(len(states))], "", float64(r.IntN(200))+r.Float64())
	c.Socket.Inode = uint32(r.IntN(2))
	c.Socket.Family, c.Socket.Remote = collectors.IPv4, collectors.AddrFrom(netip.MustParseAddr(addrs[r.IntN(len(addrs))]))
	c.Socket.LocalPort = []uint16{22, 80, 443, 21116, 8080}[r.IntN(5)]
	c.Socket.Known.Add(collectors.Fields(collectors.FieldRemoteAddr, collectors.FieldRecvQueue))
	c.Facts.Known.Remove(collectors.Fields(collectors.FieldProcess, collectors.FieldPID))
	if c.Socket.State == collectors.TimeWait || c.Socket.State == collectors.SynRecv {
		c.Socket.Inode = 0
	}
	if r.IntN(5) == 0 {
		c.Socket.Protocol, c.Socket.State = collectors.UDP, collectors.Close
	}
	c.Facts.Age.Source = []collectors.AgeSource{collectors.AgeNone, collectors.AgeEvent, collectors.AgeTCPInfo, collectors.AgeObserved}[r.IntN(4)]
	if r.IntN(2) == 0 {
		c.Facts.Age.Bounded, c.Facts.Age.Max = true, c.Facts.Age.Min+r.Float64()*9
	}
	for i := range r.IntN(3) {
		if c.Socket.Inode == 0 {
			break
		}
		name := names[r.IntN(len(names))]
		c.Facts.Owners = append(c.Facts.Owners, collectors.Owner{
			Known: collectors.Fields(collectors.FieldProcess, collectors.FieldPID), PID: 100 + 10*r.IntN(3) + i, Name: name, Comm: name[:min(15, len(name))],
		})
		c.Facts.Known.Add(collectors.Fields(collectors.FieldProcess, collectors.FieldPID))
	}
	c.Facts.OthersHidden = r.IntN(9) == 0
	f := draft.Fate{Candidate: c, Decision: rules.ExpectNone}
	if r.IntN(3) > 0 {
		still(t, &f, float64(r.IntN(200))+r.Float64())
	}
	return f
}

// TestMadeTestsPass: whatever was selected, the test passes as it is, and no process writes
// a line of it.
func TestMadeTestsPass(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		var all []draft.Fate
		for range 1 + r.IntN(40) {
			all = append(all, anySocket(t, r))
		}
		in := incident(t, dir, all)
		if r.IntN(2) == 0 {
			in.Anonymiser = recording.NewAnonymiser()
		}
		text := passes(t, dir, &in)
		if strings.Contains(text, "\nrules: []") || strings.Count(text, "\ntests:") != 1 {
			t.Errorf("a name is not kept in its line:\n%s", text)
		}
	}
}

// still says for how long a socket has carried no data.
func still(t *testing.T, c *draft.Fate, seconds float64) {
	t.Helper()
	r := collectors.Record{Socket: &c.Socket, Facts: &c.Facts}
	if err := collectors.Set(collectors.FieldIdle, &r, seconds); err != nil {
		t.Fatal(err)
	}
}

// alike are so many hung connections of one process, from addresses of their own.
func alike(t *testing.T, n int) (all []draft.Fate) {
	t.Helper()
	for i := range n {
		c := selected(collectors.CloseWait, "app", 100+float64(i)/10)
		c.Facts.Owners[0].Comm = "app"
		c.Socket.RemotePort = uint16(1000 + i)
		c.Socket.Family, c.Socket.Remote = collectors.IPv4, collectors.AddrFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
		c.Socket.Known.Add(collectors.Fields(collectors.FieldRemoteAddr))
		all = append(all, draft.Fate{Candidate: c, Rule: "leak", Decision: "act"})
		still(t, &all[i], 100)
	}
	return all
}

// TestMadeTestIsShort: a thousand sockets that are alike are one case, and their test says
// where it is not as on the host.
func TestMadeTestIsShort(t *testing.T) {
	dir := t.TempDir()
	in := incident(t, dir, alike(t, 1000))
	text := passes(t, dir, &in)
	for _, want := range []string{
		"      app-close-wait: {times: 1000, state: CLOSE_WAIT, port: 8080, process: app, pid: 9, age: 100, age_source: event, ",
		"      # on the host: act by leak\n",
		"      app-close-wait: {rule: leak, decision: breaker}\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s\n%s", want, text)
		}
	}
	if lines := strings.Count(text, "\n"); lines > 25 {
		t.Errorf("%d lines:\n%s", lines, text)
	}
}

// TestMadeTestIsAnonymous: no address and no name but those of programs is in it.
func TestMadeTestIsAnonymous(t *testing.T) {
	dir := t.TempDir()
	in := incident(t, dir, alike(t, 3))
	for i := range in.Sockets {
		in.Sockets[i].Reason = "10.1.0.1 did it"
	}
	if text := passes(t, dir, &in); !strings.Contains(text, "10.1.0.") || !strings.Contains(text, "list 'a?b'") {
		t.Errorf("it shows no address:\n%s", text)
	}
	in.Anonymiser, in.Command = recording.NewAnonymiser(), nil
	if text := passes(t, dir, &in); strings.Contains(text, "10.1.0.") || strings.Contains(text, "sockwarden list") {
		t.Errorf("it shows an address:\n%s", text)
	}
}

// TestMadeTestWaits: where a rule waits, the test does too, and expects what comes then.
func TestMadeTestWaits(t *testing.T) {
	dir := t.TempDir()
	in := incident(t, dir, []draft.Fate{{Candidate: selected(collectors.LastAck, "app", 40), Rule: "waits", Decision: "pending"}})
	still(t, &in.Sockets[0], 40)
	text := passes(t, dir, &in)
	want := `    steps:
      - expect:
          last-ack: {rule: waits, decision: pending}
      - advance: 1m            # as long as they wait
        expect:
          last-ack: {rule: waits, decision: act, action: destroy}
`
	if !strings.Contains(text, want) {
		t.Errorf("no\n%sin\n%s", want, text)
	}
}

// TestMadeTestOfAnotherNetwork: rules that look at a namespace by a pattern do so in the test.
func TestMadeTestOfAnotherNetwork(t *testing.T) {
	dir := t.TempDir()
	c := selected(collectors.SynSent, "app", 5)
	c = engine.NewCandidate(&c.Socket, &collectors.Namespace{Name: "web", Meant: []string{"w*"}}, &c.Facts)
	text := "version: 1\nnetns: [\"w*\"]\nrules: [{name: slow, when: state == \"SYN_SENT\" and age > 1, then: [destroy]}]\n"
	in := incidentBy(t, dir, text, []draft.Fate{{Candidate: c, Rule: "slow", Decision: "act"}})
	if text := passes(t, dir, &in); !strings.Contains(text, `netns: "w*"`) || !strings.Contains(text, "{rule: slow, decision: act, action: destroy}") {
		t.Error(text)
	}
}

// TestMadeTestIsPrecise: a time that would lie on the other side of a threshold if it were
// rounded is written as it is.
func TestMadeTestIsPrecise(t *testing.T) {
	dir := t.TempDir()
	in := incident(t, dir, []draft.Fate{{Candidate: selected(collectors.CloseWait, "app", 60.4), Rule: "leak", Decision: "act"}})
	still(t, &in.Sockets[0], 70)
	if text := passes(t, dir, &in); !strings.Contains(text, "age: 60.4,") || !strings.Contains(text, "decision: act, action: destroy}") {
		t.Error(text)
	}
	in.Sockets[0].Candidate = selected(collectors.CloseWait, "app", 61.4)
	still(t, &in.Sockets[0], 70)
	if text := passes(t, dir, &in); !strings.Contains(text, "age: 61,") {
		t.Error(text)
	}
}
