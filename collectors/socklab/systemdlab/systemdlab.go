// Package systemdlab runs a real systemd for a test, in namespaces below those that
// socklab.Main has made and in a control group of its own: it starts only the units that
// the test writes, and nothing of it is left on the host.
//
// Comes in: a test and the program that its units run. Goes out: a Manager, which knows
// units by systemctl and runs commands beside them. The network is that of the test.
package systemdlab

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// envRequire makes tests of a real systemd fail, rather than skip, where it is not
// installed or cannot run. CI sets it to 1.
const envRequire = "SOCKWARDEN_REQUIRE_SYSTEMD"

const (
	// Inside is where the units see the directory Manager.Dir.
	Inside = "/run/lab"
	// Program is where they see the program that Start was given.
	Program = "/usr/local/bin/sockwarden"

	systemd = "/lib/systemd/systemd"
	// prefix begins the names of our control groups.
	prefix = "sockwarden-test-systemd-"
	// limit bounds each wait: far more than a loaded machine takes.
	limit = 2 * time.Minute
)

// targets are those that services depend on by default; here nothing belongs to them.
var targets = []string{"default", "sysinit", "basic", "shutdown", "network", "timers", "multi-user"}

// begin is what becomes PID 1 in the new namespaces.
//
//go:embed begin.sh
var begin string

// Manager is a systemd that ends with the test.
type Manager struct {
	// Dir is a directory that the units see as Inside.
	Dir string

	t     *testing.T
	group string // its control group, as a directory
	disk  string // where what units write is kept until the end of the test
	pid   int    // of systemd, as the test sees it
	end   func() // ends systemd and all that it has started
}

// Start starts systemd and waits until it runs. A test is skipped where there is none or
// the kernel refuses what it takes, unless SOCKWARDEN_REQUIRE_SYSTEMD=1 is set.
func Start(t *testing.T, program string) *Manager {
	t.Helper()
	socklab.Need(t)
	if os.Geteuid() != 0 || socklab.IsNobody() {
		socklab.Lacks(t, errors.New("systemd takes root"))
	}
	for _, path := range []string{systemd, "systemctl", "nsenter", "unshare"} {
		if _, err := exec.LookPath(path); err != nil {
			lacks(t, fmt.Errorf("%w; cure: apt-get install systemd util-linux", err))
		}
	}
	m := &Manager{Dir: t.TempDir(), t: t, disk: t.TempDir()}
	for _, dir := range []string{"units", "bin"} {
		must(t, "mkdir", os.Mkdir(filepath.Join(m.Dir, dir), 0o755))
	}
	must(t, "chmod", os.Chmod(m.Dir, 0o755))
	for _, target := range targets {
		m.write("units/"+target+".target", "[Unit]\nDefaultDependencies=no\n")
	}
	must(t, "program", copyFile(program, filepath.Join(m.Dir, "bin/sockwarden")))
	m.makeGroup()
	m.makeDisk()
	m.launch()
	return m
}

// Reboot ends systemd with everything that it has started, as a machine does that loses its
// power, and starts it again: /run and /tmp are empty, what units wrote elsewhere is there.
// No unit runs that is not enabled.
func (m *Manager) Reboot() {
	m.t.Helper()
	m.end()
	m.launch()
}

// makeGroup makes the control group, until the end of the test.
func (m *Manager) makeGroup() {
	m.t.Helper()
	top, err := unified()
	if err != nil {
		lacks(m.t, err)
	}
	sweep(top)
	m.group = filepath.Join(top, fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(m.group, 0o755); err != nil {
		lacks(m.t, err)
	}
	m.t.Cleanup(func() {
		// The kernel lets a group go a moment after its last process has ended.
		if !waitFor(func() bool { return removeGroup(m.group) == nil }) {
			m.t.Errorf("control group: %v", removeGroup(m.group))
		}
	})
}

// makeDisk makes a file system that can be the upper layer of another.
func (m *Manager) makeDisk() {
	m.t.Helper()
	must(m.t, "mount", unix.Mount("tmpfs", m.disk, "tmpfs", 0, "mode=0755"))
	m.t.Cleanup(func() { must(m.t, "unmount", unix.Unmount(m.disk, unix.MNT_DETACH)) })
}

// launch starts systemd in the control group.
func (m *Manager) launch() {
	m.t.Helper()
	// What joins the group first is in it when the namespace of control groups is made, so
	// that the group is the root of what systemd sees.
	join := `echo $$ > "$1/cgroup.procs" && exec unshare -m -p -f -C -u --kill-child=KILL --mount-proc sh -c "$2" begin "$3" "$4" "$5" "$6"`
	cmd := exec.Command("sh", "-c", join, "join", m.group, begin, m.Dir, Inside, Program, m.disk)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=sockwarden-test", "SYSTEMD_UNIT_PATH=" + Inside + "/units"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	must(m.t, "unshare", cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	m.end = sync.OnceFunc(func() {
		child := childOf(cmd.Process.Pid)
		_ = cmd.Process.Kill() // and its child with it, and everything in the namespace of that
		<-ended
		reap(child)
		if m.t.Failed() {
			m.t.Logf("systemd:\n%s", log.Bytes()[max(0, log.Len()-8000):])
		}
		m.pid = 0
	})
	m.t.Cleanup(m.end)
	m.Until("systemd runs", func() bool {
		select {
		case <-ended:
			lacks(m.t, fmt.Errorf("systemd ended: %s", log.Bytes()))
		default:
		}
		if m.pid == 0 {
			m.pid = childOf(cmd.Process.Pid)
		}
		if m.pid == 0 {
			return false
		}
		state, _ := m.Command("systemctl", "is-system-running").Output()
		return strings.TrimSpace(string(state)) == "running"
	})
}

