package memory

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
)

// newSuffix ends the names of files that will replace others.
const newSuffix = ".new"

// errTaken says that somebody has replaced the file that we just made.
var errTaken = errors.New("somebody else put another file in its place")

// ReplaceFile puts a file in the place of another; readers see either the old
// or the new one, whole. Only what it made itself gets there: the name is new,
// and nobody's file, pipe or link is opened. The mode does not depend on the umask.
func ReplaceFile(path string, content []byte, mode uint32) error {
	dir, name, err := trust.Parent(path)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer dir.Close()
	tmp := name + "." + rand.Text() + newSuffix
	fd, err := unix.Openat(dir.FD(), tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	err = writeAll(fd, content)
	if err == nil {
		err = unix.Fchmod(fd, mode)
	}
	if err == nil {
		err = stillThere(dir, tmp, fd)
	}
	if err == nil {
		err = unix.Renameat(dir.FD(), tmp, dir.FD(), name)
	}
	if err != nil {
		if stillThere(dir, tmp, fd) == nil {
			_ = unix.Unlinkat(dir.FD(), tmp, 0)
		}
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := stillThere(dir, name, fd); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err //nolint:wrapcheck // by replaceFile
		}
		b = b[max(n, 0):]
	}
	return nil
}

// stillThere says whether a name means the file that is open.
func stillThere(dir *trust.Directory, name string, fd int) error {
	var open, named unix.Stat_t
	if err := unix.Fstat(fd, &open); err != nil {
		return err //nolint:wrapcheck // by replaceFile
	}
	if err := unix.Fstatat(dir.FD(), name, &named, unix.AT_SYMLINK_NOFOLLOW); err != nil || open.Dev != named.Dev || open.Ino != named.Ino {
		return errTaken
	}
	return nil
}

// RemoveLeftovers removes what killed writers have left. The caller holds the lock of the
// file, so that nobody is writing one.
func RemoveLeftovers(path string) {
	dir, name, err := trust.Parent(path)
	if err != nil {
		return
	}
	defer dir.Close()
	for _, left := range namesIn(dir) {
		var st unix.Stat_t
		if rest, ok := strings.CutPrefix(left, name+"."); !ok || !strings.HasSuffix(rest, newSuffix) || strings.Contains(strings.TrimSuffix(rest, newSuffix), ".") {
			continue
		}
		if unix.Fstatat(dir.FD(), left, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && int(st.Uid) == unix.Geteuid() {
			_ = unix.Unlinkat(dir.FD(), left, 0)
		}
	}
}

func namesIn(dir *trust.Directory) []string {
	fd, err := unix.Openat(dir.FD(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), ".")
	defer func() { _ = f.Close() }()
	names, _ := f.Readdirnames(-1)
	return names
}

// machineDir is the directory of the machine's own state and switch.
const machineDir = "/run/sockwarden"

// MakeDir makes a directory as far as it is missing. Into that of the machine's
// switch every user can look, whatever the umask of who comes first.
func MakeDir(path string) error {
	_, err := os.Stat(path)
	if err == nil {
		return nil
	}
	if err := trust.MakeDir(path); err != nil {
		return err
	}
	if path == machineDir {
		return os.Chmod(path, 0o755) //nolint:wrapcheck // says what and where
	}
	return nil
}
