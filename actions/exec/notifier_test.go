package exec

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors/socklab"
)

// sends makes a notifier of a script.
func sends(t *testing.T, body string, timeout time.Duration) (n actions.Notifier, dir string) {
	t.Helper()
	program := script(t, body)
	n, err := Notifier().New(map[string]any{"program": program, "timeout": timeout})
	must(t, "new", err)
	return n, filepath.Dir(program)
}

// The program gets the message as one line of JSON, with lists that may be empty.
func TestNotifierInput(t *testing.T) {
	actiontest.LeakCheck(t)
	n, dir := sends(t, `cat > $(dirname $0)/input`, time.Minute)
	must(t, "send", n.Send(t.Context(), actions.Message{Rule: "leak", Event: actions.EventOver, Host: "web1", Lasted: 3}))
	text, err := os.ReadFile(filepath.Join(dir, "input"))
	must(t, "read", err)
	var m map[string]any
	must(t, "decode", json.Unmarshal(text, &m))
	if m["rule"] != "leak" || m["event"] != "over" || m["findings"] == nil || m["labels"] == nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("%s", text)
	}
}

// How the program ends says whether the message is delivered, lost, or tried again.
func TestNotifierEnds(t *testing.T) {
	actiontest.LeakCheck(t)
	for body, want := range map[string]struct {
		text  string
		final bool
	}{
		"exit 0":                   {"", false},
		"echo no route; exit 75":   {"exit code 75: no route", false},
		"echo no such room;exit 1": {"exit code 1: no such room", true},
		"kill -9 $$":               {"ended by SIGKILL", true},
		"exec sleep 1000":          {"killed after 500ms", true},
	} {
		timeout := time.Minute
		if want.text == "killed after 500ms" {
			timeout = 500 * time.Millisecond
		}
		n, _ := sends(t, body, timeout)
		err := n.Send(t.Context(), actions.Message{})
		_, final := errors.AsType[*actions.FinalError](err)
		if (err == nil) != (want.text == "") || err != nil && !strings.Contains(err.Error(), want.text) || final != want.final {
			t.Errorf("%s: %v, final %t", body, err, final)
		}
	}
	missing, err := Notifier().New(map[string]any{"program": "/nonexistent/program"})
	must(t, "new", err)
	err = missing.Send(t.Context(), actions.Message{})
	if _, final := errors.AsType[*actions.FinalError](err); err == nil || final {
		t.Errorf("a program that may still come: %v", err)
	}
}

// Whoever must stop does not wait for the program, which ends.
func TestNotifierStops(t *testing.T) {
	actiontest.LeakCheck(t)
	n, dir := sends(t, `echo $$ > $(dirname $0)/pid; exec sleep 1000`, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.Send(ctx, actions.Message{}) }()
	socklab.WaitFor(t, "the program", func() bool { text, _ := os.ReadFile(filepath.Join(dir, "pid")); return len(text) > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// It has the parameters of the action that make sense, and those of all notifiers.
func TestNotifierParams(t *testing.T) {
	var names []string
	for _, q := range Notifier().Params {
		names = append(names, q.Name)
	}
	if want := []string{"program", "timeout", "rate", "repeat", "resolved"}; !slices.Equal(names, want) {
		t.Errorf("%v", names)
	}
	for _, bad := range []map[string]any{{"program": "x"}, {"program": "/x", "rate": 0.5}, {"program": "/x", "timeout": 2 * time.Hour}} {
		if _, err := Notifier().New(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// A program that has the message already may end by itself, if whoever sends says so.
func TestNotifierEndsAttempt(t *testing.T) {
	actiontest.LeakCheck(t)
	n, dir := sends(t, `cd $(dirname $0); echo > begun; while [ ! -e end ]; do sleep 0.05; done`, time.Minute)
	ctx, cancel := context.WithCancel(actions.WithAttempt(t.Context()))
	done := make(chan error)
	go func() { done <- n.Send(ctx, actions.Message{}) }()
	socklab.WaitFor(t, "the program", func() bool { _, err := os.Stat(filepath.Join(dir, "begun")); return err == nil })
	cancel()
	must(t, "let it end", os.WriteFile(filepath.Join(dir, "end"), nil, 0o600))
	must(t, "send", <-done)
}
