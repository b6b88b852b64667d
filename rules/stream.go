package rules

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
)

// Stdin is the path that stands for the standard input.
const Stdin = "-"

// inherited returns the descriptor that a path names: the standard input, or what a
// shell opened for <(..).
func inherited(path string) (fd int, ok bool) {
	if path == "/dev/stdin" {
		return 0, true
	}
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		if name, ok := strings.CutPrefix(path, dir); ok {
			fd, err := strconv.ParseUint(name, 10, 31)
			return int(fd), err == nil
		}
	}
	return 0, false
}

// Streams reports whether one of the paths of rules is a pipe, a terminal or a socket
// that this process was given: whoever writes to it decides how long reading takes.
func Streams(paths []string) bool {
	for _, p := range paths {
		if p == Stdin {
			p = "/dev/stdin"
		}
		if fd, ok := inherited(p); ok && isStream(fd) {
			return true
		}
	}
	return false
}

func isStream(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK:
		return true
	case unix.S_IFCHR:
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		return err == nil
	}
	return false
}

// readStream reads rules from a pipe, a terminal or a socket that this process was
// given. Names of files in them are relative to the working directory.
func (l *loader) readStream(path string, fd int) {
	text, err := l.stream(fd)
	if err != nil {
		l.problems.add(Problem{ID: idOfFile(err), File: path, Message: err.Error()})
		return
	}
	name := path
	if fd == 0 {
		name = "stdin"
	}
	l.add(name, text)
}

func (l *loader) stream(fd int) (string, error) {
	var st unix.Stat_t
	switch err := unix.Fstat(fd, &st); {
	case errors.Is(err, unix.EBADF) && fd > 2:
		return "", errors.New("is not open here: sudo closes what a shell opens for <(..); write the rules to a file, or to a pipe that --rules - reads")
	case err != nil:
		return "", fmt.Errorf("cannot be read: %w", err)
	case !isStream(fd):
		return "", errors.New("is neither a regular file nor a pipe")
	case l.opts.Again:
		return "", errors.New("is a pipe, which can be read only once, and a watcher reads its rules again: write them to a file")
	case l.opts.Trust:
		return "", fmt.Errorf("%w: nobody can say who wrote what comes out of a pipe; write the rules to a file that only you can write", trust.ErrForeign)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	f := os.NewFile(uintptr(own), "rules")
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	return textOf(b)
}
