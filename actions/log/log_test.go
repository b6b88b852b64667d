package log

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

func TestConformance(t *testing.T) {
	actiontest.Run(t, Plugin(slog.New(slog.DiscardHandler)), actiontest.Cases{
		Good: []map[string]any{nil, {"level": "debug"}, {"level": "info"}, {"level": "WARN"}, {"level": "error"}},
		Bad: []actiontest.Bad{
			{Params: map[string]any{"level": "loud"}, Word: "warn"},
			{Params: map[string]any{"level": ""}, Word: "warn"},
		},
		Make: func(t testing.TB) *actiontest.Subject {
			return &actiontest.Held(t, socklab.HolderOptions{}).Subject
		},
	})
}

// lines prepares, applies and verifies, and returns the logged lines.
func lines(t *testing.T, params map[string]any, target actions.Target) []map[string]any {
	t.Helper()
	var b bytes.Buffer
	a, err := Plugin(slog.New(slog.NewJSONHandler(&b, nil))).New(params)
	if err != nil {
		t.Fatal(err)
	}
	e, err := a.Prepare(t.Context(), target)
	if err != nil || b.Len() != 0 {
		t.Fatalf("Prepare: %v, logged %q", err, b.String())
	}
	if out := e.Apply(t.Context()); out.Result != actions.Done {
		t.Errorf("Apply: %+v", out)
	}
	logged := b.String()
	if out := e.Verify(t.Context()); out.Result != actions.Done || b.String() != logged {
		t.Errorf("Verify: %+v, logged %q", out, b.String())
	}
	var all []map[string]any
	for line := range strings.Lines(logged) {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, m)
	}
	return all
}

// A line names the rule, socket and process; the message never contains text that the
// process chose.
func TestLine(t *testing.T) {
	const hostile = "\x1b[2J\nlevel=ER"
	s := actiontest.Held(t, socklab.HolderOptions{Comm: hostile})
	all := lines(t, map[string]any{"level": "warn"}, s.Target)
	if len(all) != 1 {
		t.Fatalf("%v", all)
	}
	for key, want := range map[string]any{
		"level": "WARN", "msg": "finding", "rule": "test", "state": "CLOSE_WAIT", "port": float64(s.Conn.Local.Port()),
		"peer": s.Conn.Remote.String(), "process": hostile, "pid": float64(s.Holder.PID),
	} {
		if all[0][key] != want {
			t.Errorf("%s is %v, not %v", key, all[0][key], want)
		}
	}
	if ns, there := all[0]["netns"]; there {
		t.Errorf("netns %v of a socket of this namespace", ns)
	}
}

// Each socket gets one line, or none below the level of the log.
func TestLines(t *testing.T) {
	one, two := actiontest.Held(t, socklab.HolderOptions{}), actiontest.Held(t, socklab.HolderOptions{})
	both := actions.Target{Rule: "group", Sockets: append(one.Target.Sockets, two.Target.Sockets...)}
	all := lines(t, nil, both)
	if len(all) != 2 || all[0]["level"] != "INFO" || all[0]["port"] == all[1]["port"] {
		t.Errorf("%v", all)
	}
	if all := lines(t, map[string]any{"level": "debug"}, both); len(all) != 0 {
		t.Errorf("below the level: %v", all)
	}
}
