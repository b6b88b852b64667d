package socklab

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// WithoutCapability runs f on a thread that has all capabilities of this process except
// the given ones (unix.CAP_NET_ADMIN, ...). Goroutines that f starts keep them all. f
// must not end the goroutine, as t.Fatal does.
func WithoutCapability(t testing.TB, f func() error, drop ...int) error {
	t.Helper()
	Need(t)
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var full [2]unix.CapUserData
		if err := unix.Capget(&header, &full[0]); err != nil {
			result <- err // the thread dies with the goroutine
			return
		}
		less := full
		for _, c := range drop {
			less[c/32].Effective &^= 1 << (c % 32)
		}
		err := unix.Capset(&header, &less[0])
		if err == nil {
			err = f()
		}
		if back := unix.Capset(&header, &full[0]); back != nil {
			result <- errors.Join(err, back)
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}
