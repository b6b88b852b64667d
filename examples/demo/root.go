package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ownRoot gives the namespaces a root directory of their own, in memory, in which the
// host's directories appear as they are, but for /proc and home. A live run trusts no rules
// below a directory that belongs to a stranger, and in a namespace of users the host's root
// is one.
func ownRoot() error {
	if err := unix.Mount("demo", home, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount %s: %w", home, err)
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return fmt.Errorf("read /: %w", err)
	}
	for _, e := range entries {
		if err := show(e); err != nil {
			return err
		}
	}
	// The old root lands on the new one, from where it is taken away.
	if err := errors.Join(unix.Chdir(home), unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), unix.Chdir("/")); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return nil
}

// show has an entry of the host's root appear in the new one. Files there are of no use.
func show(e fs.DirEntry) error {
	from, to := "/"+e.Name(), filepath.Join(home, e.Name())
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return fmt.Errorf("show %s: %w", from, err)
		}
		if err := os.Symlink(target, to); err != nil {
			return fmt.Errorf("show %s: %w", from, err)
		}
	case e.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return fmt.Errorf("show %s: %w", from, err)
		}
		if from == home {
			return nil
		}
		if from == "/proc" {
			if err := unix.Mount("proc", to, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
				return fmt.Errorf("mount /proc (in a container? it needs --privileged): %w", err)
			}
			return nil
		}
		if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return os.Remove(to) //nolint:wrapcheck // nobody may need it: what does will say that it is missing
		}
	}
	return nil
}
