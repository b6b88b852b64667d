package socklab

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The lock keeps everybody out until the holder ends.
func TestLock(t *testing.T) {
	c := Make(t, Established, IPv4)
	fd, err := unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	h := Lock(t, c)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_, _ = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		_ = unix.Close(fd)
	}()
	WaitFor(t, "a thread that waits for the lock", func() bool {
		waiting, _ := filepath.Glob("/proc/self/task/*/wchan")
		for _, path := range waiting {
			if where, _ := os.ReadFile(path); string(where) == "__lock_sock" || string(where) == "lock_sock_nested" {
				return true
			}
		}
		return false
	})
	select {
	case <-asked:
		t.Error("it got the lock")
	default:
	}
	h.Kill(t)
	<-asked
}
