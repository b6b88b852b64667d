package socklab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// HolderOptions describes a holder process.
type HolderOptions struct {
	Conns   []*Conn  // the sockets that it holds; as descriptors 3, 4, ...
	Keep    bool     // this process holds them, too
	Program string   // name of the executable and first argument; "" is the test binary
	Args    []string // further arguments, visible in cmdline
	// Comm is what /proc/PID/comm shows: any bytes, at most 15; "" leaves the choice to
	// the kernel.
	Comm       string
	UID        int // user and group to become; also the owner of the sockets
	IgnoreTerm bool
	Login      string // login uid (/proc/PID/loginuid), "" for none
	NoFile     uint64 // soft and hard RLIMIT_NOFILE, 0 to keep ours
	lock       bool   // it keeps the lock of the first socket, see Lock
}

// Holder is a child process that holds sockets and does nothing with them. The end of the
// test kills it.
type Holder struct {
	PID    int
	stdin  io.WriteCloser
	stdout *bufio.Reader
	cmd    *exec.Cmd
	done   chan struct{}
}

// StartHolder starts a holder and returns when it has the sockets. Several holders of the
// same sockets look as after a fork: start all but the last with Keep.
func StartHolder(t testing.TB, o HolderOptions) *Holder {
	t.Helper()
	Need(t)
	if o.UID != 0 && !HasUsers() {
		Lacks(t, fmt.Errorf("become user %d: %w", o.UID, unix.EINVAL))
	}
	if o.Login != "" {
		NeedLogins(t)
	}
	h, err := startHolder(t.TempDir(), &o)
	if err != nil {
		t.Fatalf("socklab: holder: %v", err)
	}
	t.Cleanup(func() {
		_ = h.cmd.Process.Kill()
		_ = h.stdin.Close()
		<-h.done
	})
	if err := h.expect("READY"); err != nil {
		t.Fatalf("socklab: holder: %v", err)
	}
	if !o.Keep {
		for _, c := range o.Conns {
			c.CloseFD()
		}
	}
	return h
}

func startHolder(dir string, o *HolderOptions) (*Holder, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("own executable: %w", err)
	}
	if o.Program != "" {
		if exe, err = copyProgram(exe, filepath.Join(dir, o.Program)); err != nil {
			return nil, err
		}
	}
	orders, err := json.Marshal(holderOrders{len(o.Conns), []byte(o.Comm), o.UID, o.IgnoreTerm, o.NoFile, o.lock})
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	cmd := exec.Command(exe, o.Args...)
	if o.Program != "" {
		cmd.Args[0] = o.Program
	}
	cmd.Env = append(os.Environ(), envHolder+"="+string(orders))
	cmd.Stderr = os.Stderr
	for _, c := range o.Conns {
		f, err := passOn(c.FD, o.UID)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // nothing was written
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	h := &Holder{cmd: cmd, done: make(chan struct{})}
	if h.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := StartLoggedIn(cmd, o.Login); err != nil {
		return nil, err
	}
	h.PID, h.stdout = cmd.Process.Pid, bufio.NewReader(stdout)
	go func() {
		_ = cmd.Wait()
		close(h.done)
	}()
	return h, nil
}

// passOn duplicates a socket for a child and gives it to the child's user, as if that
// user had made it.
func passOn(fd, uid int) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor %d: %w", fd, err)
	}
	if uid != 0 {
		if err := unix.Fchown(dup, uid, uid); err != nil {
			_ = unix.Close(dup)
			return nil, fmt.Errorf("give a socket to user %d: %w", uid, err)
		}
	}
	return os.NewFile(uintptr(dup), "socket"), nil
}

// copyProgram gives the test binary another name, by a hard link where that works.
func copyProgram(from, to string) (string, error) {
	if os.Link(from, to) == nil {
		return to, nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	return to, os.WriteFile(to, b, 0o755)
}

// expect reads one line from the child.
func (h *Holder) expect(want string) error {
	line, err := h.stdout.ReadString('\n')
	if err != nil || line != want+"\n" {
		return fmt.Errorf("it said %q, not %s: %w", line, want, err)
	}
	return nil
}

// Rename makes the holder change its comm, as prctl(PR_SET_NAME) does.
func (h *Holder) Rename(t testing.TB, comm string) {
	t.Helper()
	h.order(t, orderRename, comm, "RENAMED")
}

// Exec makes the holder become another program, by execve(2), with the same sockets.
func (h *Holder) Exec(t testing.TB, program string) {
	t.Helper()
	path, err := copyProgram("/proc/self/exe", filepath.Join(t.TempDir(), program))
	if err != nil {
		t.Fatalf("socklab: holder: %v", err)
	}
	h.order(t, orderExec, path, "READY")
}

// CloseFrom makes the holder close all of its sockets but the first n.
func (h *Holder) CloseFrom(t testing.TB, n int) {
	t.Helper()
	h.order(t, orderCloseFrom, strconv.Itoa(n), "CLOSED")
}

func (h *Holder) order(t testing.TB, order byte, what, answer string) {
	t.Helper()
	if _, err := h.stdin.Write(append([]byte{order, byte(len(what))}, what...)); err != nil {
		t.Fatalf("socklab: holder: %v", err)
	}
	if err := h.expect(answer); err != nil {
		t.Fatalf("socklab: holder: %v", err)
	}
}

// Kill ends the process and returns when it has ended.
func (h *Holder) Kill(t testing.TB) {
	t.Helper()
	_ = h.cmd.Process.Kill()
	h.Wait(t)
}

// CloseSockets makes the holder close its sockets and returns when it has; the
// process lives on.
func (h *Holder) CloseSockets(t testing.TB) {
	t.Helper()
	if _, err := h.stdin.Write([]byte{orderClose}); err != nil {
		t.Fatalf("socklab: holder: %v", err)
	}
	if err := h.expect("CLOSED"); err != nil {
		t.Fatalf("socklab: holder: %v", err)
	}
}

// Running reports whether the process has not been reaped.
func (h *Holder) Running() bool {
	select {
	case <-h.done:
		return false
	default:
		return true
	}
}

// Wait waits until the process has ended and returns how.
func (h *Holder) Wait(t testing.TB) syscall.WaitStatus {
	t.Helper()
	select {
	case <-h.done:
	case <-time.After(waitLimit):
		t.Fatalf("socklab: holder %d does not end", h.PID)
	}
	ws, _ := h.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ws
}
