package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"sockwarden/cmd/sockwarden/view"
)

// spareDescriptors is how many files we must be able to open at the start: a cycle needs
// a few at a time, and the Go runtime two, without which it aborts.
const spareDescriptors = 16

// enoughDescriptors finds out whether we can open enough files, by opening them: what the
// caller left open counts, too.
func enoughDescriptors() error {
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for range spareDescriptors {
		fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			fds = append(fds, fd)
			continue
		}
		var limit unix.Rlimit
		_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
		return &exitError{
			code: exitForbidden, err: fmt.Errorf("only %s can be opened here, and sockwarden needs %d: %w", view.Count(len(fds), "more file"), spareDescriptors, err),
			hint: fmt.Sprintf("the limit is %d files: raise it, for example with ulimit -n 1024, or LimitNOFILE=1024 in a unit", limit.Cur),
		}
	}
	return nil
}
