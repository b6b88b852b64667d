// Package dockerlab runs a real Docker engine in the namespaces of a test, which
// socklab.Main has made: it leaves nothing on the host.
//
// Comes in: a test. Goes out: an Engine, and containers that run one static program.
// There is no network to fetch images from.
package dockerlab

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// envRequire makes tests that need a real Docker engine fail, rather than skip, if
// dockerd is not installed. CI sets it to 1.
const envRequire = "SOCKWARDEN_REQUIRE_DOCKER"

// Socket is where the engine listens.
const Socket = "/run/docker.sock"

// service is the directory of the program in images, relative to the top of the project.
const service = "collectors/socklab/dockerlab/testdata/service"

// Engine is a Docker engine that ends with the test.
type Engine struct {
	// Root is its data root.
	Root    string
	Process *os.Process
	t       *testing.T
}

// Start starts an engine and waits until it answers. Without dockerd it skips the test,
// unless SOCKWARDEN_REQUIRE_DOCKER=1 is set.
func Start(t *testing.T) *Engine {
	t.Helper()
	socklab.Need(t)
	path, err := exec.LookPath("dockerd")
	if err != nil {
		if os.Getenv(envRequire) == "1" {
			t.Fatalf("%v (%s=1); cure: apt-get install docker.io", err, envRequire)
		}
		t.Skipf("%v; %s=1 makes this a failure", err, envRequire)
	}
	if os.Geteuid() != 0 || socklab.IsNobody() {
		socklab.Lacks(t, errors.New("dockerd takes root"))
	}
	shadow(t, "/etc") // dockerd writes an image key
	shadow(t, "/opt") // containerd puts plugins there
	const run = "/run/docker"
	must(t, "mkdir", os.MkdirAll(run, 0o755))
	e := &Engine{t: t, Root: folder(t) + "/data"}
	parent := "/sockwarden-test-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	cmd := exec.Command(path, "-H", "unix://"+Socket, "--data-root", e.Root, "--exec-root", run, "--pidfile", "/run/docker.pid", "--cgroup-parent", parent)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(t, "dockerd", cmd.Start())
	e.Process = cmd.Process
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = e.Process.Signal(unix.SIGTERM)
		<-ended
		groups, _ := filepath.Glob("/sys/fs/cgroup/*" + parent)
		for _, dir := range append(groups, "/sys/fs/cgroup"+parent) {
			_ = os.Remove(dir)
		}
		if t.Failed() {
			t.Logf("dockerd:\n%s", log.Bytes()[max(0, log.Len()-4000):])
		}
	})
	e.Until("dockerd listens", func() bool {
		select {
		case <-ended:
			t.Fatal("dockerd ended")
		default:
		}
		return answers(t.Context())
	})
	return e
}

// answers reports whether the engine answers.
func answers(ctx context.Context) bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", Socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", http.NoBody)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// shadow keeps writes into a directory away from the host.
func shadow(t *testing.T, dir string) {
	t.Helper()
	at := "/run/shadow" + dir // in the lab's own file system: an overlay cannot lie on another one
	must(t, "upper", os.MkdirAll(at+"/upper", 0o755))
	must(t, "work", os.MkdirAll(at+"/work", 0o755))
	must(t, "overlay", unix.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+at+"/upper,workdir="+at+"/work"))
	t.Cleanup(func() { must(t, "unmount", unix.Unmount(dir, 0)) })
}

// Until waits for a condition, at most two minutes.
func (e *Engine) Until(what string, holds func() bool) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), 2*time.Minute)
	defer cancel()
	for tick := time.Tick(20 * time.Millisecond); !holds(); {
		select {
		case <-ctx.Done():
			e.t.Fatalf("%s: not within two minutes", what)
		case <-tick:
		}
	}
}

// Docker runs Docker's own client and returns its output.
func (e *Engine) Docker(args ...string) string {
	e.t.Helper()
	out, err := exec.CommandContext(e.t.Context(), "docker", append([]string{"-H", "unix://" + Socket}, args...)...).CombinedOutput()
	if err != nil {
		e.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Image makes an image of the program service, which listens on port 8080, or on 8081 if
// another one in its namespace has that, and never closes a connection. As /service with
// arguments (21117/tcp 21116/udp) it is on these ports. It is there as sshd, too, and as hbbs
// and hbbr of RustDesk, on the ports of these. Root is the way to the top of the project.
func (e *Engine) Image(name, root string) {
	e.t.Helper()
	dir := folder(e.t)
	build := exec.CommandContext(e.t.Context(), "go", "build", "-o", dir+"/service", "./"+service)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		e.t.Fatalf("%v\n%s", err, out)
	}
	program, err := os.ReadFile(dir + "/service")
	must(e.t, "program", err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(e.t, "tar", w.WriteHeader(&tar.Header{Name: "service", Mode: 0o755, Size: int64(len(program))}))
	_, err = w.Write(program)
	must(e.t, "tar", err)
	for _, name := range []string{"sshd", "usr/bin/hbbs", "usr/bin/hbbr"} {
		must(e.t, "tar", w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: "service", Mode: 0o755}))
	}
	must(e.t, "tar", w.Close())
	must(e.t, "image", os.WriteFile(dir+"/image.tar", b.Bytes(), 0o600))
	e.Docker("import", "--change", `CMD ["/service"]`, dir+"/image.tar", name)
}

// Run starts a container, which ends with the test, and returns its id and the process in
// it.
func (e *Engine) Run(args ...string) (id string, pid int) {
	e.t.Helper()
	id = e.Docker(append([]string{"run", "-d"}, args...)...)
	e.t.Cleanup(func() {
		if out, err := exec.Command("docker", "-H", "unix://"+Socket, "rm", "-f", id).CombinedOutput(); err != nil {
			e.t.Logf("docker rm: %v: %s", err, out)
		}
	})
	pid, err := strconv.Atoi(e.Docker("inspect", "-f", "{{.State.Pid}}", id))
	must(e.t, "pid", err)
	return id, pid
}

// folder creates a directory that only we can write to.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, "chmod", os.Chmod(dir, 0o755))
	return dir
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