// Write writes a file, by its path in Dir, and returns the path that the units see.
func (m *Manager) Write(path, text string) string {
	m.t.Helper()
	m.write(path, text)
	return filepath.Join(Inside, path)
}

func (m *Manager) write(path, text string) {
	m.t.Helper()
	to := filepath.Join(m.Dir, path)
	must(m.t, "mkdir", os.MkdirAll(filepath.Dir(to), 0o755))
	must(m.t, "write", os.WriteFile(to, []byte(text), 0o644))
}

// Unit writes a unit, or a drop-in of one, and makes it known.
func (m *Manager) Unit(name, text string) {
	m.t.Helper()
	m.write("units/"+name, text)
	m.Systemctl("daemon-reload")
}

// Command returns a command that runs beside the units, in all namespaces of systemd, and
// in no unit.
func (m *Manager) Command(args ...string) *exec.Cmd {
	enter := []string{"-t", strconv.Itoa(m.pid), "-m", "-p", "-C", "-u", "--"}
	cmd := exec.Command("nsenter", append(enter, args...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

// Run runs such a command and returns its exit code and output.
func (m *Manager) Run(args ...string) (code int, stdout, stderr string) {
	m.t.Helper()
	cmd := m.Command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Systemctl runs systemctl, which must succeed, and returns what it prints.
func (m *Manager) Systemctl(args ...string) string {
	m.t.Helper()
	code, out, errs := m.Run(append([]string{"systemctl"}, args...)...)
	if code != 0 {
		m.t.Fatalf("systemctl %s: exits %d: %s%s", strings.Join(args, " "), code, out, errs)
	}
	return strings.TrimSpace(out)
}

// Property returns one property of a unit, such as InvocationID.
func (m *Manager) Property(unit, name string) string {
	m.t.Helper()
	return m.Systemctl("show", unit, "--property", name, "--value")
}

// Until waits for a condition, at most for two minutes.
func (m *Manager) Until(what string, holds func() bool) {
	m.t.Helper()
	if !waitFor(holds) {
		m.t.Fatalf("%s: not within %s", what, limit)
	}
}

func waitFor(holds func() bool) bool {
	end := time.After(limit)
	for tick := time.Tick(100 * time.Millisecond); !holds(); {
		select {
		case <-end:
			return false
		case <-tick:
		}
	}
	return true
}

// unified is where the hierarchy of control groups version 2 is mounted.
func unified() (string, error) {
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", errors.New("control groups version 2 are not mounted")
}

// removeGroup removes a control group with those below it. The kernel refuses those that
// have a process.
func removeGroup(dir string) error {
	below, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, d := range below {
		if d.IsDir() {
			err = errors.Join(err, removeGroup(filepath.Join(dir, d.Name())))
		}
	}
	return errors.Join(err, os.Remove(dir))
}

// sweep removes what tests have left that were killed: groups of ours that have no process
// and are an hour old.
func sweep(top string) {
	old, _ := filepath.Glob(filepath.Join(top, prefix+"*"))
	for _, dir := range old {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = removeGroup(dir)
		}
	}
}

// childOf returns the only child of a process, 0 if there is none.
func childOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0
	}
	child, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return child
}

// reap waits for the end of a process that was left to us, as the tests are PID 1.
func reap(pid int) {
	for pid != 0 {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

// lacks skips the test for want of systemd, or fails it where it is required.
func lacks(t *testing.T, err error) {
	t.Helper()
	if os.Getenv(envRequire) == "1" {
		t.Fatalf("%v (%s=1)", err, envRequire)
	}
	t.Skipf("%v; %s=1 makes this a failure", err, envRequire)
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
