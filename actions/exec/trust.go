package exec

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// checkProgram refuses what is no program, and one that somebody else than root
// and the running user could have written or put in its place.
func checkProgram(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("program %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return fmt.Errorf("program %s is no executable file", path)
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(path, &fsys); err == nil && fsys.Flags&unix.ST_RDONLY != 0 {
		return nil // nobody can write there
	}
	if writable(&st) {
		return mistrust(path, path)
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("program %s: %w", path, err)
	}
	for _, name := range []string{path, target} {
		if err := checkDirs(path, filepath.Dir(name)); err != nil {
			return err
		}
	}
	return nil
}

// checkDirs checks a directory and those above, of which it could be moved away.
func checkDirs(program, dir string) error {
	for first := true; ; first = false {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return fmt.Errorf("program %s: %s: %w", program, dir, err)
		}
		if !first && st.Mode&unix.S_ISVTX != 0 {
			st.Mode &^= unix.S_IWGRP | unix.S_IWOTH // what is in it cannot be renamed by others
		}
		if writable(&st) {
			return mistrust(program, dir)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
	}
}

func writable(st *unix.Stat_t) bool {
	return st.Uid != 0 && int(st.Uid) != os.Geteuid() || st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0
}

func mistrust(program, path string) error {
	return fmt.Errorf("program %s can be replaced by others; cure: chown %d %s && chmod go-w %s", program, os.Geteuid(), path, path)
}
