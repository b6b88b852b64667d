package socklab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// StartLoggedIn starts a command with a login uid, or as it is if that is "". The
// kernel keeps one for each thread, and children have that of the thread that
// they come from, which ends here.
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

// NeedLogins skips the test where the kernel keeps no login uids (CONFIG_AUDIT), or
// none can be set: in a user namespace, and where this process has one that is fixed.
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
