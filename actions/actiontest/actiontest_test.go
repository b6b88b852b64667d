package actiontest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

// kill is an action that keeps the contract, apart from what breaks names.
type kill struct {
	breaks string
	target actions.Target
}

var plugin = actions.Plugin{
	Name: "kill", Summary: "kills the process", Doc: "By SIGKILL.", Scope: actions.ScopeProcess,
	Needs:  []actions.Need{{Capability: actions.CapSysPtrace}, {Capability: actions.CapKill, For: "for other users' processes"}},
	Params: []actions.Param{{Name: "how", Type: "string", Doc: "quickly"}}, Main: "how",
	Results: []actions.Result{actions.Ended, actions.StillRunning, actions.Failed},
}

func (k kill) holds() error {
	p := k.target.Process
	held, err := procfs.New("").Holds(p.PID, p.StartTime, k.target.Sockets[0].Socket.Inode)
	if err == nil && !held {
		err = collectors.ErrGone
	}
	return err
}

func (k kill) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	if t.Process == nil {
		if k.breaks == "PrepareWithoutTarget" {
			return k, nil
		}
		return nil, errors.New("no process")
	}
	k.target = t
	switch err := k.holds(); {
	case k.breaks == "PrepareVanished" && err != nil:
		return nil, errors.New("there is no such process")
	case err != nil:
		return nil, err
	case k.breaks == "PrepareChangesNothing":
		if err := unix.Kill(t.Process.PID, unix.SIGKILL); err != nil {
			return nil, err
		}
		for { // a signal takes a moment
			if running, err := procfs.New("").Running(t.Process.PID, t.Process.StartTime); err != nil || !running {
				return k, err
			}
		}
	case k.breaks == "VerifyOnlyLooks after a stop":
		return stubborn{k}, nil
	case k.breaks == "PrepareChangesNothing by a leak":
		_, _ = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	return k, nil
}

func (k kill) String() string {
	if k.breaks == "PrepareChangesNothing by its name" {
		return ""
	}
	return "kill"
}

func (k kill) Apply(context.Context) actions.Outcome {
	switch err := k.holds(); {
	case err != nil && k.breaks == "ApplyVanished":
		return actions.Outcome{Result: actions.Ended}
	case err != nil && k.breaks == "ApplyVanished by a bystander":
		for pid := 2; pid < 1<<15; pid++ {
			if parent, err := procfs.New("").Parent(pid); err == nil && parent == os.Getpid() {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		return actions.OutcomeOf(err)
	case err != nil:
		return actions.OutcomeOf(err)
	case k.breaks == "Apply":
		return actions.Outcome{Result: actions.Ended}
	case k.breaks == "ApplyNeverWaits":
		time.Sleep(atOnce + time.Second/10)
	}
	if err := unix.Kill(k.target.Process.PID, unix.SIGKILL); err != nil {
		return actions.OutcomeOf(err)
	}
	return actions.Outcome{Result: actions.Ended}
}

// stubborn is a kill that cannot be stopped, but claims that it was.
type stubborn struct{ kill }

func (s stubborn) Stop(context.Context) actions.Outcome {
	return actions.Outcome{Result: actions.Failed, Detail: "ended"}
}

var verified int

func (k kill) Verify(ctx context.Context) actions.Outcome {
	switch {
	case k.breaks == "VerifyOnlyLooks":
		_ = unix.Kill(k.target.Process.PID, unix.SIGKILL)
		for { // a signal takes a moment
			if running, err := procfs.New("").Running(k.target.Process.PID, k.target.Process.StartTime); err != nil || !running {
				return actions.Outcome{Result: actions.Ended}
			}
		}
	case k.breaks == "VerifyOnlyLooks until it is told to stop" && ctx.Err() == nil:
		return actions.Outcome{Result: actions.StillRunning, Pending: true}
	case k.breaks == "VerifyOnlyLooks until it is told to stop":
		return actions.Outcome{Result: actions.Failed, Detail: "ended"}
	}
	running, err := procfs.New("").Running(k.target.Process.PID, k.target.Process.StartTime)
	verified++
	switch {
	case err != nil:
		return actions.OutcomeOf(err)
	case k.breaks == "Apply": // claims success, and does nothing
	case k.breaks == "Apply by forgetting" && verified%2 == 0:
		return actions.Outcome{Result: actions.Failed}
	case running:
		return actions.Outcome{Result: actions.StillRunning}
	}
	return actions.Outcome{Result: actions.Ended}
}

func newKill(breaks string) actions.Plugin {
	p := plugin
	switch breaks {
	case "Documented":
		p.Needs = nil
	case "NeedsSuffice":
		p.Needs = p.Needs[1:]
	case "Documented by its needs":
		p.Needs = append(slices.Clone(p.Needs), actions.Need{Text: "root", Capability: actions.CapKill})
	case "Documented by its main parameter":
		p.Main = "who"
	case "Documented by its results":
		p.Results = nil
	case "Apply by another result":
		p.Results = []actions.Result{actions.Done}
	}
	p.New = func(params map[string]any) (actions.Action, error) {
		if breaks == "New" {
			if _, err := os.ReadFile("/proc/self/stat"); err != nil {
				return nil, err
			}
		}
		if how := params["how"]; how == "slowly" && breaks != "New by accepting" {
			return nil, errors.New("quickly is the only way")
		}
		return kill{breaks: breaks}, nil
	}
	return p
}

const envBreaks = "ACTIONTEST_BREAKS"

// An action that keeps the contract passes, and one that breaks it fails in the right
// place. Each is tested in its own process.
func TestRun(t *testing.T) {
	if breaks, is := os.LookupEnv(envBreaks); is {
		Run(t, newKill(breaks), Cases{
			Good: []map[string]any{{"how": "quickly"}, nil},
			Bad:  []Bad{{map[string]any{"how": "slowly"}, "quickly"}},
			Make: func(t testing.TB) *Subject { return &HeldOnProcess(t, socklab.HolderOptions{}).Subject },
		})
		return
	}
	socklab.Need(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, breaks := range []string{
		"", "Documented", "Documented by its main parameter", "Documented by its results", "New", "New by accepting",
		"PrepareChangesNothing", "PrepareChangesNothing by a leak", "PrepareChangesNothing by its name",
		"PrepareWithoutTarget", "PrepareVanished", "ApplyVanished", "ApplyVanished by a bystander",
		"Apply", "Apply by forgetting", "Apply by another result", "ApplyNeverWaits", "VerifyOnlyLooks", "VerifyOnlyLooks until it is told to stop",
		"VerifyOnlyLooks after a stop", "Documented by its needs", "NeedsSuffice",
	} {
		t.Run("breaks "+breaks, func(t *testing.T) {
			t.Parallel()
			where, _, _ := strings.Cut(breaks, " ")
			run := "^TestRun$"
			if where != "" {
				run += "/^" + where + "$"
			}
			cmd := exec.CommandContext(t.Context(), exe, "-test.run="+run, "-test.v")
			cmd.Env = append(os.Environ(), envBreaks+"="+breaks, socklab.EnvLeaks+"=2s")
			out, err := cmd.CombinedOutput()
			if where == "" && err != nil || where != "" && !bytes.Contains(out, fmt.Appendf(nil, "--- FAIL: TestRun/%s (", where)) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
