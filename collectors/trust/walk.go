package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links we follow for one path, the kernel's own limit
// (MAXSYMLINKS in include/linux/namei.h).
const maxLinks = 40

// place is a file that was found, with a descriptor that only identifies it (O_PATH).
type place struct {
	fd   int
	path string // where it is, without links
	st   unix.Stat_t
}

// walk follows a path as the kernel does, one name at a time: ".." means the directory
// above, even after a link.
type walk struct {
	here place // the directory reached so far
	end  place // what the path leads to; until then its fd is -1
	name string
	todo []string
	// magic says that the walk reached the end through a link of /proc that is not a
	// path.
	magic    bool
	links    int
	linkDirs []string
	holder   string            // the directory that contains the last name
	mounts   map[uint64]string // by number: the first place on each mount
	// distrust is the first reason why others could change what the path leads to;
	// planted is the reason why they could have put a link on the way.
	distrust, planted error
}

// follow walks to the end of a path. It returns the walk even with an error, as far as it
// came. The caller closes it.
func follow(path string) (*walk, error) {
	w, err := followFrom(path, 0)
	if err != nil {
		err = &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return w, err
}

func followFrom(path string, links int) (*walk, error) {
	w := &walk{here: place{fd: -1}, end: place{fd: -1}, links: links, mounts: map[uint64]string{}}
	switch {
	case path == "":
		return w, unix.ENOENT
	case strings.ContainsRune(path, 0):
		return w, unix.EINVAL
	case !filepath.IsAbs(path):
		cwd, err := unix.Getwd()
		if err != nil {
			return w, err //nolint:wrapcheck // by follow
		}
		if !filepath.IsAbs(cwd) {
			return w, fmt.Errorf("the working directory is out of reach (%s): name it by an absolute path", cwd)
		}
		path = cwd + "/" + path
	}
	w.todo = strings.Split(path, "/")
	if err := w.root(); err != nil {
		return w, err
	}
	for len(w.todo) > 0 {
		if err := w.step(); err != nil {
			return w, err
		}
	}
	if w.end.fd < 0 { // a directory
		fd, err := unix.FcntlInt(uintptr(w.here.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return w, err //nolint:wrapcheck // by follow
		}
		w.end = place{fd: fd, path: w.here.path, st: w.here.st}
		w.judge(&w.here, false)
	}
	return w, nil
}

func (w *walk) close() {
	for _, p := range []*place{&w.here, &w.end} {
		if p.fd >= 0 {
			_ = unix.Close(p.fd)
			p.fd = -1
		}
	}
}

// root starts at the root of the file system.
func (w *walk) root() error {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err //nolint:wrapcheck // by follow
	}
	p := place{fd: fd, path: "/"}
	if err := unix.Fstat(fd, &p.st); err != nil {
		_ = unix.Close(fd)
		return err //nolint:wrapcheck // by follow
	}
	return w.enter(p)
}

// at finds a name in the directory reached so far.
func (w *walk) at(name string, flags int) (place, error) {
	p := place{path: filepath.Join(w.here.path, name)}
	var err error
	if p.fd, err = unix.Openat(w.here.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC|flags, 0); err != nil {
		return place{fd: -1}, err //nolint:wrapcheck // by follow
	}
	if err := unix.Fstat(p.fd, &p.st); err != nil {
		_ = unix.Close(p.fd)
		return place{fd: -1}, err //nolint:wrapcheck // by follow
	}
	return p, nil
}

// enter moves into a directory.
func (w *walk) enter(p place) error {
	if w.here.fd >= 0 {
		_ = unix.Close(w.here.fd)
	}
	w.here = p
	return w.mount(&p)
}

// mount records which mount something is on.
func (w *walk) mount(p *place) error {
	var st unix.Statx_t
	if err := unix.Statx(p.fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st); err != nil {
		return err //nolint:wrapcheck // by follow
	}
	// Before Linux 5.8 statx does not tell, and before 5.12 no mount is idmapped.
	if _, known := w.mounts[st.Mnt_id]; st.Mask&unix.STATX_MNT_ID != 0 && !known {
		w.mounts[st.Mnt_id] = p.path
	}
	return nil
}

// step takes the next name of the path.
func (w *walk) step() error {
	name := w.todo[0]
	w.todo = w.todo[1:]
	if w.end.fd >= 0 { // the path continues after a file
		return unix.ENOTDIR
	}
	if name == "" || name == "." {
		return nil
	}
	w.name, w.holder = name, w.here.path
	p, err := w.at(name, 0)
	if err != nil {
		return err
	}
	switch p.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if name == ".." {
			return w.enter(p)
		}
		w.judge(&w.here, true)
		if fsType(p.fd) == unix.AUTOFS_SUPER_MAGIC { // mounted only when entered
			_ = unix.Close(p.fd)
			if p, err = w.at(name, unix.O_DIRECTORY); err != nil {
				return err
			}
		}
		return w.enter(p)
	case unix.S_IFLNK:
		defer func() { _ = unix.Close(p.fd) }()
		return w.link(name, &p)
	}
	// In a sticky directory others cannot replace a socket that is not theirs, and only who
	// owns it can have put it there: nobody links sockets of others, unless the kernel is told
	// to allow that (fs.protected_hardlinks), and then it has several links.
	w.judge(&w.here, p.st.Mode&unix.S_IFMT == unix.S_IFSOCK && p.st.Nlink == 1)
	w.end = p
	return w.mount(&p)
}

