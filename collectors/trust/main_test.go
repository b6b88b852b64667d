package trust

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// tree makes a directory that only we can write, with files in it.
func tree(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, "chmod", os.Chmod(dir, 0o755))
	for _, f := range files {
		put(t, dir+"/"+f)
	}
	return dir
}

// put makes a file, or a directory if its name ends in a slash.
func put(t testing.TB, path string) {
	t.Helper()
	if path[len(path)-1] == '/' {
		must(t, "mkdir", os.Mkdir(path, 0o755))
		return
	}
	must(t, "write", os.WriteFile(path, []byte(path), 0o644))
}

const stranger = 54321

// give gives a file, or the link itself, to somebody else.
func give(t testing.TB, path string) {
	t.Helper()
	err := os.Lchown(path, stranger, stranger)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		t.Skipf("files cannot be given away: %v", err) // without root
	}
	must(t, "chown", err)
}

// change changes a tree before a test.
type change func(t testing.TB, dir string)

func all(changes ...change) change {
	return func(t testing.TB, dir string) {
		t.Helper()
		for _, c := range changes {
			c(t, dir)
		}
	}
}

// The changes: a file, a link (absolute if it begins with DIR), a hard link, a pipe,
// another mode, another owner, a read-only mount.
func file(path string) change {
	return func(t testing.TB, dir string) { t.Helper(); put(t, dir+"/"+path) }
}

func link(target, path string) change {
	return func(t testing.TB, dir string) {
		t.Helper()
		must(t, "link", os.Symlink(strings.Replace(target, "DIR", dir, 1), dir+"/"+path))
	}
}

func hard(target, path string) change {
	return func(t testing.TB, dir string) { t.Helper(); must(t, "link", os.Link(dir+"/"+target, dir+"/"+path)) }
}

func pipe(path string) change {
	return func(t testing.TB, dir string) { t.Helper(); must(t, "pipe", unix.Mkfifo(dir+"/"+path, 0o600)) }
}

func mode(path string, m os.FileMode) change {
	return func(t testing.TB, dir string) { t.Helper(); must(t, "chmod", os.Chmod(dir+"/"+path, m)) }
}

func theirs(path string) change {
	return func(t testing.TB, dir string) { t.Helper(); give(t, dir+"/"+path) }
}

func readOnly(path string) change {
	return func(t testing.TB, dir string) {
		t.Helper()
		at := dir + "/" + path
		must(t, "bind", unix.Mount(at, at, "", unix.MS_BIND, ""))
		t.Cleanup(func() { must(t, "unmount", unix.Unmount(at, unix.MNT_DETACH)) })
		must(t, "remount", unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	}
}
