package restart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// first is the first directory searched for systemctl.
const first = "/usr/local/sbin"

// standIn replaces systemctl by a shell script until the end of the test, in the mount
// namespace of the tests. calls returns the arguments of each call.
func standIn(t testing.TB, body string) (calls func() string) {
	t.Helper()
	socklab.Need(t) // or this would be the host
	must(t, "mount", unix.Mount("tmpfs", first, "tmpfs", 0, "mode=0755"))
	t.Cleanup(func() { must(t, "unmount", unix.Unmount(first, unix.MNT_DETACH)) })
	notes := filepath.Join(t.TempDir(), "calls")
	text := fmt.Sprintf("#!/bin/sh\nfor a; do printf '<%%s>' \"$a\"; done >> %s\necho >> %s\n%s\n", notes, notes, body)
	must(t, "write", os.WriteFile(first+"/systemctl", []byte(text), 0o755))
	must(t, "chmod", os.Chmod(first+"/systemctl", 0o755))
	return func() string {
		b, err := os.ReadFile(notes)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		return string(b)
	}
}

// held starts a process in a system unit that is named after it.
func held(t testing.TB) *actiontest.HeldSubject {
	t.Helper()
	h := actiontest.HeldOnProcess(t, socklab.HolderOptions{})
	inUnit(h.Target.Process, fmt.Sprintf("holder-%d.service", h.Holder.PID))
	return h
}

func inUnit(o *collectors.Owner, unit string) {
	o.Unit, o.Cgroup = unit, "/system.slice/"+unit
}

func prepare(t testing.TB, target actions.Target, params map[string]any) (actions.Effect, error) {
	t.Helper()
	a, err := Plugin().New(params)
	must(t, "New", err)
	return a.Prepare(t.Context(), target)
}

// started prepares and applies; the end of the test ends the effect.
func started(t testing.TB, target actions.Target, params map[string]any) actions.Effect {
	t.Helper()
	e, err := prepare(t, target, params)
	must(t, "Prepare", err)
	t.Cleanup(func() { end(t, e) })
	if out := e.Apply(t.Context()); out != (actions.Outcome{Result: actions.Done}) {
		t.Fatalf("Apply: %+v", out)
	}
	return e
}

// end kills a running effect, as the engine does when told to stop.
func end(t testing.TB, e actions.Effect) {
	socklab.WaitFor(t, "the end of systemctl", func() bool { return !actions.Stop(context.Background(), e).Pending })
}

func await(t testing.TB, e actions.Effect) (out actions.Outcome) {
	t.Helper()
	socklab.WaitFor(t, "the end of systemctl", func() bool {
		out = e.Verify(t.Context())
		return !out.Pending
	})
	return out
}

