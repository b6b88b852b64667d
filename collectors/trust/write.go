package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Append opens a file for appending and creates it if it does not exist. Nobody else can
// choose which file: Append follows no link that others could have put on the way. Where
// others can create files, it refuses theirs, and other names (hard links) of ours. A
// pipe without a reader is an error, not a reason to wait.
func Append(path string, mode uint32) (*os.File, error) {
	for range maxTries {
		fd, err := openAppend(path, mode)
		if errors.Is(err, errReplaced) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: errReplaced}
}

func openAppend(path string, mode uint32) (int, error) {
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_NONBLOCK | unix.O_NOCTTY
	w, err := follow(path)
	defer w.close()
	refuse := func(err error) (int, error) { return -1, &fs.PathError{Op: "open", Path: path, Err: err} }
	missing := errors.Is(err, fs.ErrNotExist) && w.here.fd >= 0 && len(w.todo) == 0
	switch {
	case err != nil && !missing:
		return -1, err
	case w.planted != nil:
		return refuse(fmt.Errorf("others could have put a link on the way: %w", w.planted))
	case missing:
		fd, err := unix.Openat(w.here.fd, w.name, flags|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if errors.Is(err, unix.EEXIST) {
			return -1, errReplaced
		}
		if err != nil {
			return refuse(err)
		}
		return fd, nil
	case w.end.st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return refuse(unix.EISDIR)
	case !w.magic:
		if err := planted(&w.here, &w.end); err != nil {
			return refuse(err)
		}
	}
	fd, err := w.reopen(flags)
	switch {
	case errors.Is(err, unix.ENXIO) && w.end.st.Mode&unix.S_IFMT == unix.S_IFIFO:
		return refuse(errors.New("is a pipe that nobody reads"))
	case errors.Is(err, errReplaced):
		return -1, err
	case err != nil:
		return refuse(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || !same(&st, &w.end.st) || st.Nlink != w.end.st.Nlink {
		_ = unix.Close(fd)
		return -1, errReplaced
	}
	return fd, nil
}

// planted refuses a file that somebody else could have put where we would write, much as
// fs.protected_regular, protected_fifos and protected_hardlinks do.
func planted(dir, file *place) error {
	if !shared(&dir.st) {
		return nil
	}
	kind, reason := file.st.Mode&unix.S_IFMT, ""
	switch {
	case kind != unix.S_IFREG:
		reason = "this is not a regular file"
	case file.st.Nlink != 1:
		reason = fmt.Sprintf("the file has %d names: others could have added this one", file.st.Nlink)
	case foreign(file.st.Uid) && dir.st.Mode&unix.S_ISVTX != 0:
		reason = fmt.Sprintf("the file belongs to uid %d", file.st.Uid)
	default:
		return nil
	}
	return fmt.Errorf("others can write to %s (mode %#o), and %s; cure: name a file in a directory that only you can write", dir.path, dir.st.Mode&0o7777, reason)
}

// MakeDir creates a directory and the missing ones above it. It follows no link that
// others could have put on the way.
func MakeDir(path string) error {
	for {
		w, err := follow(path)
		missing := errors.Is(err, fs.ErrNotExist) && w.here.fd >= 0
		switch {
		case err != nil && !missing:
		case w.planted != nil:
			err, missing = &fs.PathError{Op: "mkdir", Path: path, Err: fmt.Errorf("others could have put a link on the way: %w", w.planted)}, false
		case missing:
			if err = unix.Mkdirat(w.here.fd, w.name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
				err, missing = &fs.PathError{Op: "mkdir", Path: path, Err: err}, false
			}
		}
		w.close()
		if !missing {
			return err
		}
	}
}

// Directory is an open directory in which we create and replace files.
type Directory struct{ fd int }

// FD is the descriptor, for system calls that take a directory (O_PATH).
func (d *Directory) FD() int { return d.fd }

// Close closes the directory.
func (d *Directory) Close() { _ = unix.Close(d.fd) }

// Parent opens the directory of a file that we want to write, and returns the file's name
// in it. It follows no link that others could have put on the way.
func Parent(path string) (dir *Directory, name string, err error) {
	i := strings.LastIndexByte(path, '/')
	at, name := ".", path[i+1:]
	if i >= 0 {
		at = path[:i+1]
	}
	if name == "" || name == "." || name == ".." {
		return nil, "", &fs.PathError{Op: "open", Path: path, Err: unix.EISDIR}
	}
	w, err := follow(at)
	defer w.close()
	switch {
	case err != nil:
		return nil, "", err
	case w.planted != nil:
		err = fmt.Errorf("others could have put a link on the way: %w", w.planted)
	case w.end.st.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = unix.ENOTDIR
	}
	if err != nil {
		return nil, "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	d := &Directory{fd: w.end.fd}
	w.end.fd = -1
	return d, name, nil
}
