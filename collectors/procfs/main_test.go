package procfs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) {
	runChild()
	socklab.Main(m)
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// inodeOf returns the inode of an open descriptor of this process.
func inodeOf(t testing.TB, fd int) uint32 {
	t.Helper()
	var st unix.Stat_t
	must(t, "fstat", unix.Fstat(fd, &st))
	return uint32(st.Ino)
}

// newSocket opens a socket until the end of the test.
func newSocket(t testing.TB) (fd int, inode uint32) {
	t.Helper()
	socklab.Need(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd, inodeOf(t, fd)
}

// startOf returns the start time of a process, read without the code under test.
func startOf(t testing.TB, pid int) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, "stat", err)
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	start, err := strconv.ParseUint(f[19], 10, 64)
	must(t, "start time", err)
	return start
}

// cat starts cat(1), which ends when its standard input does. It holds the sockets as
// descriptors 3, 4, ... Unlike a holder of socklab it runs another program, so it is an
// ordinary process of its user. wait reaps it; without a call of wait, the cleanup does.
func cat(t testing.TB, attr *syscall.SysProcAttr, sockets ...int) (pid int, wait func()) {
	t.Helper()
	socklab.Need(t)
	path, err := exec.LookPath("cat")
	must(t, "cat", err)
	in, out := pipe(t), pipe(t)
	files := []uintptr{in[0].Fd(), out[1].Fd(), 2}
	for _, fd := range sockets {
		files = append(files, uintptr(fd))
	}
	pid, err = syscall.ForkExec(path, []string{"cat"}, &syscall.ProcAttr{Files: files, Sys: attr})
	must(t, "start cat", err)
	reaped := false
	wait = func() {
		if reaped {
			return
		}
		reaped = true
		_ = in[1].Close()
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
				return
			}
		}
	}
	t.Cleanup(wait)
	_ = in[0].Close() // or it would not end when we close ours
	// Once it answers, its loader has no more files open.
	_, err = in[1].WriteString("x")
	must(t, "ask cat", err)
	_, err = out[0].Read(make([]byte, 1))
	must(t, "hear cat", err)
	return pid, wait
}

func pipe(t testing.TB) [2]*os.File {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, "pipe", err)
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return [2]*os.File{r, w}
}

const envChild = "PROCFS_TEST_CHILD"

func init() {
	if os.Getenv(envChild) == "headless" {
		runtime.LockOSThread() // only this way is the first thread the one of TestMain
	}
}

// runChild is the life of a child process that these tests start from their own binary;
// in any other process it returns.
func runChild() {
	role, n, _ := strings.Cut(os.Getenv(envChild), " ")
	count, _ := strconv.Atoi(n)
	switch role {
	case "":
		return
	case "sockets": // opens many sockets
		for range count {
			if _, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	case "headless": // goes on in other threads after the first one has ended
		ended := make(chan struct{})
		go func() { <-ended; speakAndWait() }()
		close(ended)
		_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0) // does not return
	}
	speakAndWait()
}

func speakAndWait() {
	fmt.Println("READY")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// child runs this binary in a role until the end of the test.
func child(t testing.TB, role string) (pid int) {
	t.Helper()
	socklab.Need(t)
	exe, err := os.Executable()
	must(t, "own executable", err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envChild+"="+role)
	cmd.Stderr = os.Stderr
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

// descriptors counts the open descriptors of a process, without the code under test.
func descriptors(t testing.TB, pid int) int {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	must(t, "list descriptors", err)
	return len(links)
}

// holders searches, and fails the test if the search fails.
func holders(t testing.TB, inodes ...uint32) Holders {
	t.Helper()
	wanted := make(map[uint32]bool)
	for _, i := range inodes {
		wanted[i] = true
	}
	h, err := New("").Holders(t.Context(), wanted)
	must(t, "holders", err)
	for i := range h.ByInode {
		if !wanted[i] {
			t.Errorf("inode %d was not asked for", i)
		}
	}
	return h
}

// pidsOf lists the PIDs of owners in their order.
func pidsOf(owners []collectors.Owner) []int {
	pids := make([]int, len(owners))
	for i := range owners {
		pids[i] = owners[i].PID
	}
	return pids
}

// leakCheck is socklab.LeakCheck without the garbage collector, which would close
// forgotten files before the check.
func leakCheck(t *testing.T) {
	t.Helper()
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	socklab.LeakCheck(t)
}
