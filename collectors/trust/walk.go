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

// maxLinks bounds the symbolic links that are followed for one path, as the
// kernel does (MAXSYMLINKS in include/linux/namei.h).
const maxLinks = 40

// place is a file that was found, by a descriptor that can do nothing else
// (O_PATH).
type place struct {
	fd   int
	path string // where it lies, without links
	st   unix.Stat_t
}

// walk is the way along a path, one name at a time, as the kernel goes it: ".."
// is the directory above, also behind a link.
type walk struct {
	here place // the directory that was reached
	end  place // what the path leads to; its fd is -1 before
	name string
	todo []string
	// magic says that the end was reached by a link of /proc that is no path.
	magic    bool
	links    int
	linkDirs []string
	holder   string            // the directory in which the last name was looked up
	mounts   map[uint64]string // by number: the first place that lies on each
	// distrust is the first reason why others could change what the path leads to,
	// and planted that why they could have put a link on the way.
	distrust, planted error
}

// follow goes to the end of a path. The walk is there also with an error: as far
// as it came. It must be closed.
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

// root goes to the root of the file system.
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

// at finds a name in the directory that was reached.
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

// enter makes a directory the one that was reached.
func (w *walk) enter(p place) error {
	if w.here.fd >= 0 {
		_ = unix.Close(w.here.fd)
	}
	w.here = p
	return w.mount(&p)
}

// mount notes on which mount something lies.
func (w *walk) mount(p *place) error {
	var st unix.Statx_t
	if err := unix.Statx(p.fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st); err != nil {
		return err //nolint:wrapcheck // by follow
	}
	// Before Linux 5.8 it is not told, and before 5.12 no mount is idmapped.
	if _, known := w.mounts[st.Mnt_id]; st.Mask&unix.STATX_MNT_ID != 0 && !known {
		w.mounts[st.Mnt_id] = p.path
	}
	return nil
}

// step takes one name of what is left of the path.
func (w *walk) step() error {
	name := w.todo[0]
	w.todo = w.todo[1:]
	if w.end.fd >= 0 { // something behind a file
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
		if fsType(p.fd) == unix.AUTOFS_SUPER_MAGIC { // mounted only when it is entered
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
	w.judge(&w.here, false)
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

// link goes where a symbolic link says.
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
	// Links of /proc to what a process has open lead there, whatever they say; its
	// others are relative and plain.
	if (filepath.IsAbs(target) || strings.ContainsRune(target, ':')) && fsType(l.fd) == unix.PROC_SUPER_MAGIC {
		return w.jump(name, target)
	}
	w.todo = append(strings.Split(target, "/"), w.todo...)
	if filepath.IsAbs(target) {
		return w.root()
	}
	return nil
}

// jump goes where a link of /proc leads, and looks whether the path that it says
// leads there, too: only then it is known who could change that.
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

// reopen opens the end of the walk. The caller compares what it got: a name can
// have come to mean another file.
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
