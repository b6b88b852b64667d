package containers

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/socklab/dockerlab"
)

// inside starts a container and returns what the control group of its first process says.
func inside(t *testing.T, d *dockerlab.Engine, args ...string) (ref Ref, pid int) {
	t.Helper()
	id, pid := d.Run(args...)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	must(t, "control group", err)
	ref = RefOf(cgroup.Of(b))
	if ref.ID != id {
		t.Fatalf("the control group of %s says %q:\n%s", id, ref.ID, b)
	}
	return ref, pid
}

func sameFile(t testing.TB, a, b string) bool {
	t.Helper()
	x, err := os.Stat(a)
	must(t, "stat", err)
	y, err := os.Stat(b)
	must(t, "stat", err)
	return os.SameFile(x, y)
}

// TestDocker asks a real engine about the containers that it runs, through its API and
// its files, while it renames, restarts and removes them, and hangs.
func TestDocker(t *testing.T) {
	d := dockerlab.Start(t)
	d.Image("test:1", "../..")
	relay, pid := inside(t, d, "--name", "hbbr", "-p", "21117:8080", "-p", "127.0.0.1:9000:9000/udp", "--label", "com.docker.compose.service=relay", "test:1")
	side, sidePID := inside(t, d, "--name", "side", "--network", "container:hbbr", "test:1")
	host, _ := inside(t, d, "--name", "hostnet", "--network", "host", "test:1")

	n, turned := asked(Places{DockerSockets: []string{"/run/docker.sock", "/var/run/docker.sock"}})
	t.Run("names", func(t *testing.T) {
		answers := n.Lookup(t.Context(), relay, side, host, Ref{ID: nobody})
		c, err := answers[relay.ID].Container, answers[relay.ID].Err
		must(t, "hbbr", err)
		inside := netip.AddrPort{}
		if len(c.Addrs) == 1 {
			inside = netip.AddrPortFrom(c.Addrs[0], 8080)
		}
		if c.Name != "hbbr" || c.ComposeService != "relay" || c.Image != "test:1" || c.Engine != Docker || c.InitPID != pid || len(c.Published) != 3 ||
			c.Published[0] != (Published{"tcp", netip.MustParseAddrPort("0.0.0.0:21117"), inside}) || c.Published[2].Host != netip.MustParseAddrPort("127.0.0.1:9000") {
			t.Errorf("%+v", c)
		}
		if !sameFile(t, c.SandboxKey, fmt.Sprintf("/proc/%d/ns/net", pid)) || !sameFile(t, c.SandboxKey, fmt.Sprintf("/proc/%d/ns/net", sidePID)) {
			t.Errorf("%s is no namespace of the container's", c.SandboxKey)
		}
		if c := answers[side.ID].Container; c.Name != "side" || c.NetworkMode != "container:"+relay.ID || c.SandboxKey != "" || !c.Has(PartSandbox) {
			t.Errorf("%+v", c)
		}
		if c := answers[host.ID].Container; c.Name != "hostnet" || c.NetworkMode != "host" || len(c.Published) != 0 {
			t.Errorf("%+v", c)
		}
		if err := answers[nobody].Err; !errors.Is(err, ErrNoSuch) {
			t.Errorf("of no container: %v", err)
		}
	})
	t.Run("docker-proxy", func(t *testing.T) { provesProxy(t, n) })
	t.Run("files", func(t *testing.T) {
		put(t, d.Root+"/../daemon.json", []byte(`{"data-root":"`+d.Root+`"}`))
		files, _ := asked(Places{DockerSockets: []string{"/run/none.sock"}, DaemonFiles: []string{d.Root + "/../daemon.json"}})
		api, err := look(t, n, relay)
		must(t, "api", err)
		c, err := look(t, files, relay)
		must(t, "files", err)
		if c.Source != d.Root+"/containers/"+relay.ID {
			t.Errorf("from %s", c.Source)
		}
		c.Source = api.Source
		if fmt.Sprintf("%+v", c) != fmt.Sprintf("%+v", api) {
			t.Errorf("files: %+v\nAPI:   %+v", c, api)
		}
		if _, err := look(t, files, Ref{ID: nobody}); !errors.Is(err, ErrNoSuch) {
			t.Errorf("of no container: %v", err)
		}
		if _, err := files.Restart(t.Context(), relay, nil); !errors.Is(err, ErrNotSupported) {
			t.Errorf("restart by files: %v", err)
		}
	})
	t.Run("rename", func(t *testing.T) {
		d.Docker("rename", "hbbr", "relay")
		if c, _ := look(t, n, relay); c.Name != "hbbr" {
			t.Errorf("asked again at once: %s", c.Name)
		}
		turned.t = turned.t.Add(DefaultKeep)
		if c, _ := look(t, n, relay); c.Name != "relay" {
			t.Errorf("%s is the old name", c.Name)
		}
	})
	t.Run("hang", func(t *testing.T) { provesHang(t, d, relay) })
	t.Run("restart", func(t *testing.T) { provesRestart(t, d, n, relay, pid) })
	t.Run("remove", func(t *testing.T) {
		d.Docker("rm", "-f", side.ID)
		turned.t = turned.t.Add(DefaultKeep)
		if c, err := look(t, n, side); !errors.Is(err, ErrNoSuch) {
			t.Errorf("%+v, %v", c, err)
		}
		if _, err := n.Restart(t.Context(), side, nil); !errors.Is(err, ErrNoSuch) {
			t.Errorf("restart: %v", err)
		}
	})
}

