// Package trust answers whether somebody other than root and the running user could have
// written a file or put another in its place: what a rules file or a program does, it
// does with the power of whoever runs sockwarden.
//
// Comes in: a path. Goes out: the open file, never one that makes the reader wait, and an
// error that names who could have written it, and the cure. For files that we write
// (logs, state): a descriptor of a file that nobody else could have chosen. A read-only
// mount proves nothing: the same files may be writable elsewhere. So mode and owner
// always count.
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

// ErrNotRegular says that a path leads to a directory, a pipe, a device or a socket
// instead of a file.
var ErrNotRegular = errors.New("is not a regular file")

// Checker checks files. The zero value is ready to use. It remembers the mounts, so many
// files cost little; do not share it between goroutines or keep it for long.
type Checker struct{ mounts mountTable }

// File is a regular file open for reading, with what Checker found on the way to it.
type File struct {
	// Path is where it is, without links.
	Path string
	// Stat describes the open file.
	Stat     unix.Stat_t
	fd       int
	distrust error
}

// Open opens a regular file for reading. It follows the path step by step, as the kernel
// does, and opens exactly what it checked. The error is ErrNotRegular or a *fs.PathError.
// It never waits for a pipe or a device.
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

var errReplaced = errors.New("somebody keeps replacing it")

func (c *Checker) open(path string) (*File, error) {
	w, err := follow(path)
	defer w.close()
	if err != nil {
		return nil, err
	}
	if w.end.st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, ErrNotRegular
	}
	// If it is no longer a regular file, that does no harm: this does not wait.
	fd, err := w.reopen(unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := &File{Path: w.end.path, fd: fd}
	if err := unix.Fstat(fd, &f.Stat); err != nil || !same(&f.Stat, &w.end.st) {
		f.Close()
		return nil, errReplaced
	}
	w.end.st = f.Stat // its mode may have changed
	f.distrust = c.trusted(w)
	return f, nil
}

// Trusted returns who else could have written the file or put it there, with the cure: an
// ErrForeign; nil if nobody could.
func (f *File) Trusted() error { return f.distrust }

// FD is the descriptor, which still belongs to f. It is non-blocking, though for a
// regular file that means little.
func (f *File) FD() int { return f.fd }

// ReadAll returns the content of the file, at most limit bytes.
func (f *File) ReadAll(limit int64) ([]byte, error) { return ReadAll(f.fd, limit) }

// ReadAll reads a non-blocking descriptor. One that has nothing to read right now is an
// error: for instance /proc/kmsg, which passes for a regular file.
func ReadAll(fd int, limit int64) ([]byte, error) {
	return io.ReadAll(io.LimitReader(raw(fd), limit)) //nolint:wrapcheck // of raw
}

// Close closes the file.
func (f *File) Close() { _ = unix.Close(f.fd) }

// raw reads a descriptor without waiting; os.File would wait in its poller.
type raw int

func (r raw) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(r), b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, errors.New("it never ends: a reader would wait for more")
		case err != nil:
			return 0, err //nolint:wrapcheck // an io.Reader
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// What can be wrong with a file that contains a secret.
var (
	ErrForeign  = errors.New("a live run does not trust it")
	ErrReadable = errors.New("everybody on this host can read the secret in it")
)

// Secret checks a file that contains a secret. It does not open it, and so does not need
// permission to read it. The error is ErrNotRegular, ErrForeign if others could have
// written it, or ErrReadable, each with the cure, or a *fs.PathError.
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

// Dir returns who else could put files into a directory, with the cure: an ErrForeign, or a
// *fs.PathError; nil if nobody could.
func (c *Checker) Dir(path string) error {
	w, err := follow(path)
	defer w.close()
	if err != nil {
		return err
	}
	return c.trusted(w)
}

// Program returns an error if a path is not an executable file, or if others could have
// written it.
func Program(path string) error {
	w, err := follow(path)
	defer w.close()
	if err != nil {
		return fmt.Errorf("program %s: %w", path, errors.Unwrap(err))
	}
	if st := &w.end.st; st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return fmt.Errorf("program %s is not an executable file", path)
	}
	if err := new(Checker).trusted(w); err != nil {
		return fmt.Errorf("program %s is not trusted: %w", path, err)
	}
	return nil
}

// Places returns the directories in which a change can change what a path leads to: those
// of all links on the way, the last existing one on the way, and the directory of the
// file; for a directory, that directory itself, too.
func Places(path string) []string {
	w, _ := follow(path)
	defer w.close()
	return append(w.linkDirs, w.holder, w.here.path)
}

// Beside joins a relative path to the directory of a file, for people to read: without
// "..", unless that directory is reached through a link, so that ".." leads elsewhere
// than it seems to.
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
