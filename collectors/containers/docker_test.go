package containers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/socklab"
)

// envDocker makes the test of a real Docker engine fail, rather than skip, where
// dockerd is not installed. CI sets it to 1.
const envDocker = "SOCKWARDEN_REQUIRE_DOCKER"

// dockerd is a real engine in the namespaces of this package's tests.
type dockerd struct {
	*testing.T
	socket, root string
	process      *os.Process
}

func startDocker(t *testing.T) *dockerd {
	t.Helper()
	socklab.Need(t)
	path, err := exec.LookPath("dockerd")
	if err != nil {
		if os.Getenv(envDocker) == "1" {
			t.Fatalf("%v (%s=1); cure: apt-get install docker.io", err, envDocker)
		}
		t.Skipf("%v; %s=1 makes this a failure", err, envDocker)
	}
	if os.Geteuid() != 0 || os.Getenv("SOCKLAB_NOBODY") != "" {
		socklab.Lacks(t, errors.New("dockerd takes root"))
	}
	shadow(t, "/etc") // a key for images
	shadow(t, "/opt") // containerd's plugins
	run := "/run/docker"
	must(t, "mkdir", os.MkdirAll(run, 0o755))
	d := &dockerd{T: t, socket: "/run/docker.sock", root: folder(t) + "/data"}
	parent := "/sockwarden-test-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	cmd := exec.Command(path, "-H", "unix://"+d.socket, "--data-root", d.root, "--exec-root", run, "--pidfile", "/run/docker.pid", "--cgroup-parent", parent)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(t, "dockerd", cmd.Start())
	d.process = cmd.Process
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = d.process.Signal(unix.SIGTERM)
		<-ended
		groups, _ := filepath.Glob("/sys/fs/cgroup/*" + parent)
		for _, dir := range append(groups, "/sys/fs/cgroup"+parent) {
			_ = os.Remove(dir)
		}
		if t.Failed() {
			t.Logf("dockerd:\n%s", log.Bytes()[max(0, log.Len()-4000):])
		}
	})
	d.until("dockerd listens", func() bool {
		select {
		case <-ended:
			t.Fatal("dockerd ended")
		default:
		}
		s, err := open(t.Context(), d.socket)
		if err != nil {
			return false
		}
		defer s.close()
		_, err = s.get(t.Context(), "/_ping", time.Second, 100)
		return err == nil
	})
	return d
}

// shadow keeps what is written into a directory away from the host.
func shadow(t *testing.T, dir string) {
	t.Helper()
	at := "/run/shadow" + dir // of the lab: an overlay cannot lie on another one
	must(t, "upper", os.MkdirAll(at+"/upper", 0o755))
	must(t, "work", os.MkdirAll(at+"/work", 0o755))
	must(t, "overlay", unix.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+at+"/upper,workdir="+at+"/work"))
	t.Cleanup(func() { must(t, "unmount", unix.Unmount(dir, 0)) })
}

// until waits for a condition.
func (d *dockerd) until(what string, holds func() bool) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
	defer cancel()
	for tick := time.Tick(20 * time.Millisecond); !holds(); {
		select {
		case <-ctx.Done():
			d.Fatalf("%s: not within a minute", what)
		case <-tick:
		}
	}
}

