package netns

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) {
	if os.Getenv(envChild) != "" { // a process that only exists
		fmt.Println("READY")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	socklab.Main(m)
}

const envChild = "NETNS_TEST_CHILD"

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// process is a child that only exists.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout io.Reader
}

// start starts a process in the namespace of the thread, or in a new one if flags say so.
func start(flags uintptr) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envChild+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	p := &process{cmd: cmd}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.stdout, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(p.stdout).ReadString('\n'); line != "READY\n" {
		p.kill()
		p.reap()
		return nil, fmt.Errorf("the child says %q: %w", line, err)
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// ns is the path of its namespace.
func (p *process) ns() string { return fmt.Sprintf("/proc/%d/ns/net", p.pid()) }

// kill ends the process and leaves a zombie.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, p.stdout) // until it ends, which is when the process does
}

func (p *process) reap() {
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
}

// startIn starts a process until the end of the test, in the namespace of do or in a new
// one if flags say so.
func startIn(t *testing.T, do func(func() error) error, flags uintptr) *process {
	t.Helper()
	socklab.Need(t)
	var p *process
	must(t, "start a process", do(func() (err error) {
		p, err = start(flags)
		return err
	}))
	t.Cleanup(func() { p.kill(); p.reap() })
	return p
}

func here(f func() error) error { return f() }

func inodeOf(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, "stat "+path, unix.Stat(path, &st))
	return st.Ino
}

// own is the namespace of the calling thread.
func own() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/net", &st) != nil {
		return 0
	}
	return st.Ino
}

func list(t testing.TB) []Handle {
	t.Helper()
	all, err := List()
	must(t, "list", err)
	return all
}

func names(all []Handle) string {
	var b []string
	for _, h := range all {
		b = append(b, h.Name)
	}
	return strings.Join(b, " ")
}

// byInode returns the namespace with that inode, which the list must have at most once.
func byInode(t testing.TB, all []Handle, inode uint64) (Handle, bool) {
	t.Helper()
	var found []Handle
	for _, h := range all {
		if h.Inode == inode {
			found = append(found, h)
		}
	}
	if len(found) > 1 {
		t.Errorf("namespace %d is there %d times", inode, len(found))
	}
	if len(found) == 0 {
		return Handle{}, false
	}
	return found[0], true
}

// leakCheck is socklab.LeakCheck without the garbage collector, which would close
// forgotten files before the check.
func leakCheck(t *testing.T) {
	t.Helper()
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	socklab.LeakCheck(t)
}
