package socklab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// StartLoggedIn starts a command with a login uid, or unchanged if that is "". The kernel
// keeps one for each thread, and a child inherits that of its parent thread, which ends
// here.
func StartLoggedIn(cmd *exec.Cmd, login string) error {
	if login == "" {
		return cmd.Start()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := os.WriteFile("/proc/thread-self/loginuid", []byte(login), 0)
		if err == nil {
			err = cmd.Start()
		}
		done <- err
	}()
	return <-done
}

// NeedLogins skips the test where the kernel keeps no login uids (CONFIG_AUDIT), or where
// we cannot set one: in a user namespace, or when ours is immutable.
func NeedLogins(t testing.TB) {
	t.Helper()
	if !HasUsers() {
		Lacks(t, fmt.Errorf("set a login uid: %w", unix.EINVAL))
	}
	cmd := exec.Command("true")
	cmd.Stderr = os.Stderr
	if err := StartLoggedIn(cmd, "1"); err != nil {
		Lacks(t, fmt.Errorf("set a login uid: %w", err))
	}
	_ = cmd.Wait()
}
