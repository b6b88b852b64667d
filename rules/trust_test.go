package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/rules/lang"
)

// trustTree is a directory with rules and a set that only we can write.
func trustTree(t *testing.T) string {
	t.Helper()
	dir := writeFiles(t, map[string]string{
		"etc/rules.yaml":   "version: 1\nsets:\n  s: {file: ../lists/set.txt}\nrules:\n  - {name: r, when: remote_addr in s, then: [destroy]}\n",
		"lists/set.txt":    "10.0.0.1\n",
		"store/rules.yaml": oneRule,
	})
	for _, p := range []string{"", "etc", "lists", "store"} {
		chmod(t, filepath.Join(dir, p), 0o755)
	}
	return dir
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func mode(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%#o", info.Mode().Perm())
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestTrust(t *testing.T) {
	me := fmt.Sprintf("%d:%d", os.Geteuid(), os.Getegid())
	writable := func(path, mode string) string {
		const text = "a live run does not trust it: others can write to DIR/%[1]s (mode %[2]s); cure: chown %[3]s DIR/%[1]s && chmod go-w DIR/%[1]s"
		return fmt.Sprintf(text, path, mode, me)
	}
	link := func(t *testing.T, dir, target string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, "etc/rules.yaml")); err != nil {
			t.Fatal(err)
		}
		symlink(t, target, filepath.Join(dir, "etc/rules.yaml"))
	}
	tests := []struct {
		name   string
		change func(t *testing.T, dir string)
		want   string // "" for trusted
	}{
		{"as it is", func(*testing.T, string) {}, ""},
		{"file for the group", func(t *testing.T, dir string) { chmod(t, dir+"/etc/rules.yaml", 0o664) }, "etc/rules.yaml: " + writable("etc/rules.yaml", "0664")},
		{"file for all", func(t *testing.T, dir string) { chmod(t, dir+"/etc/rules.yaml", 0o646) }, "etc/rules.yaml: " + writable("etc/rules.yaml", "0646")},
		{"file read by all", func(t *testing.T, dir string) { chmod(t, dir+"/etc/rules.yaml", 0o444) }, ""},
		{"directory for the group", func(t *testing.T, dir string) { chmod(t, dir+"/etc", 0o775) }, "etc/rules.yaml: " + writable("etc", "0775")},
		{"directory for all", func(t *testing.T, dir string) { chmod(t, dir+"/etc", 0o777) }, "etc/rules.yaml: " + writable("etc", "0777")},
		{
			"sticky directory for all", func(t *testing.T, dir string) { chmod(t, dir+"/etc", 0o777|os.ModeSticky) },
			"etc/rules.yaml: a live run does not trust it: others can put files into DIR/etc (mode 01777); cure: move the file to a directory that only you can write",
		},
		{"directory above", func(t *testing.T, dir string) { chmod(t, dir, 0o777) }, "etc/rules.yaml: others can write to DIR "},
		{"sticky directory above", func(t *testing.T, dir string) { chmod(t, dir, 0o777|os.ModeSticky) }, ""},
		{"set", func(t *testing.T, dir string) { chmod(t, dir+"/lists/set.txt", 0o666) }, "etc/rules.yaml:3:6: DIR/lists/set.txt: " + writable("lists/set.txt", "0666")},
		{"directory of the set", func(t *testing.T, dir string) { chmod(t, dir+"/lists", 0o777) }, "etc/rules.yaml:3:6: DIR/lists/set.txt: " + writable("lists", "0777")},
		{"link", func(t *testing.T, dir string) { link(t, dir, "../store/rules.yaml") }, ""},
		{"target of a link", func(t *testing.T, dir string) {
			link(t, dir, "../store/rules.yaml")
			chmod(t, dir+"/store/rules.yaml", 0o666)
		}, "etc/rules.yaml: " + writable("store/rules.yaml", "0666")},
		{"directory of the target", func(t *testing.T, dir string) {
			link(t, dir, "../store/rules.yaml")
			chmod(t, dir+"/store", 0o777)
		}, "etc/rules.yaml: " + writable("store", "0777")},
		{"directory of a link on the way", func(t *testing.T, dir string) {
			link(t, dir, "../lists/rules.yaml")
			symlink(t, "../store/rules.yaml", filepath.Join(dir, "lists/rules.yaml"))
			chmod(t, dir+"/lists", 0o777)
		}, "etc/rules.yaml: " + writable("lists", "0777")},
		{"directory of a linked directory", func(t *testing.T, dir string) {
			symlink(t, "../store", filepath.Join(dir, "lists/current"))
			link(t, dir, dir+"/lists/current/rules.yaml")
			chmod(t, dir+"/lists", 0o777)
		}, "etc/rules.yaml: " + writable("lists", "0777")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := trustTree(t)
			tt.change(t, dir)
			opts := Options{Paths: []string{filepath.Join(dir, "etc/rules.yaml")}, Catalog: testCatalog(), Trust: true}
			_, _, err := Load(opts)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("not trusted: %v", err)
			case tt.want != "":
				checkTrustProblem(t, err, dir, tt.want)
			}
			opts.Trust = false
			if _, _, err := Load(opts); err != nil {
				t.Errorf("a dry run: %v", err)
			}
		})
	}
}

