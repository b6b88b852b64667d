package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Initial is a namespace that the machine started with, named by the inode of its file
// (include/uapi/linux/nsfs.h, before Linux 6.18 include/linux/proc_ns.h).
type Initial uint32

// The initial namespaces.
const (
	InitialTime Initial = 0xEFFFFFFA
	InitialPID  Initial = 0xEFFFFFFC
	InitialUser Initial = 0xEFFFFFFD
)

var initialFiles = map[Initial]string{InitialTime: "time", InitialPID: "pid", InitialUser: "user"}

// String names the kind of the namespace, as in /proc/PID/ns.
func (n Initial) String() string { return initialFiles[n] }

// In reports whether this process is in that namespace. The error is fs.ErrNotExist if
// the kernel lacks that kind of namespace, or if /proc is not mounted.
func (n Initial) In() (bool, error) { return n.Is("/proc/self/ns/" + n.String()) }

// Is reports whether an nsfs file belongs to that namespace.
func (n Initial) Is(path string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
	return st.Ino == uint64(n), nil
}
