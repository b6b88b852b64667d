package trust

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The owner of a socket and the way to it decide whether it is trusted, not who may
// connect.
func TestSocket(t *testing.T) {
	socket := func(t testing.TB, dir string) {
		t.Helper()
		must(t, "socket", unix.Mknod(dir+"/a/sock", unix.S_IFSOCK|0o600, 0))
	}
	for name, test := range map[string]struct {
		change change
		path   string
		want   string // in the error, "" for trusted
	}{
		"plain":             {socket, "a/sock", ""},
		"for a group":       {all(socket, mode("a/sock", 0o660)), "a/sock", ""},
		"for all":           {all(socket, mode("a/sock", 0o666)), "a/sock", ""},
		"link":              {all(socket, link("../a", "b/run")), "b/run/sock", ""},
		"theirs":            {all(socket, theirs("a/sock")), "a/sock", "the socket DIR/a/sock belongs to uid 54321"},
		"directory for all": {all(socket, mode("a", 0o777)), "a/sock", "others can write to DIR/a (mode 0777)"},
		"sticky directory":  {all(socket, mode("a", 0o777|os.ModeSticky)), "a/sock", ""},
		"theirs in sticky":  {all(socket, mode("a", 0o777|os.ModeSticky), theirs("a/sock")), "a/sock", "the socket DIR/a/sock belongs to uid 54321"},
		"their sticky":      {all(socket, mode("a", 0o777|os.ModeSticky), theirs("a")), "a/sock", "DIR/a belongs to uid 54321"},
		"linked in sticky":  {all(socket, mode("a", 0o777|os.ModeSticky), hard("a/sock", "b/sock")), "a/sock", "others can put files into DIR/a"},
		"link in sticky":    {all(socket, mode("b", 0o777|os.ModeSticky), link("../a/sock", "b/sock")), "b/sock", "others can put files into DIR/b"},
		"their directory":   {all(socket, theirs("a")), "a/sock", "DIR/a belongs to uid 54321"},
		"their link":        {all(socket, link("../a", "b/run"), theirs("b/run")), "b/run/sock", "the link DIR/b/run belongs to uid 54321"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "a/", "b/")
			test.change(t, dir)
			reason := ""
			if err := new(Checker).Socket(dir + "/" + test.path); err != nil {
				reason = strings.ReplaceAll(err.Error(), dir, "DIR")
			}
			if (reason == "") != (test.want == "") || !strings.Contains(reason, test.want) {
				t.Errorf("%q, want %q", reason, test.want)
			}
		})
	}
}

func TestNoSocket(t *testing.T) {
	dir := tree(t, "a/", "file")
	for path, want := range map[string]error{"a": ErrNotSocket, "file": ErrNotSocket, "gone": fs.ErrNotExist, "gone/x": fs.ErrNotExist, "file/x": unix.ENOTDIR} {
		if err := new(Checker).Socket(dir + "/" + path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}
