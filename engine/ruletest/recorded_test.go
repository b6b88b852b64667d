package ruletest_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/recording"
	"sockwarden/engine/ruletest"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
)

// recorded writes the recording of a host with a leak: four hung connections of hbbs on
// 21118, a young one, and one that is established.
func recorded(t *testing.T, path string) {
	t.Helper()
	w := scripted.New(time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC))
	hbbs := collectors.Owner{PID: 7, Name: "hbbs"}
	for range 4 {
		w.Add(collectors.Socket{State: collectors.CloseWait, LocalPort: 21118}, 2*time.Minute, hbbs)
	}
	w.Add(collectors.Socket{State: collectors.CloseWait, LocalPort: 21118}, 50*time.Second, hbbs)
	w.Add(collectors.Socket{State: collectors.Established, LocalPort: 21118}, time.Hour, hbbs)
	e, err := engine.New(engine.Options{World: w.World(), Sources: []collectors.Plugin{w.Source()}, Events: engine.EventsOn, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r, err := e.Record(t.Context(), "host", recording.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := recording.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Keep(r); err != nil {
		t.Fatal(err)
	}
}

// TestFrom: the sockets of a test can be those of a recording, and time can pass there.
func TestFrom(t *testing.T) {
	dir := t.TempDir()
	recorded(t, filepath.Join(dir, "leak.jsonl.zst"))
	test := func(text string) (*ruletest.Result, error) {
		for name, content := range map[string]string{"rules.yaml": "version: 1\n" + hung, "x_test.yaml": "rules: [rules.yaml]\ntests: [{name: x, from: " + text + "}]\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := options(dir)
		o.Coverage = true
		return ruletest.Run(t.Context(), o)
	}
	for text, want := range map[string]string{
		`leak.jsonl.zst, expect: [{where: 'port == 21118 and state == "CLOSE_WAIT"', rule: hung, decision: act, action: destroy, count: 4}]`:                 "",
		`leak.jsonl.zst, expect: [{where: 'process == "hbbs" and state == "ESTABLISHED"', decision: none, count: 1}, {rule: hung, decision: act, count: 4}]`: "",
		`leak.jsonl.zst, steps: [{advance: 11s, expect: [{rule: hung, decision: act, count: 5}]}]`:                                                           "",
		`leak.jsonl.zst, expect: [{where: age < 60, rule: hung, decision: act}, {rule: hung, decision: act, count: 4}]`:                                      "act by hung where age < 60 / none / hung: age > timeout is false (age is 50s)",
		`leak.jsonl.zst, expect: [{where: port == 1, decision: none}]`:                                                                                       "no socket that is meant",
		`leak.jsonl.zst, expect: []`: "nothing: the test does not name it / act by hung: destroy",
	} {
		r, err := test(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := failures(r); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s\n%s\nnot %s", text, got, want)
		}
	}
	_, err := test("gone.jsonl, expect: []")
	if problems, ok := errors.AsType[rules.Problems](err); !ok || !strings.Contains(problems.Error(), "x_test.yaml:2:25: ") {
		t.Errorf("%v", err)
	}
}
