// Package trust answers whether somebody else than root and the running user
// could have written a file, or put another in its place: what a rules file says
// and what a program does happens with the power of whoever runs sockwarden.
//
// Comes in: a path. Goes out: the opened file, never one that keeps the reader
// waiting, and an error that names who could have written it, and the cure. For
// files that are written (logs, state): a descriptor that nobody else could have
// chosen. A read-only mount proves nothing: what is read-only here can be
// writable elsewhere, so mode and owner always count.
package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRegular says that a path leads to a directory, a pipe, a device or a
// socket, and not to a file.
var ErrNotRegular = errors.New("is no regular file")

// Checker looks at files. The zero value is ready; it remembers the mounts, so
// that many files cost little, and is not for use by several goroutines or for
// long.
type Checker struct{ mounts mountTable }

// File is a regular file that was opened for reading, with what was found on
// the way to it.
type File struct {
	// Path is where it lies, without links.
	Path string
	// Stat is what the opened file is.
	Stat     unix.Stat_t
	fd       int
	distrust error
}

// Open opens a regular file for reading. The path is followed step by step as
// the kernel does, and what is opened is what was looked at. The error is
// ErrNotRegular or a *fs.PathError. It never waits for a pipe or a device.
func (c *Checker) Open(path string) (*File, error) {
	for range maxTries {
		f, err := c.open(path)
		if !errors.Is(err, errReplaced) {
			return f, err
		}
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: errReplaced}
}

const maxTries = 5

var errReplaced = errors.New("it is being replaced all the time")

func (c *Checker) open(path string) (*File, error) {
	w, err := follow(path)
	defer w.close()
	if err != nil {
		return nil, err
	}
	if w.end.st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, ErrNotRegular
	}
	// What is no regular file by now does no harm either: nothing is waited for.
	fd, err := w.reopen(unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := &File{Path: w.end.path, fd: fd}
	if err := unix.Fstat(fd, &f.Stat); err != nil || !same(&f.Stat, &w.end.st) {
		f.Close()
		return nil, errReplaced
	}
	w.end.st = f.Stat // its mode may be another by now
	f.distrust = c.trusted(w)
	return f, nil
}

// Trusted returns who else could have written the file or put it there, and the
// cure; nil if nobody could.
func (f *File) Trusted() error { return f.distrust }

// FD is the descriptor, which stays the file's. It is not blocking, though that
// means little for a file.
func (f *File) FD() int { return f.fd }

// ReadAll returns what is in the file, at most so many bytes of it.
func (f *File) ReadAll(limit int64) ([]byte, error) { return ReadAll(f.fd, limit) }

// ReadAll reads a descriptor that does not block. What has nothing to give for
// now, as /proc/kmsg, which passes for a regular file, is an error.
func ReadAll(fd int, limit int64) ([]byte, error) {
	return io.ReadAll(io.LimitReader(raw(fd), limit)) //nolint:wrapcheck // of raw
}

// Close closes the file.
func (f *File) Close() { _ = unix.Close(f.fd) }

// raw reads a descriptor without waiting, which os.File would do in its poller.
type raw int

func (r raw) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(r), b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, errors.New("it has no end: whoever reads it waits for more")
		case err != nil:
			return 0, err //nolint:wrapcheck // an io.Reader
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// What can be wrong with a file that holds a secret.
var (
	ErrForeign  = errors.New("a live run does not trust it")
	ErrReadable = errors.New("everybody on this host can read the secret in it")
)

// Secret looks at a file whose content is a secret, without opening it, and so
// without the permission to read it. The error is ErrNotRegular, ErrForeign if
// others could have written it, ErrReadable, each with the cure, or a
// *fs.PathError.
func (c *Checker) Secret(path string) error {
	w, err := follow(path)
	defer w.close()
	if err != nil {
		return err
	}
	if w.end.st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ErrNotRegular
	}
	if err := c.trusted(w); err != nil {
		return fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if w.end.st.Mode&unix.S_IROTH != 0 {
		return fmt.Errorf("%w (mode %#o); cure: chmod o-rwx %s", ErrReadable, w.end.st.Mode&0o7777, quoted(w.end.path))
	}
	return nil
}

// Dir returns who else could put files into a directory, and the cure; nil if
// nobody could.
func (c *Checker) Dir(path string) error {
	w, err := follow(path)
	defer w.close()
	if err != nil {
		return err
	}
	return c.trusted(w)
}

// Program returns an error if a path is no executable file, or if others could
// have written it.
func Program(path string) error {
	w, err := follow(path)
	defer w.close()
	if err != nil {
		return fmt.Errorf("program %s: %w", path, errors.Unwrap(err))
	}
	if st := &w.end.st; st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return fmt.Errorf("program %s is no executable file", path)
	}
	if err := new(Checker).trusted(w); err != nil {
		return fmt.Errorf("program %s is not trusted: %w", path, err)
	}
	return nil
}

// Places returns the directories in which a change can change what a path leads
// to: those of all links on the way, the last one that exists on the way, and
// that of the file; and the path's own if it is a directory.
func Places(path string) []string {
	w, _ := follow(path)
	defer w.close()
	return append(w.linkDirs, w.holder, w.here.path)
}

// Beside joins a relative path to the directory of a file, for people to read:
// without "..", unless the directory is reached by a link and ".." leads
// elsewhere than it seems.
func Beside(file, name string) string {
	dir := file[:strings.LastIndexByte(file, '/')+1]
	exact, short := dir+name, filepath.Join(dir, name)
	a, errA := os.Stat(exact)
	b, errB := os.Stat(short)
	if errA == nil && (errB != nil || !os.SameFile(a, b)) {
		return exact
	}
	return short
}
