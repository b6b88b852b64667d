package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sockwarden/cmd/sockwarden/control"
)

const memoryRules = `version: 1
rules:
  - name: leak
    when: state == "CLOSE_WAIT" and port == 21118
    for: 1h
    then: [destroy]
  - name: beside
    when: state == "CLOSE_WAIT" and port == 21119
    limits: {cooldown: 1h}
    then: [{signal: URG}]
`

// The watcher says by what it remembers why it takes a socket or not: how long it has
// matched, and what it has done. A hundred questions change nothing about that.
func TestExplainAsksTheWatcher(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	s := startServedBy(t, memoryRules, "--audit-log", log, "--interval", "200ms")
	life{Comm: "leaky", Serve: []string{at(21118), at(21119)}, Leaks: spared(2, at(21118), at(21119))}.start(t, s.ns)
	s.await(t, "an effect and its cool-down", func() bool {
		st := s.status()
		return st.ByRule[1].Hour["done"] > 0 && strings.HasPrefix(st.ByRule[1].Spared, "cooldown") && st.ByRule[0].Findings == 2
	})
	settled := s.status().Cycle.Time
	s.await(t, "a cycle in which nothing is new", func() bool { return s.status().Cycle.Time.After(settled) })
	said, counts, before := s.expect(0, "judged by the watcher (pid ", "rules", "explain", "-s", "close_wait"), s.status().ByRule, read(t, log)
	for _, want := range []string{"2  leak: for 1h still runs; the oldest: 59m", "2  beside: cools down"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	c, err := control.Find(t.Context(), []string{s.path})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := c.Do(t.Context(), http.MethodGet, "/v1/explain?state=close_wait", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	asked := s.status().Cycle.Time
	s.await(t, "another cycle", func() bool { return s.status().Cycle.Time.After(asked) })
	if now := read(t, log); now != before {
		t.Errorf("the journal grew by %s", strings.TrimPrefix(now, before))
	}
	now := s.status().ByRule
	for i := range now { // the time that is left goes on
		now[i].Spared, counts[i].Spared = "", ""
	}
	if !reflect.DeepEqual(now, counts) {
		t.Errorf("%+v were %+v", now, counts)
	}
	var doc struct {
		Generation string
		JudgedBy   string `json:"judged_by"`
		Watcher    struct {
			PID  int
			Mode string
		}
		Explanations []struct{ Rule, Verdict, Cure string }
	}
	out := s.expect(0, "", "rules", "explain", "leak", "-p", "21118", "-s", "close_wait", "-o", "json")
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.JudgedBy != "watcher" || doc.Watcher.PID != s.Process.Pid || doc.Watcher.Mode != "live" ||
		doc.Generation != s.status().Rules.Generation || len(doc.Explanations) != 2 || doc.Explanations[0].Verdict != "pending" {
		t.Errorf("%v: %+v", err, doc)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Who judges follows from the rules: the watcher judges by its own, and this program by
// others. A watcher that was named has to answer.
func TestExplainByOtherRules(t *testing.T) {
	s := startServedBy(t, memoryRules)
	s.expect(0, "judged by the watcher", "rules", "explain", "--rules", s.rules)
	s.expect(exitFailed, "the watcher has other rules in force, generation ", "rules", "explain", "--rules", "builtin")
	s.expect(exitUsage, "--observe says how to judge here", "rules", "explain", "--observe", "1s")
	s.expect(exitUsage, `1 | port = 80`, "rules", "explain", "port = 80")
	s.expect(exitUsage, `no rule "leek" (did you mean "leak"?)`, "rules", "explain", "--rule", "leek")
	// Without --control they are found where watchers are, and else this program judges.
	if err := os.Symlink(s.path, filepath.Join(s.dir, "control.sock")); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		args   []string
		dir    string
		wanted string
	}{
		{nil, s.dir, "judged by the watcher"},
		{[]string{"--rules", "builtin"}, s.dir, "judged by this host"},
		{[]string{"--control", "none"}, s.dir, "judged by this host"},
		{[]string{"--observe", "1ms"}, s.dir, "judged by this host"},
		{nil, t.TempDir(), "judged by this host"},
	} {
		cmd := itself(t, append([]string{"rules", "explain"}, one.args...)...)
		cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+one.dir)
		var out []byte
		var err error
		_ = s.ns.Do(func() error { out, err = cmd.CombinedOutput(); return nil })
		if err != nil || !strings.Contains(string(out), one.wanted) {
			t.Errorf("%v: %v, without %q:\n%s", one.args, err, one.wanted, out)
		}
	}
	// A watcher elsewhere does not know these sockets.
	cmd := itself(t, "rules", "explain")
	cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+s.dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "in another network namespace") || !strings.Contains(string(out), "judged by this host") {
		t.Errorf("%v\n%s", err, out)
	}
}