// provesProxy finds the container behind each docker-proxy.
func provesProxy(t *testing.T, n *Names) {
	all, err := n.Running(t.Context())
	must(t, "list", err)
	if len(all) != 3 || all[0].Name != "hbbr" || all[1].Name != "hostnet" || all[2].Name != "side" {
		t.Fatalf("%+v", all)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, "processes", err)
	found := 0
	for _, line := range lines {
		b, _ := os.ReadFile(line)
		_, args, ok := strings.Cut(string(b), "docker-proxy\x00")
		if !ok {
			continue
		}
		found++
		if _, addr, _ := strings.Cut(args, "-container-ip\x00"); len(all[0].Addrs) != 1 || !strings.HasPrefix(addr, all[0].Addrs[0].String()+"\x00") {
			t.Errorf("%q does not lead to %s", args, all[0].Addrs)
		}
	}
	if found == 0 {
		t.Error("no docker-proxy")
	}
}

// provesHang stops dockerd: the kernel still accepts connections, but no answer comes.
func provesHang(t *testing.T, d *dockerlab.Engine, ref Ref) {
	must(t, "stop", d.Process.Signal(unix.SIGSTOP))
	defer func() { _ = d.Process.Signal(unix.SIGCONT) }()
	d.Until("dockerd is stopped", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.Process.Pid))
		return len(threads) > 0 && !slices.ContainsFunc(threads, func(thread string) bool {
			b, err := os.ReadFile(thread)
			return err == nil && !bytes.Contains(b, []byte(") T "))
		})
	})
	places := Places{DockerSockets: []string{dockerlab.Socket}}
	// A look ends long before the work in the background does, at least now and then on a
	// busy machine.
	var n *Names
	took := time.Hour
	for tries := 0; took > askLimit && tries < 5; tries++ {
		n = New(Options{Places: places, Retry: time.Millisecond})
		began := time.Now()
		_, err := look(t, n, ref)
		if took = time.Since(began); !errors.Is(err, ErrSilent) {
			t.Errorf("%v after %s", err, took)
		}
	}
	if took > askLimit {
		t.Errorf("silence is told after %s", took)
	}
	places.DataRoots = []string{d.Root}
	if c, err := look(t, New(Options{Places: places, Patience: time.Minute}), ref); err != nil || c.Name != "relay" {
		t.Errorf("by the files: %+v, %v", c, err)
	}
	must(t, "go on", d.Process.Signal(unix.SIGCONT))
	d.Until("the name is known", func() bool {
		c, err := look(t, n, ref)
		return err == nil && c.Name == "relay"
	})
}

// provesRestart restarts a container and checks that it did restart.
func provesRestart(t *testing.T, d *dockerlab.Engine, n *Names, ref Ref, pid int) {
	before, err := n.Inspect(t.Context(), ref.ID)
	must(t, "inspect", err)
	kept := errors.New("not this one")
	if _, err := n.Restart(t.Context(), ref, func(*Container) error { return kept }); !errors.Is(err, kept) {
		t.Errorf("kept back: %v", err)
	}
	r, err := n.Restart(t.Context(), ref, nil)
	must(t, "restart", err)
	d.Until("it was restarted", func() bool {
		done, err := r.Done(t.Context())
		if err != nil && !errors.Is(err, ErrSilent) {
			t.Fatal(err)
		}
		return done
	})
	after, err := n.Inspect(t.Context(), ref.ID)
	must(t, "inspect", err)
	if after.InitPID == 0 || after.InitPID == pid || !after.StartedAt.After(before.StartedAt) || after.Name != "relay" {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if !sameFile(t, after.SandboxKey, fmt.Sprintf("/proc/%d/ns/net", after.InitPID)) {
		t.Errorf("%s is not its namespace", after.SandboxKey)
	}
}
