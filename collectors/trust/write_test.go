package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Logs go where the path says, if nobody else can interfere; an existing file stays as it
// is.
func TestAppend(t *testing.T) {
	const sticky, forAll = 0o777 | os.ModeSticky, 0o777
	for name, test := range map[string]struct {
		mode   os.FileMode // of the directory dir/d
		change change
		path   string // "" for d/log
		goes   string // where a line goes, "" if refused
		want   string // in the error
	}{
		"new":                       {0o755, nil, "", "d/log", ""},
		"there":                     {0o755, file("d/log"), "", "d/log", ""},
		"new in sticky":             {sticky, nil, "", "d/log", ""},
		"ours in sticky":            {sticky, file("d/log"), "", "d/log", ""},
		"our link":                  {0o755, link("../victim", "d/log"), "", "victim", ""},
		"our link to nothing yet":   {0o755, link("../new", "d/log"), "", "new", ""},
		"link in sticky":            {sticky, link("../victim", "d/log"), "", "", "others could have put a link on the way"},
		"their link in sticky":      {sticky, all(link("../victim", "d/log"), theirs("d/log")), "", "", "others could have put a link on the way"},
		"their dangling link":       {sticky, all(link("../new", "d/log"), theirs("d/log")), "", "", "others could have put a link on the way"},
		"link for all":              {forAll, link("../victim", "d/log"), "", "", "others could have put a link on the way"},
		"their link in our place":   {0o755, all(link("../victim", "d/log"), theirs("d/log")), "", "", "belongs to uid 54321"},
		"their linked directory":    {sticky, all(link("..", "d/l"), theirs("d/l")), "d/l/victim", "", "others could have put a link on the way"},
		"their file in sticky":      {sticky, all(file("d/log"), theirs("d/log")), "", "", "the file belongs to uid 54321"},
		"their file in their place": {0o755, all(file("d/log"), theirs("d/log"), theirs("d")), "", "d/log", ""},
		"their file in our place":   {0o755, all(file("d/log"), theirs("d/log")), "", "d/log", ""},
		"hard link in sticky":       {sticky, hard("victim", "d/log"), "", "", "the file has 2 names"},
		"hard link in their place":  {0o755, all(hard("victim", "d/log"), theirs("d")), "", "", "the file has 2 names"},
		"hard link in our place":    {0o755, hard("victim", "d/log"), "", "victim", ""},
		"pipe in sticky":            {sticky, pipe("d/log"), "", "", "this is not a regular file"},
		"their pipe in sticky":      {sticky, all(pipe("d/log"), theirs("d/log")), "", "", "this is not a regular file"},
		"pipe that nobody reads":    {0o755, pipe("d/log"), "", "", "is a pipe that nobody reads"},
		"directory":                 {0o755, nil, "d", "", "is a directory"},
		"no directory":              {0o755, nil, "e/log", "", "no such file or directory"},
		"file as directory":         {0o755, nil, "victim/log", "", "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "d/", "victim")
			must(t, "chmod", os.Chmod(dir+"/d", test.mode))
			if test.change != nil {
				test.change(t, dir)
			}
			path := filepath.Join(dir, test.path)
			if test.path == "" {
				path = dir + "/d/log"
			}
			f, err := Append(path, 0o640)
			if err == nil {
				_, err = f.WriteString("LINE\n")
				must(t, "close", f.Close())
			}
			if (err == nil) != (test.goes != "") || err != nil && (!strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "open "+path+": ")) {
				t.Errorf("%v, want %q", err, test.want)
			}
			for _, file := range []string{"victim", "d/log", "new"} {
				if info, err := os.Stat(dir + "/" + file); err != nil || !info.Mode().IsRegular() {
					continue
				}
				b, err := os.ReadFile(dir + "/" + file)
				must(t, "read", err)
				if has := strings.HasSuffix(string(b), "LINE\n"); has && test.goes == "" || !has && file == test.goes {
					t.Errorf("%s holds %q", file, b)
				}
			}
		})
	}
}

// Inherited descriptors are written to whatever they are, such as /dev/stderr on a
// terminal of another user; a stalled reader costs an error and no time.
func TestAppendDescriptor(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, "pipe", err)
	defer func() { _, _ = r.Close(), w.Close() }()
	fd := "/proc/self/fd/" + strconv.Itoa(int(w.Fd()))
	f, err := Append(fd, 0o640)
	must(t, "open", err)
	defer func() { _ = f.Close() }()
	_, err = f.WriteString("LINE\n")
	must(t, "write", err)
	b := make([]byte, 10)
	if n, err := r.Read(b); string(b[:n]) != "LINE\n" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// State is never written through a link that others made.
func TestParent(t *testing.T) {
	dir := tree(t, "d/", "victim/", "file")
	must(t, "link", os.Symlink("../victim", dir+"/d/ours"))
	must(t, "link", os.Symlink("../victim", dir+"/d/theirs"))
	give(t, dir+"/d/theirs")
	for path, want := range map[string]string{
		"d/state": "", "d/ours/state": "", "d/theirs/state": "others could have put a link on the way", "d/theirs": "", "file/state": "not a directory",
		"e/state": "no such file", "d/": "is a directory", "d/..": "is a directory",
	} {
		d, name, err := Parent(dir + "/" + path)
		if err == nil {
			if name != path[strings.LastIndex(path, "/")+1:] {
				t.Errorf("%s: name %q", path, name)
			}
			d.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	t.Chdir(dir)
	if d, name, err := Parent("state"); err != nil || name != "state" {
		t.Errorf("%q, %v", name, err)
	} else {
		d.Close()
	}
}

// Missing directories are made, but not behind a link that others made.
func TestMakeDir(t *testing.T) {
	dir := tree(t, "d/", "victim/", "file")
	must(t, "link", os.Symlink("../victim", dir+"/d/theirs"))
	must(t, "link", os.Symlink("../victim/new", dir+"/d/dangling"))
	give(t, dir+"/d/theirs")
	give(t, dir+"/d/dangling")
	for path, want := range map[string]string{
		"d": "", "d/a/b/c": "", "e/f/": "", "d/theirs/x": "others could have put", "d/dangling/x": "others could have put", "file/x": "not a directory",
	} {
		err := MakeDir(dir + "/" + path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		if info, err := os.Stat(dir + "/" + path); want == "" && (err != nil || !info.IsDir()) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if left, err := os.ReadDir(dir + "/victim"); err != nil || len(left) > 0 {
		t.Errorf("made behind a link: %v, %v", left, err)
	}
	if err := MakeDir("/proc/none/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A file with a secret must be readable by its owner and not writable by others.
func TestSecret(t *testing.T) {
	dir := tree(t, "open", "closed", "group", "foreign", "d/")
	for name, mode := range map[string]os.FileMode{"closed": 0o600, "group": 0o640, "foreign": 0o600} {
		must(t, "chmod", os.Chmod(dir+"/"+name, mode))
	}
	give(t, dir+"/foreign")
	for name, want := range map[string]error{"open": ErrReadable, "closed": nil, "group": nil, "foreign": ErrForeign, "d": ErrNotRegular, "gone": fs.ErrNotExist} {
		if err := new(Checker).Secret(dir + "/" + name); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if err := new(Checker).Secret(dir + "/open"); !strings.Contains(err.Error(), "(mode 0644); cure: chmod o-rwx "+dir+"/open") {
		t.Errorf("%v", err)
	}
}
