package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

const (
	envLab    = "BPF_TEST_LAB"
	envNobody = "BPF_TEST_NOBODY"
	envChild  = "BPF_TEST_CHILD"
)

// TestMain stays out of the lab, which is a PID namespace of its own, so the tests see
// both. Tests that need the lab run again inside: see inLab.
func TestMain(m *testing.M) {
	runChild()
	if os.Getenv(envLab) != "" {
		socklab.Main(m)
	}
	os.Exit(m.Run())
}

// inLab reports whether this process is in the lab. If not, it runs the test there.
func inLab(t *testing.T) bool {
	t.Helper()
	return again(t, envLab)
}

// asNobody reports whether this process is unprivileged. If not, it runs the test in an
// unprivileged one.
func asNobody(t *testing.T) bool {
	t.Helper()
	if !again(t, envNobody) {
		return false
	}
	if err := syscall.Setuid(65534); err != nil {
		socklab.Lacks(t, fmt.Errorf("setuid: %w", err))
	}
	return true
}

func again(t *testing.T, env string) bool {
	t.Helper()
	if os.Getenv(env) != "" {
		return true
	}
	exe, err := os.Executable()
	must(t, "own executable", err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.v")
	// The race detector would wait a second at each exit.
	cmd.Env = append(os.Environ(), env+"=1", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("it did not run:\n%s", out)
	}
	return false
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// capable skips the test if the kernel does not let this process do it, or fails it where
// everything is required.
func capable(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, collectors.ErrNotPermitted) || errors.Is(err, collectors.ErrNotSupported) {
		socklab.Lacks(t, err)
	}
	must(t, "open", err)
}

// leakCheck is socklab.LeakCheck without the garbage collector, which would close
// forgotten files before the check.
func leakCheck(t *testing.T) {
	t.Helper()
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	socklab.LeakCheck(t)
}

// runChild is the life of a process that child starts. In any other process it returns.
func runChild() {
	n, err := strconv.Atoi(os.Getenv(envChild))
	if err != nil {
		return
	}
	for range n {
		if _, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println("READY")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// child starts a process that opens n sockets and has the given ones as descriptors 3, 4,
// ..., until the end of the test.
func child(t testing.TB, n int, sockets ...int) (pid int) {
	t.Helper()
	exe, err := os.Executable()
	must(t, "own executable", err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envChild+"="+strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	for _, fd := range sockets {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		must(t, "duplicate", err)
		f := os.NewFile(uintptr(dup), "socket")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	stdin, err := cmd.StdinPipe()
	must(t, "pipe", err)
	stdout, err := cmd.StdoutPipe()
	must(t, "pipe", err)
	must(t, "start", cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "READY\n" {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	return cmd.Process.Pid
}