func TestConformance(t *testing.T) {
	// Each unit is named after its process, which the restart ends.
	standIn(t, `pid=${3#holder-}; pid=${pid%.service}
kill -KILL $pid && while [ -d /proc/$pid ]; do :; done
exit 0`)
	var effects []actions.Effect
	plugin := Plugin()
	plugin.New = func(params map[string]any) (actions.Action, error) {
		a, err := newAction(params)
		if err != nil {
			return nil, err
		}
		return noting{a, &effects}, nil
	}
	bad := func(d time.Duration) actiontest.Bad {
		return actiontest.Bad{Params: map[string]any{"timeout": d}, Word: "timeout"}
	}
	actiontest.Run(t, plugin, actiontest.Cases{
		Good: []map[string]any{nil, {"timeout": time.Second}, {"timeout": time.Hour}, {"listener": true}},
		Bad:  []actiontest.Bad{bad(0), bad(-time.Second), bad(time.Second - 1), bad(time.Hour + 1)},
		Make: func(t testing.TB) *actiontest.Subject {
			h := held(t)
			t.Cleanup(func() { // before the descriptors are counted
				for _, e := range effects {
					end(t, e)
				}
				effects = nil
			})
			return &h.Subject
		},
	})
	if p := Plugin(); !p.OnProcess() || !p.OnUnit() || !p.NeedsCooldown || p.Harmless {
		t.Errorf("%+v", p)
	}
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

// systemctl gets exactly these words, once, and nothing before Apply.
func TestArguments(t *testing.T) {
	actiontest.LeakCheck(t)
	calls := standIn(t, "echo restarted")
	for _, unit := range []string{"hbbs.service", "app@1.service", `a\x2db:c_d.e.service`, "app.user@1.service"} {
		h := actiontest.HeldOnProcess(t, socklab.HolderOptions{})
		inUnit(h.Target.Process, unit)
		before := calls()
		e, err := prepare(t, h.Target, nil)
		must(t, "Prepare", err)
		if e.String() != "restart unit "+unit {
			t.Errorf("the effect is %q", e)
		}
		if calls() != before {
			t.Error("Prepare calls systemctl")
		}
		t.Cleanup(func() { end(t, e) })
		if out := e.Apply(t.Context()); out.Result != actions.Done {
			t.Fatalf("Apply: %+v", out)
		}
		if out := await(t, e); out != (actions.Outcome{Result: actions.Done, Detail: "restarted"}) {
			t.Errorf("%+v", out)
		}
		if got, want := strings.TrimPrefix(calls(), before), "<restart><--><"+unit+">\n"; got != want {
			t.Errorf("systemctl %q, not %q", got, want)
		}
		if !h.Holder.Running() {
			t.Error("the process was ended by us")
		}
	}
}

// Only a service of the system's own manager is restarted: one with nothing but slices
// above it.
func TestUnits(t *testing.T) {
	actiontest.LeakCheck(t)
	calls := standIn(t, "")
	h := held(t)
	id := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct {
		unit, cgroup, container string
		good                    bool
	}{
		{"nginx.service", "/system.slice/nginx.service", "", true},
		{"nginx.service", "/nginx.service", "", true},
		{"getty@tty1.service", "/system.slice/system-getty.slice/getty@tty1.service", "", true},
		{"pod.service", "/system.slice/pod.service/supervisor", "", true},
		{"", "/", "", false},
		{"", "", "", false},
		{"session-2.scope", "/user.slice/user-0.slice/session-2.scope", "", false},
		{"run-1.scope", "/system.slice/run-1.scope", "", false},
		{"user@0.service", "/user.slice/user-0.slice/user@0.service", "", false},
		// Of a user's manager: the system may have a unit with the same name.
		{"nginx.service", "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service", "", false},
		// Of a container's manager, likewise.
		{"nginx.service", "/system.slice/docker-" + id + ".scope/system.slice/nginx.service", id, false},
		{"nginx.service", "/docker/" + id + "/system.slice/nginx.service", "", false},
		{"nginx.service", "/lxc.payload.web/system.slice/nginx.service", "", false},
		{"nginx.service", "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service", "", false},
		{"docker.service", "/system.slice/docker.service", id, false},
		{"nginx.service", "/../nginx.service", "", false},
		{"nginx.service", "/nginx.service.d/nginx.service", "", false},
		// Patterns, options and nonsense, in a control group that somebody made.
		{"*.service", "/system.slice/*.service", "", false},
		{"[a-z].service", "/system.slice/[a-z].service", "", false},
		{"a b.service", "/system.slice/a b.service", "", false},
		{"--force.service", "/system.slice/--force.service", "", false},
		{"-.slice", "/-.slice", "", false},
		{"nginx", "/system.slice/nginx", "", false},
		{"nginx.service", "/system.slice/other.service", "", false},
		{"nginx.service", "", "", false}, // nothing says where it is
	} {
		target := h.Target
		process := *h.Target.Process
		process.Unit, process.Cgroup, process.Container = c.unit, c.cgroup, c.container
		target.Process = &process
		e, err := prepare(t, target, nil)
		switch {
		case c.good && err != nil:
			t.Errorf("%s: %v", c.cgroup, err)
		case c.good:
		case e != nil || err == nil || errors.Is(err, collectors.ErrGone):
			t.Errorf("%s: %v, %v", c.cgroup, e, err)
		}
	}
	target := h.Target
	target.Process = nil
	if e, err := prepare(t, target, nil); e != nil || err == nil {
		t.Errorf("no process: %v, %v", e, err)
	}
	if calls() != "" {
		t.Errorf("systemctl %s", calls())
	}
}

// A process that has let go of the socket is no longer a reason.
func TestSocketClosed(t *testing.T) {
	actiontest.LeakCheck(t)
	calls := standIn(t, "")
	h := held(t)
	e, err := prepare(t, h.Target, nil)
	must(t, "Prepare", err)
	h.Holder.CloseSockets(t)
	if out := e.Apply(t.Context()); out.Result != actions.Changed || out.Err != nil {
		t.Errorf("Apply: %+v", out)
	}
	if e, err := prepare(t, h.Target, nil); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare: %v, %v", e, err)
	}
	if calls() != "" || !h.Holder.Running() {
		t.Errorf("systemctl %s", calls())
	}
}

func TestSystemctlFails(t *testing.T) {
	actiontest.LeakCheck(t)
	standIn(t, "echo 'Failed to restart x.service: Unit x.service not found.' >&2; exit 5")
	out := await(t, started(t, held(t).Target, nil))
	if out.Result != actions.Failed || out.Err == nil || out.Err.Error() != "exit code 5: Failed to restart x.service: Unit x.service not found." {
		t.Errorf("%+v", out)
	}
}

// A unit can take long to stop.
func TestTimeout(t *testing.T) {
	actiontest.LeakCheck(t)
	standIn(t, "echo stopping; exec sleep 1000")
	said := false
	for timeout := time.Second; !said; timeout *= 2 { // a busy machine needs more to say something
		start := time.Now()
		out := await(t, started(t, held(t).Target, map[string]any{"timeout": timeout}))
		if out.Result != actions.Timeout || out.Err == nil || !strings.HasPrefix(out.Err.Error(), "killed after "+timeout.String()) {
			t.Fatalf("%+v", out)
		}
		if took := time.Since(start); took < timeout {
			t.Errorf("it took %s", took)
		}
		if said = strings.HasSuffix(out.Err.Error(), "s: stopping"); !said && timeout > 10*time.Second {
			t.Fatalf("%+v", out)
		}
	}
}

// Without systemd there is nobody to ask, and a systemctl that others can write is not
// asked.
func TestNoSystemctl(t *testing.T) {
	actiontest.LeakCheck(t)
	calls := standIn(t, "")
	h := held(t)
	for _, dir := range []string{"/usr/local/bin", "/usr/sbin", "/usr/bin"} {
		must(t, "mount", unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"))
		defer func() { must(t, "unmount", unix.Unmount(dir, unix.MNT_DETACH)) }()
	}
	_, err := prepare(t, h.Target, nil)
	must(t, "Prepare", err)
	must(t, "chmod", os.Chmod(first+"/systemctl", 0o757))
	if e, err := prepare(t, h.Target, nil); e != nil || err == nil || !strings.Contains(err.Error(), "chmod go-w "+first+"/systemctl") {
		t.Errorf("others can write: %v, %v", e, err)
	}
	must(t, "remove", os.Remove(first+"/systemctl"))
	e, err := prepare(t, h.Target, nil)
	if e != nil || !errors.Is(err, fs.ErrNotExist) || errors.Is(err, collectors.ErrGone) {
		t.Errorf("missing: %v, %v", e, err)
	}
	if calls() != "" {
		t.Errorf("systemctl %s", calls())
	}
}
