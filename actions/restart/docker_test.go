package restart

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/dockerlab"
)

// inDocker returns a target in a container: a process and a socket of it.
func inDocker(t *testing.T, pid int) actions.Target {
	t.Helper()
	proc := procfs.New("")
	o, err := proc.Describe(pid)
	must(t, "process", err)
	var held []procfs.Held
	socklab.WaitFor(t, "it has a socket", func() bool {
		held, err = proc.Sockets(o.PID, o.StartTime)
		must(t, "sockets", err)
		return len(held) > 0
	})
	return actions.Target{Process: &o, Sockets: []actions.Sealed{{Socket: collectors.Socket{Inode: held[0].Inode}}}}
}

// TestContainer restarts containers of a real engine.
func TestContainer(t *testing.T) {
	d := dockerlab.Start(t)
	d.Image("relay:1", "../..")
	id, pid := d.Run("--name", "hbbr", "relay:1")
	_, neighbour := d.Run("--name", "hbbs", "relay:1")
	started := func(id string) string { return d.Docker("inspect", "-f", "{{.State.StartedAt}}", id) }
	was, others := started("hbbr"), started("hbbs")
	proc := procfs.New("")

	t.Run("others in the meantime", func(t *testing.T) {
		e, err := prepare(t, inDocker(t, pid), nil)
		must(t, "Prepare", err)
		if e.String() != "restart container hbbr (docker)" || started("hbbr") != was {
			t.Errorf("%s, or Prepare does it", e)
		}
		d.Docker("restart", "-t", "0", "hbbr")
		was = started("hbbr")
		if out := e.Apply(t.Context()); out.Result != actions.Changed || out.Err != nil || started("hbbr") != was {
			t.Errorf("%+v", out)
		}
		if out := e.Verify(t.Context()); out.Result != actions.Changed {
			t.Errorf("%+v", out)
		}
	})
	t.Run("restart", func(t *testing.T) {
		actiontest.LeakCheck(t)
		pid = pidIn(t, d, "hbbr")
		target := inDocker(t, pid)
		e, err := prepare(t, target, nil)
		must(t, "Prepare", err)
		if out := e.Verify(t.Context()); out.Result != actions.Failed {
			t.Errorf("not begun: %+v", out)
		}
		if out := e.Apply(t.Context()); out != (actions.Outcome{Result: actions.Done}) {
			t.Fatalf("%+v", out)
		}
		if out := await(t, e); out != (actions.Outcome{Result: actions.Done}) || e.Verify(t.Context()) != out || actions.Stop(t.Context(), e) != out {
			t.Errorf("%+v", out)
		}
		if now := started("hbbr"); now == was || started("hbbs") != others {
			t.Errorf("hbbr was started at %s and %s, hbbs at %s and %s", was, now, others, started("hbbs"))
		}
		if running, err := proc.Running(target.Process.PID, target.Process.StartTime); running || err != nil {
			t.Errorf("its process: %t, %v", running, err)
		}
		if _, err := prepare(t, target, nil); !errors.Is(err, collectors.ErrGone) {
			t.Errorf("again: %v", err)
		}
	})
	t.Run("stop", func(t *testing.T) { // of the run, not of the container
		e, err := prepare(t, inDocker(t, pidIn(t, d, "hbbr")), nil)
		must(t, "Prepare", err)
		was := started("hbbr")
		e.Apply(t.Context())
		if out := actions.Stop(t.Context(), e); out.Result != actions.Done || started("hbbr") == was {
			t.Errorf("%+v", out)
		}
	})
	t.Run("timeout", func(t *testing.T) { provesTimeout(t, d) })
	t.Run("forged control group", func(t *testing.T) {
		target := inDocker(t, neighbour)
		o := *target.Process
		for _, group := range []string{
			"/user.slice/user-1000.slice/user@1000.service/" + id, // anybody can make this one
			strings.Replace(o.Cgroup, o.Container, id, 1) + "/../" + id,
		} {
			o.Cgroup, o.Container, target.Process = group, id, &o
			if e, err := prepare(t, target, nil); e != nil || err == nil || errors.Is(err, collectors.ErrGone) || !strings.Contains(err.Error(), "is not where docker has") {
				t.Errorf("%v, %v", e, err)
			}
		}
		o.Cgroup = "/system.slice/a.service"
		if e, err := prepare(t, target, nil); e != nil || err == nil {
			t.Errorf("no container's: %v, %v", e, err)
		}
	})
	t.Run("together", func(t *testing.T) { provesTogether(t, d) })
}

