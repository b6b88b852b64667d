package socklab

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// KernelBefore reports whether the running kernel is older than Linux
// major.minor: what a test expects may depend on it.
func KernelBefore(major, minor int) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		panic(err) // it fails only for bad memory
	}
	var ownMajor, ownMinor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &ownMajor, &ownMinor); err != nil {
		panic(err)
	}
	return ownMajor < major || ownMajor == major && ownMinor < minor
}

// Shown reports whether sock_diag shows sockets of the kind: those that are bound
// and nothing else it shows since Linux 6.8.
func (k Kind) Shown() bool { return k != Bound || !KernelBefore(6, 8) }
