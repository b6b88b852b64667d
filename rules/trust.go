package rules

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// checkTrust refuses a file that somebody else than root and the running user
// could have written: the opened file itself, the directory that holds it, and
// the directories above, of which it could be moved away. Nobody can write to
// a read-only mount.
func checkTrust(path string, f *os.File) error {
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fsys); err == nil && fsys.Flags&unix.ST_RDONLY != 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("cannot be examined: %w", err)
	}
	if err := trusted(path, &st, false); err != nil {
		return err
	}
	// The directory of the name, those of all links on the way, and that of what
	// they lead to.
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("cannot be examined: %w", err)
	}
	target, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return fmt.Errorf("cannot be examined: %w", err)
	}
	for _, dir := range append(linkDirs(abs), filepath.Dir(abs), filepath.Dir(target)) {
		if err := trustedDirs(dir); err != nil {
			return err
		}
	}
	return nil
}

func trustedDirs(dir string) error {
	for first := true; ; first = false {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return fmt.Errorf("cannot be examined: %w", err)
		}
		// Further up a sticky directory is fine: what is in it cannot be renamed by others.
		if err := trusted(dir, &st, !first); err != nil {
			return err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
	}
}

func trusted(path string, st *unix.Stat_t, stickyOK bool) error {
	me := os.Geteuid()
	if st.Uid != 0 && int(st.Uid) != me {
		return fmt.Errorf("a live run does not trust it: %s belongs to uid %d, who could change the rules; cure: chown %d:%d %s", path, st.Uid, me, os.Getegid(), path)
	}
	if st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0 && (!stickyOK || st.Mode&unix.S_ISVTX == 0) {
		return fmt.Errorf("a live run does not trust it: others can write to %s (mode %#o); cure: chown %d:%d %s && chmod go-w %s", path, st.Mode&0o7777, me, os.Getegid(), path, path)
	}
	return nil
}