func fsType(fd int) int64 {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return 0
	}
	return st.Type
}

// link follows a symbolic link.
func (w *walk) link(name string, l *place) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	b := make([]byte, unix.PathMax+1)
	n, err := unix.Readlinkat(l.fd, "", b)
	switch {
	case err != nil:
		return err //nolint:wrapcheck // by follow
	case n == 0:
		return unix.ENOENT
	case n > unix.PathMax:
		return unix.ENAMETOOLONG
	}
	target := string(b[:n])
	w.linkDirs = append(w.linkDirs, w.here.path)
	before := w.distrust
	w.distrust = nil
	w.judge(&w.here, false)
	w.judge(l, false)
	if w.planted == nil {
		w.planted = w.distrust
	}
	if before != nil {
		w.distrust = before
	}
	// Links in /proc to what a process has open lead there, whatever their text; the
	// other links in /proc are relative and ordinary.
	if (filepath.IsAbs(target) || strings.ContainsRune(target, ':')) && fsType(l.fd) == unix.PROC_SUPER_MAGIC {
		return w.jump(name, target)
	}
	w.todo = append(strings.Split(target, "/"), w.todo...)
	if filepath.IsAbs(target) {
		return w.root()
	}
	return nil
}

// jump follows a link in /proc and checks whether the path in its text leads to the same
// file: only then is it known who could change it.
func (w *walk) jump(name, target string) error {
	p := place{path: target}
	var err error
	if p.fd, err = unix.Openat(w.here.fd, name, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
		return err //nolint:wrapcheck // by follow
	}
	if err := unix.Fstat(p.fd, &p.st); err != nil {
		_ = unix.Close(p.fd)
		return err //nolint:wrapcheck // by follow
	}
	reason := fmt.Errorf("%s leads to something of which it is not known where it lies; cure: name the file itself", filepath.Join(w.here.path, name))
	if filepath.IsAbs(target) {
		other, err := followFrom(target, w.links)
		defer other.close()
		if err == nil && same(&other.end.st, &p.st) {
			reason = other.distrust
			w.links, w.linkDirs = other.links, append(w.linkDirs, other.linkDirs...)
			maps.Copy(w.mounts, other.mounts)
		}
	}
	if w.distrust == nil {
		w.distrust = reason
	}
	if p.st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return w.enter(p)
	}
	w.end, w.magic = p, true
	return w.mount(&p)
}

func same(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// reopen opens the end of the walk. The caller compares what it got: by now the name can
// mean another file.
func (w *walk) reopen(flags int) (int, error) {
	if !w.magic {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat(w.here.fd, w.name, flags|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) && flags&unix.O_ACCMODE == unix.O_RDONLY {
		return -1, errReplaced
	}
	return fd, err //nolint:wrapcheck // by the caller
}