// docker runs a command of Docker's own client.
func (d *dockerd) docker(args ...string) string {
	d.Helper()
	out, err := exec.CommandContext(d.Context(), "docker", append([]string{"-H", "unix://" + d.socket}, args...)...).CombinedOutput()
	if err != nil {
		d.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// image makes an image of one static program: none can be fetched.
func (d *dockerd) image(name string) {
	d.Helper()
	dir := folder(d)
	build := exec.CommandContext(d.Context(), "go", "build", "-o", dir+"/service", "testdata/service/main.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		d.Fatalf("%v\n%s", err, out)
	}
	program, err := os.ReadFile(dir + "/service")
	must(d, "program", err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(d, "tar", w.WriteHeader(&tar.Header{Name: "service", Mode: 0o755, Size: int64(len(program))}))
	_, err = w.Write(program)
	must(d, "tar", err)
	must(d, "tar", w.Close())
	must(d, "image", os.WriteFile(dir+"/image.tar", b.Bytes(), 0o600))
	d.docker("import", "--change", `CMD ["/service"]`, dir+"/image.tar", name)
}

// run starts a container and returns what the control group of its first process
// says of it.
func (d *dockerd) run(args ...string) (ref Ref, pid int) {
	d.Helper()
	id := d.docker(append([]string{"run", "-d"}, args...)...)
	d.Cleanup(func() {
		if out, err := exec.Command("docker", "-H", "unix://"+d.socket, "rm", "-f", id).CombinedOutput(); err != nil {
			d.Logf("docker rm: %v: %s", err, out)
		}
	})
	pid, err := strconv.Atoi(d.docker("inspect", "-f", "{{.State.Pid}}", id))
	must(d, "pid", err)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	must(d, "control group", err)
	ref = RefOf(cgroup.Of(b))
	if ref.ID != id {
		d.Fatalf("the control group of %s says %q:\n%s", id, ref.ID, b)
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

// TestDocker asks a real engine about containers that it runs, by its API and by
// its files, while it renames, restarts and removes them, and hangs.
func TestDocker(t *testing.T) {
	d := startDocker(t)
	d.image("test:1")
	relay, pid := d.run("--name", "hbbr", "-p", "21117:8080", "-p", "127.0.0.1:9000:9000/udp", "--label", "com.docker.compose.service=relay", "test:1")
	side, sidePID := d.run("--name", "side", "--network", "container:hbbr", "test:1")
	host, _ := d.run("--name", "hostnet", "--network", "host", "test:1")

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
		put(t, d.root+"/../daemon.json", []byte(`{"data-root":"`+d.root+`"}`))
		files, _ := asked(Places{DockerSockets: []string{"/run/none.sock"}, DaemonFiles: []string{d.root + "/../daemon.json"}})
		api, err := look(t, n, relay)
		must(t, "api", err)
		c, err := look(t, files, relay)
		must(t, "files", err)
		if c.Source != d.root+"/containers/"+relay.ID {
			t.Errorf("from %s", c.Source)
		}
		c.Source = api.Source
		if fmt.Sprintf("%+v", c) != fmt.Sprintf("%+v", api) {
			t.Errorf("files: %+v\nAPI:   %+v", c, api)
		}
		if _, err := look(t, files, Ref{ID: nobody}); !errors.Is(err, ErrNoSuch) {
			t.Errorf("of no container: %v", err)
		}
		if _, err := files.Restart(t.Context(), relay); !errors.Is(err, ErrNotSupported) {
			t.Errorf("restart by files: %v", err)
		}
	})
	t.Run("rename", func(t *testing.T) {
		d.docker("rename", "hbbr", "relay")
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
		d.docker("rm", "-f", side.ID)
		turned.t = turned.t.Add(DefaultKeep)
		if c, err := look(t, n, side); !errors.Is(err, ErrNoSuch) {
			t.Errorf("%+v, %v", c, err)
		}
		if _, err := n.Restart(t.Context(), side); !errors.Is(err, ErrNoSuch) {
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

// provesHang stops dockerd: the kernel takes connections for it, and nothing comes.
func provesHang(t *testing.T, d *dockerd, ref Ref) {
	must(t, "stop", d.process.Signal(unix.SIGSTOP))
	defer func() { _ = d.process.Signal(unix.SIGCONT) }()
	d.until("dockerd is stopped", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.process.Pid))
		return len(threads) > 0 && !slices.ContainsFunc(threads, func(thread string) bool {
			b, err := os.ReadFile(thread)
			return err == nil && !bytes.Contains(b, []byte(") T "))
		})
	})
	places := Places{DockerSockets: []string{d.socket}}
	n := New(Options{Places: places, Retry: time.Millisecond})
	began := time.Now()
	_, err := look(t, n, ref)
	if took := time.Since(began); !errors.Is(err, ErrSilent) || took > askLimit {
		t.Errorf("%v after %s", err, took)
	}
	places.DataRoots = []string{d.root}
	if c, err := look(t, New(Options{Places: places, Patience: time.Minute}), ref); err != nil || c.Name != "relay" {
		t.Errorf("by the files: %+v, %v", c, err)
	}
	must(t, "go on", d.process.Signal(unix.SIGCONT))
	d.until("the name is known", func() bool {
		c, err := look(t, n, ref)
		return err == nil && c.Name == "relay"
	})
}

// provesRestart restarts a container and sees that it was.
func provesRestart(t *testing.T, d *dockerd, n *Names, ref Ref, pid int) {
	before, err := n.Inspect(t.Context(), ref.ID)
	must(t, "inspect", err)
	r, err := n.Restart(t.Context(), ref)
	must(t, "restart", err)
	d.until("it was restarted", func() bool {
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
