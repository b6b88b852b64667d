package exec

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
)

// Anything that is not a program, or that somebody else could change, is refused before
// it starts. Such an error says nothing about the target.
func TestPrograms(t *testing.T) {
	sockets := target(t)
	chmod := func(t *testing.T, path string, mode os.FileMode) { t.Helper(); must(t, "chmod", os.Chmod(path, mode)) }
	for name, c := range map[string]struct {
		make func(t *testing.T, dir, program string) string // returns the name to use
		want string                                         // in the error, "" for none
	}{
		"good":             {func(t *testing.T, _, p string) string { return p }, ""},
		"missing":          {func(t *testing.T, dir, _ string) string { return dir + "/missing" }, "no such file"},
		"directory":        {func(t *testing.T, dir, _ string) string { return dir }, "not an executable file"},
		"not executable":   {func(t *testing.T, _, p string) string { chmod(t, p, 0o644); return p }, "not an executable file"},
		"group can write":  {func(t *testing.T, _, p string) string { chmod(t, p, 0o775); return p }, "chmod go-w"},
		"others can write": {func(t *testing.T, _, p string) string { chmod(t, p, 0o757); return p }, "chmod go-w"},
		"of another user":  {func(t *testing.T, _, p string) string { must(t, "chown", os.Chown(p, 65534, 0)); return p }, "chown 0:"},
		"directory of another user": {
			func(t *testing.T, dir, p string) string { must(t, "chown", os.Chown(dir, 65534, 0)); return p }, "chown 0:",
		},
		"directory for all":        {func(t *testing.T, dir, p string) string { chmod(t, dir, 0o777); return p }, "is not trusted"},
		"sticky directory for all": {func(t *testing.T, dir, p string) string { chmod(t, dir, 0o777|os.ModeSticky); return p }, "is not trusted"},
		"directory above for all":  {func(t *testing.T, dir, p string) string { chmod(t, filepath.Dir(dir), 0o777); return p }, "is not trusted"},
		"sticky directory above":   {func(t *testing.T, dir, p string) string { chmod(t, filepath.Dir(dir), 0o777|os.ModeSticky); return p }, ""},
		"link": {func(t *testing.T, dir, p string) string {
			link := filepath.Join(filepath.Dir(dir), "link")
			must(t, "link", os.Symlink(p, link))
			return link
		}, ""},
		"link out of a directory for all": {func(t *testing.T, dir, _ string) string {
			chmod(t, dir, 0o777)
			link := dir + "/link"
			must(t, "link", os.Symlink("/bin/true", link))
			return link
		}, "is not trusted"},
		"link into a directory for all": {func(t *testing.T, dir, p string) string {
			chmod(t, dir, 0o777)
			link := filepath.Join(filepath.Dir(dir), "link")
			must(t, "link", os.Symlink(p, link))
			return link
		}, "is not trusted"},
		"dangling link": {func(t *testing.T, dir, _ string) string {
			link := dir + "/link"
			must(t, "link", os.Symlink("nowhere", link))
			return link
		}, "no such file"},
		"read-only mount": {func(t *testing.T, dir, _ string) string {
			must(t, "mount", unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0777"))
			t.Cleanup(func() { must(t, "unmount", unix.Unmount(dir, unix.MNT_DETACH)) })
			write(t, dir+"/program", "#!/bin/sh\n", 0o777)
			must(t, "remount", unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
			return dir + "/program"
		}, "is not trusted"}, // it may be writable elsewhere
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			must(t, "mkdir", os.Mkdir(dir, 0o755))
			write(t, dir+"/program", "#!/bin/sh\n", 0o755)
			path := c.make(t, dir, dir+"/program")
			e, err := prepare(t, path, 0, sockets)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%v", err)
			case c.want == "":
			case e != nil || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path):
				t.Errorf("%v, %v", e, err)
			case errors.Is(err, collectors.ErrGone) || actions.OutcomeOf(err).Result != actions.Failed:
				t.Errorf("outcome %+v", actions.OutcomeOf(err))
			case c.want == "no such file" && !errors.Is(err, fs.ErrNotExist):
				t.Errorf("%v is not ErrNotExist", err)
			}
		})
	}
}