func pidIn(t *testing.T, d *dockerlab.Engine, name string) (pid int) {
	t.Helper()
	_, err := fmt.Sscan(d.Docker("inspect", "-f", "{{.State.Pid}}", name), &pid)
	must(t, "pid", err)
	return pid
}

// provesTimeout runs a container with a long stop timeout of its own.
func provesTimeout(t *testing.T, d *dockerlab.Engine) {
	_, pid := d.Run("--name", "slow", "--stop-signal", "USR1", "--stop-timeout", "600", "relay:1")
	e, err := prepare(t, inDocker(t, pid), map[string]any{"timeout": time.Second})
	must(t, "Prepare", err)
	if out := e.Apply(t.Context()); out.Result != actions.Done {
		t.Fatalf("%+v", out)
	}
	if out := e.Verify(t.Context()); !out.Pending || out.Result != actions.StillRunning {
		t.Errorf("under way: %+v", out)
	}
	if out := await(t, e); out.Result != actions.Timeout || out.Err == nil || pidIn(t, d, "slow") != pid {
		t.Errorf("%+v", out)
	}
}

// provesTogether finds every process that ends with a container, including those of other
// containers in its PID namespace, but none of a neighbour's.
func provesTogether(t *testing.T, d *dockerlab.Engine) {
	d.Docker("exec", "-d", "hbbr", "/sshd")
	_, sharing := d.Run("--name", "sharing", "--pid", "container:hbbr", "relay:1")
	pid, neighbour := pidIn(t, d, "hbbr"), pidIn(t, d, "hbbs")
	proc := procfs.New("")
	members := func(pid int) (names []string, pids []int) {
		o, err := proc.Describe(pid)
		must(t, "process", err)
		all, err := proc.InContainer(&o)
		must(t, "members", err)
		for i := range all {
			names, pids = append(names, all[i].Name), append(pids, all[i].PID)
		}
		return names, pids
	}
	d.Until("the command runs", func() bool {
		names, _ := members(pid)
		return slices.Contains(names, "sshd")
	})
	if names, pids := members(pid); len(pids) != 3 || !slices.Contains(pids, pid) || !slices.Contains(pids, sharing) {
		t.Errorf("%v %v with %d and %d", names, pids, pid, sharing)
	}
	for _, pid := range []int{neighbour, sharing} { // sharing a namespace takes nobody along
		if _, pids := members(pid); !slices.Equal(pids, []int{pid}) {
			t.Errorf("%v with %d", pids, pid)
		}
	}
	o, err := proc.Describe(os.Getpid())
	must(t, "self", err)
	o.Cgroup = "/"
	if all, err := proc.InContainer(&o); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("no container: %v, %v", all, err)
	}
}

// What nobody can restart is unsupported, and the other targets go on.
func TestNobodyToAsk(t *testing.T) {
	socklab.Need(t)
	h := held(t)
	id := strings.Repeat("0123456789abcdef", 4)
	const pod = "/kubepods/besteffort/pod01234567-89ab-cdef-0123-456789abcdef/"
	for group, text := range map[string]string{
		pod + id:        "",
		"/docker/" + id: "no container engine was found",
	} {
		o := *h.Target.Process
		o.Cgroup, o.Container, o.Unit = group, id, ""
		target := h.Target
		target.Process = &o
		e, err := prepare(t, target, nil)
		out := actions.OutcomeOf(err)
		if e != nil || out.Result != actions.Unsupported || out.EndsAll() || !strings.Contains(out.Err.Error(), text) {
			t.Errorf("%s: %v, %+v", group, e, out)
		}
	}
}
