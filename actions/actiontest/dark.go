package actiontest

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func describe(params map[string]any, err error) string {
	return fmt.Sprintf("%v: %v", params, err)
}

// inTheDark runs f on its own thread, with an empty directory as the root, an empty
// network namespace without even a loopback, and no capabilities.
func inTheDark(t testing.TB, f func() []string) (problems []string, err error) {
	t.Helper()
	root := t.TempDir()
	done := make(chan struct{})
	onDyingThread(func() {
		defer close(done)
		if err = dim(root); err == nil {
			problems = f()
		}
	})
	<-done
	return problems, err
}

func dim(root string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Chroot(root); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("chdir: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// onDyingThread runs f on a thread that ends with it. The process's first thread cannot
// end and would stay as f leaves it.
func onDyingThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			left := make(chan struct{})
			onDyingThread(func() { defer close(left); f() }) // not on this one, which is taken
			<-left
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
}
