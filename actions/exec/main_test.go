package exec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// script writes a shell script, which can find its directory as $(dirname $0).
func script(t testing.TB, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	write(t, path, "#!/bin/sh\n"+body, 0o755)
	return path
}

func write(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	must(t, "write", os.WriteFile(path, []byte(content), 0o600))
	must(t, "chmod", os.Chmod(path, mode))
}

// said returns what a program wrote to a file beside itself.
func said(t testing.TB, program, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(filepath.Dir(program), name))
	must(t, "read", err)
	return string(b)
}

// target returns a socket of this process.
func target(t testing.TB) actions.Target {
	t.Helper()
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	return actions.Target{Rule: "test", Sockets: []actions.Sealed{actiontest.Sealed(t, c)}, Host: "here"}
}

func prepare(t testing.TB, program string, timeout time.Duration, target actions.Target) (actions.Effect, error) {
	t.Helper()
	params := map[string]any{"program": program}
	if timeout > 0 {
		params["timeout"] = timeout
	}
	a, err := Plugin().New(params)
	must(t, "New", err)
	return a.Prepare(t.Context(), target)
}

// started prepares and starts a program. At the end of the test it ends the program and
// checks that no child is left.
func started(t testing.TB, program string, timeout time.Duration, target actions.Target) *effect {
	t.Helper()
	e, err := prepare(t, program, timeout, target)
	must(t, "Prepare", err)
	t.Cleanup(func() { end(t, e) })
	if out := e.Apply(t.Context()); out != (actions.Outcome{Result: actions.Done}) {
		t.Fatalf("Apply: %+v", out)
	}
	return e.(*effect)
}

// end kills a running effect, as the engine does when told to stop.
func end(t testing.TB, e actions.Effect) {
	socklab.WaitFor(t, "the end of the program", func() bool { return !actions.Stop(context.Background(), e).Pending })
}

// await asks until the outcome is final.
func await(t testing.TB, e actions.Effect) (out actions.Outcome) {
	t.Helper()
	socklab.WaitFor(t, "the end of the program", func() bool {
		out = e.Verify(t.Context())
		if out.Pending && (out.Result != actions.StillRunning || out.Err != nil) {
			t.Errorf("pending: %+v", out)
		}
		return !out.Pending
	})
	if again := e.Verify(t.Context()); again != out {
		t.Errorf("Verify: %+v, then %+v", out, again)
	}
	return out
}

// run runs a script to its end.
func run(t testing.TB, body string) actions.Outcome {
	t.Helper()
	out := await(t, started(t, script(t, body), 0, target(t)))
	childless(t)
	return out
}

// childless checks that no child is left, not even a zombie.
func childless(t testing.TB) {
	t.Helper()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: %+v, %v", info, err)
	}
}

func TestConformance(t *testing.T) {
	// It ends the process that holds the socket.
	program := script(t, `pid=$(sed 's/.*"pid":\([0-9]*\),.*/\1/')
kill -KILL $pid && while [ -d /proc/$pid ]; do :; done
exit 0
`)
	var effects []actions.Effect
	plugin := Plugin()
	plugin.New = func(params map[string]any) (actions.Action, error) {
		a, err := newAction(params)
		if err != nil {
			return nil, err
		}
		return noting{a, &effects}, nil
	}
	long := "/" + strings.Repeat("long/", 100)
	bad := func(word string, params map[string]any) actiontest.Bad {
		return actiontest.Bad{Params: params, Word: word}
	}
	actiontest.Run(t, plugin, actiontest.Cases{
		Good: []map[string]any{
			{"program": program},
			{"program": "/not/there"},
			{"program": long},
			{"program": "/a", "timeout": time.Millisecond},
			{"program": "/a", "timeout": time.Hour},
		},
		Bad: []actiontest.Bad{
			bad("absolute path", nil),
			bad("absolute path", map[string]any{"program": ""}),
			bad("absolute path", map[string]any{"program": "program"}),
			bad("absolute path", map[string]any{"program": "./program"}),
			bad("no shell", map[string]any{"program": "echo x > /tmp/x"}),
			bad("timeout", map[string]any{"program": "/a", "timeout": time.Duration(0)}),
			bad("timeout", map[string]any{"program": "/a", "timeout": -time.Second}),
			bad("1h", map[string]any{"program": "/a", "timeout": time.Hour + 1}),
		},
		Make: func(t testing.TB) *actiontest.Subject {
			s := &actiontest.HeldOnProcess(t, socklab.HolderOptions{}).Subject
			t.Cleanup(func() { // before the descriptors are counted
				for _, e := range effects {
					end(t, e)
				}
				effects = nil
			})
			return s
		},
	})
}

// noting notes the effects that an action prepares.
type noting struct {
	actions.Action
	effects *[]actions.Effect
}

func (n noting) Prepare(ctx context.Context, t actions.Target) (actions.Effect, error) {
	e, err := n.Action.Prepare(ctx, t)
	if err == nil {
		*n.effects = append(*n.effects, e)
	}
	return e, err
}

func lines(s string) []string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(all)
	return all
}