// checkTrustProblem checks that err is the one problem want, where DIR stands for dir.
func checkTrustProblem(t *testing.T, err error, dir, want string) {
	t.Helper()
	var list Problems
	if !errors.As(err, &list) || len(list) != 1 {
		t.Fatalf("got %v", err)
	}
	got := strings.TrimPrefix(list[0].String(), dir+"/")
	got = strings.ReplaceAll(got, dir+"/", "DIR/")
	got = strings.ReplaceAll(got, dir+" ", "DIR ")
	file, message, _ := strings.Cut(want, ": ")
	if !strings.HasPrefix(got, file+": ") || !strings.Contains(got, message) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if list[0].ID != idUntrusted {
		t.Errorf("%q is a problem of the kind %s", got, list[0].ID)
	}
}

// TestTrustOwner: what belongs to somebody else is not trusted, even if only that user
// can write to it.
func TestTrustOwner(t *testing.T) {
	const somebody = 54321
	for _, what := range []string{"etc/rules.yaml", "etc", "lists/set.txt"} {
		t.Run(what, func(t *testing.T) {
			dir := trustTree(t)
			path := filepath.Join(dir, what)
			if err := os.Chown(path, somebody, somebody); errors.Is(err, unix.EPERM) {
				t.Skipf("files cannot be given away: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			_, _, err := Load(Options{Paths: []string{filepath.Join(dir, "etc/rules.yaml")}, Catalog: testCatalog(), Trust: true})
			const text = "a live run does not trust it: %s belongs to uid %d, who could change it (mode %s); cure: chown %d:%d %s, or copy"
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf(text, path, somebody, mode(t, path), os.Geteuid(), os.Getegid(), path)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTrustCure: following the message cures the problem.
func TestTrustCure(t *testing.T) {
	dir := trustTree(t)
	for _, p := range []string{"etc", "etc/rules.yaml", "lists", "lists/set.txt"} {
		chmod(t, filepath.Join(dir, p), 0o777)
	}
	for range 10 {
		_, _, err := Load(Options{Paths: []string{filepath.Join(dir, "etc/rules.yaml")}, Catalog: testCatalog(), Trust: true})
		if err == nil {
			return
		}
		_, cure, _ := strings.Cut(err.Error(), "cure: ")
		cure, _, _ = strings.Cut(cure, ", or copy")
		shell(t, dir, cure)
	}
	t.Error("still not trusted")
}

// TestTrustDirectory: each file of a directory is checked.
func TestTrustDirectory(t *testing.T) {
	dir := writeFiles(t, map[string]string{"a.yaml": oneRule, "b.yaml": twoRule})
	chmod(t, dir, 0o755)
	chmod(t, filepath.Join(dir, "b.yaml"), 0o666)
	for _, opts := range []Options{{Paths: []string{dir}}, {Paths: []string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")}}} {
		opts.Trust, opts.Catalog = true, testCatalog()
		_, _, err := Load(opts)
		checkTrustProblem(t, err, dir, "b.yaml: a live run does not trust it: others can write to DIR/b.yaml (mode 0666)")
	}
}

// A receiver of messages that is a program is run in a dry run, too: whoever could have
// written the rules could have named it.
func TestTrustOfPrograms(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"program.yaml": oneRule + "actions: {x: {plugin: runs, program: /bin/sh}}\n", "posts.yaml": oneRule + "actions: {x: {plugin: posts}}\n",
	})
	bind := func(map[string]any) (any, error) { return nil, nil } //nolint:nilnil // nobody uses it
	notifiers := Catalog{{Name: "runs", Params: []Param{{Name: "program", Type: ParamString, Program: true}}, Bind: bind}, {Name: "posts", Bind: bind}}
	load := func(name string, sends bool) error {
		_, _, err := Load(Options{Paths: []string{filepath.Join(dir, name)}, Catalog: testCatalog(), Notifiers: notifiers, Sends: sends})
		return err
	}
	if err := load("program.yaml", true); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"program.yaml", "posts.yaml"} {
		chmod(t, filepath.Join(dir, name), 0o666)
	}
	for _, err := range []error{load("program.yaml", false), load("posts.yaml", true)} {
		if err != nil {
			t.Error(err)
		}
	}
	checkTrustProblem(t, load("program.yaml", true), dir, "program.yaml: a run whose messages start programs does not trust it: others can write to DIR/program.yaml (mode 0666)")
}

// A file with a secret that others can write is as untrusted as rules are; one that is no
// file is wrong.
func TestTrustOfSecrets(t *testing.T) {
	dir := writeFiles(t, map[string]string{"url": "https://a\n"})
	chmod(t, dir, 0o755)
	chmod(t, dir+"/url", 0o666)
	notifiers := Catalog{{Name: "posts", Params: []Param{{Name: "url_file", Type: ParamString, SecretFile: true}}, Bind: func(map[string]any) (any, error) { return nil, nil }}} //nolint:nilnil // nobody uses it
	for file, want := range map[string]lang.ID{dir + "/url": idUntrusted, dir: idWrongParameter} {
		rules := writeFiles(t, map[string]string{"r.yaml": oneRule + "actions: {x: {plugin: posts, url_file: " + file + "}}\n"}) + "/r.yaml"
		_, _, err := Load(Options{Paths: []string{rules}, Catalog: testCatalog(), Notifiers: notifiers, Trust: true})
		if list, ok := errors.AsType[Problems](err); !ok || len(list) != 1 || list[0].ID != want {
			t.Errorf("%s, not %s: %v", file, want, err)
		}
	}
}

// TestTrustEmptyDirectory: whoever can write to a directory could have taken away the
// file that says what is protected.
func TestTrustEmptyDirectory(t *testing.T) {
	dir := writeFiles(t, map[string]string{"rules.yaml": oneRule, "rules.d/x.txt": ""})
	chmod(t, dir, 0o755)
	chmod(t, dir+"/rules.d", 0o777)
	opts := Options{Dir: dir, Catalog: testCatalog()}
	if _, _, err := Load(opts); err != nil {
		t.Errorf("a dry run: %v", err)
	}
	opts.Trust = true
	_, _, err := Load(opts)
	checkTrustProblem(t, err, dir, "rules.d: a live run does not trust it: others can write to DIR/rules.d (mode 0777)")
	chmod(t, dir+"/rules.d", 0o755)
	chmod(t, dir, 0o775)
	_, _, err = Load(opts)
	if err == nil || !strings.Contains(err.Error(), "others can write to "+dir+" (mode 0775)") {
		t.Errorf("got %v", err)
	}
}

// TestDotDot: after a link, ".." is the directory above the link's target: for rules, for
// sets named relative to them, and for what is watched.
func TestDotDot(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"safe/rules.yaml": oneRule, "safe/set.txt": "10.0.0.1\n",
		"other/rules.yaml": "version: 1\nsets:\n  s: {file: set.txt}\nrules:\n  - {name: r, when: remote_addr in s, then: [destroy]}\n",
		"other/set.txt":    "10.0.0.2\n", "other/deep/x": "",
	})
	for _, p := range []string{"", "safe", "other", "other/deep"} {
		chmod(t, filepath.Join(dir, p), 0o755)
	}
	symlink(t, "../other/deep", dir+"/safe/link")
	opts := Options{Paths: []string{dir + "/safe/link/../rules.yaml"}, Catalog: testCatalog(), Trust: true}
	p, watched, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	if p.Rules[0].Name != "r" || !strings.HasSuffix(watched[1], "/safe/link/../set.txt") || strings.Contains(watched[1], "//") {
		t.Errorf("rule %s, watched %v", p.Rules[0].Name, watched)
	}
	dirs := dirsOf(watched)
	for _, want := range []string{"/safe", "/other"} {
		if dirs[dir+want] == (dirID{}) {
			t.Errorf("%s is not watched: %v", want, dirs)
		}
	}
	for path, mode := range map[string]os.FileMode{"other": 0o777, "other/rules.yaml": 0o666, "other/set.txt": 0o666} {
		before := os.FileMode(0o644)
		if path == "other" {
			before = 0o755
		}
		chmod(t, filepath.Join(dir, path), mode)
		if _, _, err := Load(opts); err == nil || !strings.Contains(err.Error(), "others can write to "+dir+"/"+path+" ") {
			t.Errorf("%s: %v", path, err)
		}
		chmod(t, filepath.Join(dir, path), before)
	}
}
