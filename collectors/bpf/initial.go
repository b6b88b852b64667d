package bpf

import (
	"fmt"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// initialTime is the inode of the time namespace that the machine started with
// (include/uapi/linux/nsfs.h, before Linux 6.18 include/linux/proc_ns.h).
const initialTime = 0xEFFFFFFA

// inInitial is ErrNotSupported unless this process is in the initial namespace
// of a kind, as in /proc/self/ns: what programs in the kernel see, they see as
// from there.
func inInitial(kind string, inode uint64) error {
	var st unix.Stat_t
	path := "/proc/self/ns/" + kind
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("stat %s: %w: %w", path, collectors.ErrNotSupported, err)
	}
	if st.Ino != inode {
		return fmt.Errorf("this process is not in the initial %s namespace: %w", kind, collectors.ErrNotSupported)
	}
	return nil
}
