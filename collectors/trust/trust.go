// Package trust answers whether somebody else than root and the running user
// could have written a file, or put another in its place: what a rules file says
// and what a program does happens with the power of whoever runs sockwarden.
//
// Comes in: a path. Goes out: an error that names who could, and the cure.
package trust

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// File checks an opened file, the directories of its name and of all links on
// the way, and those above them. What lies on a read-only mount cannot be
// written; where its name stands, that does not help.
func File(path string, f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("cannot be examined: %w", err)
	}
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fsys); err != nil || fsys.Flags&unix.ST_RDONLY == 0 {
		if err := mine(path, &st, false); err != nil {
			return err
		}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("cannot be examined: %w", err)
	}
	target, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return fmt.Errorf("cannot be examined: %w", err)
	}
	for _, dir := range append(LinkDirs(abs), filepath.Dir(abs), filepath.Dir(target)) {
		if err := directories(dir); err != nil {
			return err
		}
	}
	return nil
}

// Program is File for an executable, which it also must be.
func Program(path string) error {
	f, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		return fmt.Errorf("program %s: %w", path, errors.Unwrap(err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("program %s: %w", path, err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("program %s is no executable file", path)
	}
	if err := File(path, f); err != nil {
		return fmt.Errorf("program %s is not trusted: %w", path, err)
	}
	return nil
}

func directories(dir string) error {
	for first := true; ; first = false {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return fmt.Errorf("cannot be examined: %w", err)
		}
		var fsys unix.Statfs_t
		readOnly := unix.Statfs(dir, &fsys) == nil && fsys.Flags&unix.ST_RDONLY != 0
		// Further up a sticky directory is fine: what is in it cannot be renamed by others.
		if err := mine(dir, &st, !first); err != nil && !readOnly {
			return err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
	}
}

// mine refuses what belongs to others or what they can write.
func mine(path string, st *unix.Stat_t, stickyOK bool) error {
	me := os.Geteuid()
	if st.Uid != 0 && int(st.Uid) != me {
		return fmt.Errorf("%s belongs to uid %d, who could change it; cure: chown %d:%d %s", path, st.Uid, me, os.Getegid(), path)
	}
	if st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0 && (!stickyOK || st.Mode&unix.S_ISVTX == 0) {
		return fmt.Errorf("others can write to %s (mode %#o); cure: chown %d:%d %s && chmod go-w %s", path, st.Mode&0o7777, me, os.Getegid(), path, path)
	}
	return nil
}

// maxLinks bounds the symbolic links that are followed for one path, as the
// kernel does (MAXSYMLINKS in include/linux/namei.h).
const maxLinks = 40

// LinkDirs returns the directories that hold the symbolic links by which an
// absolute path is reached: whoever changes one of them changes what the path is.
func LinkDirs(abs string) []string {
	var dirs []string
	done, todo := "/", strings.Split(abs, "/")
	for len(todo) > 0 && len(dirs) < maxLinks {
		name := todo[0]
		todo = todo[1:]
		next := filepath.Join(done, name)
		target, err := os.Readlink(next)
		if err != nil {
			done = next
			continue
		}
		dirs = append(dirs, done)
		if filepath.IsAbs(target) {
			done = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return dirs
}
