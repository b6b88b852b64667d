package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Kernel is the version of a kernel. It is zero for an unreadable release, and so older
// than all others and assumed to have all quirks.
type Kernel struct {
	Release      string // as uname(2) reports it, such as 6.1.0-13-amd64
	Major, Minor int
}

// RunningKernel returns the version of the running kernel.
func RunningKernel() (Kernel, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Kernel{}, fmt.Errorf("uname: %w", err)
	}
	return ParseKernel(unix.ByteSliceToString(u.Release[:])), nil
}

// ParseKernel reads a kernel release.
func ParseKernel(release string) Kernel {
	k := Kernel{Release: release}
	if _, err := fmt.Sscanf(release, "%d.%d", &k.Major, &k.Minor); err != nil {
		k.Major, k.Minor = 0, 0
	}
	return k
}

// Before reports whether the kernel is older than Linux major.minor.
func (k Kernel) Before(major, minor int) bool {
	return k.Major < major || k.Major == major && k.Minor < minor
}

// Unread reports whether the release was unreadable.
func (k Kernel) Unread() bool { return k.Major == 0 && k.Minor == 0 }
