package rules

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// deadline is how long a test waits for what must happen.
const deadline = 2 * time.Minute

// follower does what the contract of Watcher asks for: after each event it sets the paths
// again and loads.
type follower struct {
	*Watcher
	opts    Options
	watched []string
	seen    []string
}

func follow(t *testing.T, opts Options) *follower {
	t.Helper()
	w := NewWatcher()
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	opts.Catalog = testCatalog()
	f := &follower{Watcher: w, opts: opts}
	f.look(t)
	return f
}

// look loads the rules and returns the names of the rules, or "error".
func (f *follower) look(t *testing.T) string {
	t.Helper()
	for {
		if err := f.Set(f.watched); err != nil {
			t.Errorf("set %v: %v", f.watched, err)
		}
		p, watched, err := Load(f.opts)
		// What is watched only from now on can have changed since it was read.
		if !slices.Equal(watched, f.watched) {
			f.watched = watched
			continue
		}
		if err != nil {
			return "error"
		}
		return ruleNames(p)
	}
}

// await waits for the events that lead to the wanted rules. It looks only after an event.
func (f *follower) await(t *testing.T, want string) {
	t.Helper()
	end := time.After(deadline)
	got := "not looked at"
	for {
		select {
		case ev := <-f.Events():
			f.seen = append(f.seen, ev.String())
			if got = f.look(t); got == want {
				return
			}
		case err := <-f.Errors():
			t.Errorf("watch: %v", err)
		case <-end:
			t.Fatalf("rules %q, want %q; watched %v; events:\n%s", got, want, f.watched, strings.Join(f.seen, "\n"))
		}
	}
}

type step struct {
	do   func(t *testing.T, dir string)
	want string
}

// by returns a step that a shell runs.
func by(script, want string) step {
	return step{func(t *testing.T, dir string) { t.Helper(); shell(t, dir, script) }, want}
}

// put returns a step that writes a file in place.
func put(path, text, want string) step {
	return step{func(t *testing.T, dir string) { t.Helper(); writeFile(t, filepath.Join(dir, path), text) }, want}
}

var threeRule = strings.ReplaceAll(oneRule, "one", "three")

const kubernetes = `mkdir etc/..2026_1; mv etc/rules.yaml etc/..2026_1; ln -s ..2026_1 etc/..data; ln -s ..data/rules.yaml etc/rules.yaml`

// watchTests are the ways in which rules change. Each begins with etc/rules.yaml with
// rule one, and two.yaml with rule two; afterwards a write to etc/rules.yaml must still
// be seen.
var watchTests = []struct {
	name  string
	needs string // a program
	setup string
	opts  func(dir string) Options // nil for etc/rules.yaml
	steps []step
	last  string // the file that is written at the end, "" for etc/rules.yaml
}{
	{name: "in place", steps: []step{put("etc/rules.yaml", twoRule, "two")}},
	{name: "appended", steps: []step{by("echo '  - {name: two, when: owned, then: [destroy]}' >> etc/rules.yaml", "one two")}},
	{name: "renamed over", steps: []step{by("cp two.yaml etc/.rules.tmp; mv etc/.rules.tmp etc/rules.yaml", "two")}},
	{name: "moved from elsewhere", steps: []step{by("mv two.yaml etc/rules.yaml", "two")}},
	{name: "saved by an editor", steps: []step{{saveLikeVim, "two"}}},
	{name: "vim", needs: "vim", steps: []step{by(`vim -es -u NONE -N -c 'set backupskip= backup backupcopy=no' -c '%s/one/two/' -c wq etc/rules.yaml`, "two")}},
	{name: "vim, in place", needs: "vim", steps: []step{by(`vim -es -u NONE -N -c 'set backupcopy=yes' -c '%s/one/two/' -c wq etc/rules.yaml`, "two")}},
	{name: "sed", needs: "sed", steps: []step{by("sed -i s/one/two/ etc/rules.yaml", "two")}},
	{name: "removed and made again", steps: []step{by("rm etc/rules.yaml", "error"), by("cp two.yaml etc/rules.yaml", "two")}},
	{name: "broken and cured", steps: []step{put("etc/rules.yaml", "nonsense", "error"), put("etc/rules.yaml", "", "error"), put("etc/rules.yaml", twoRule, "two")}},
	{
		name: "git checkout", needs: "git",
		setup: `git init -q; g() { git -c user.name=x -c user.email=x@example.org -c commit.gpgsign=false "$@"; }; g add etc; g commit -qm one; ` +
			`git checkout -qb two; cp two.yaml etc/rules.yaml; g commit -qam two; git checkout -q -`,
		steps: []step{by("git checkout -q two", "two")},
	},
	{
		name: "kubernetes", setup: kubernetes,
		steps: []step{by("mkdir etc/..2026_2; cp two.yaml etc/..2026_2/rules.yaml; ln -s ..2026_2 etc/..data_tmp; mv -T etc/..data_tmp etc/..data; rm -r etc/..2026_1", "two")},
	},
	{name: "kubernetes, in a moved directory", setup: kubernetes, steps: []step{by("mv etc old", "error"), by("mkdir etc; cp two.yaml etc/rules.yaml", "two")}},
	{name: "directory removed and made again", steps: []step{by("rm -r etc", "error"), by("mkdir etc; cp two.yaml etc/rules.yaml", "two")}},
	{name: "directory swapped", setup: "mkdir new; cp two.yaml new/rules.yaml", steps: []step{by("mv etc old", "error"), by("mv new etc", "two")}},
	{name: "linked file", setup: "mkdir store; mv etc/rules.yaml store; ln -s ../store/rules.yaml etc/rules.yaml", steps: []step{put("store/rules.yaml", twoRule, "two")}},
	{name: "linked file renamed over", setup: "mkdir store; mv etc/rules.yaml store; ln -s ../store/rules.yaml etc/rules.yaml", steps: []step{by("mv two.yaml store/rules.yaml", "two")}},
	{name: "link led elsewhere", setup: "mkdir a b; mv etc/rules.yaml a; cp two.yaml b/rules.yaml; ln -s ../a/rules.yaml etc/rules.yaml", steps: []step{by("ln -sfn ../b/rules.yaml etc/rules.yaml", "two")}},
	{
		name: "linked directory led elsewhere", setup: "mkdir a b; mv etc/rules.yaml a; cp two.yaml b/rules.yaml; rmdir etc; mkdir srv; ln -s ../a srv/current; ln -s srv/current etc",
		steps: []step{by("ln -s ../b srv/next; mv -T srv/next srv/current", "two")},
	},
	{
		name: "link on the way led elsewhere", setup: "mkdir a b c; mv etc/rules.yaml a; cp two.yaml b/rules.yaml; ln -s ../a/rules.yaml c/link; ln -s ../c/link etc/rules.yaml",
		steps: []step{by("ln -sfn ../b/rules.yaml c/link", "two")},
	},
	{
		name: "file of a directory", setup: "mkdir d; cp etc/rules.yaml d/a.yaml", opts: func(dir string) Options { return Options{Paths: []string{filepath.Join(dir, "d")}} }, last: "d/a.yaml",
		steps: []step{by("cp two.yaml d/b.yaml", "one two"), by("rm d/a.yaml", "two"), by("mv d/b.yaml d/a.yaml", "two"), by("rm d/a.yaml", "error")},
	},
	{
		name: "rules.d", opts: func(dir string) Options { return Options{Dir: filepath.Join(dir, "etc")} }, last: "etc/rules.d/a.yaml",
		steps: []step{by("mkdir etc/rules.d; cp two.yaml etc/rules.d/b.yaml", "one two"), by("rm etc/rules.yaml", "two"), by("rm -r etc/rules.d", "error"), by("mkdir etc/rules.d; cp two.yaml etc/rules.d/", "two"), by("rm etc/rules.d/*", "error")},
	},
	{
		name: "set", setup: `mkdir lists; echo 80 > lists/ports.txt; printf 'version: 1\nsets: {s: {file: ../lists/ports.txt}}\nrules: [{name: one, when: port in s, then: [destroy]}]\n' > etc/rules.yaml`,
		steps: []step{by("echo nonsense > lists/ports.txt", "error"), by("echo 90 > lists/new; mv lists/new lists/ports.txt", "one"), by("rm -r lists", "error"), by("mkdir lists; echo 80 > lists/ports.txt", "one")},
	},
	{
		name: "directory that appears", opts: func(dir string) Options { return Options{Dir: filepath.Join(dir, "a/b/etc")} }, last: "a/b/etc/rules.yaml",
		steps: []step{by("mkdir a; mkdir a/b; mkdir a/b/etc; cp two.yaml a/b/etc/rules.yaml", "two"), by("rm -r a", "close-wait fin-wait closing last-ack time-wait"), by("mkdir -p a/b/etc", "error"), by("cp two.yaml a/b/etc/rules.yaml", "two")},
	},
	{
		name: "file that appears", opts: func(dir string) Options { return Options{Paths: []string{filepath.Join(dir, "x/y/rules.yaml")}} }, last: "x/y/rules.yaml",
		steps: []step{by("mkdir -p x/y; cp two.yaml x/y/rules.yaml", "two")},
	},
	{
		name: "many files", setup: "mkdir d; cp etc/rules.yaml d/000.yaml", opts: func(dir string) Options { return Options{Paths: []string{filepath.Join(dir, "d")}} }, last: "d/000.yaml",
		steps: []step{by("for i in $(seq 300); do echo 'version: 1' > d/$i.yaml; done; cp two.yaml d/000.yaml", "two"), by("rm d/[1-9]*", "two")},
	},
}

// saveLikeVim makes the system calls of vim with backupcopy=no.
func saveLikeVim(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "etc/rules.yaml")
	writeFile(t, filepath.Join(dir, "etc/.rules.yaml.swp"), "swap")
	writeFile(t, filepath.Join(dir, "etc/4913"), "")
	for _, err := range []error{os.Remove(filepath.Join(dir, "etc/4913")), os.Rename(path, path+"~")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(twoRule)
	if err := errors.Join(err, f.Sync(), f.Chmod(0o600), f.Close(), os.Remove(path+"~"), os.Remove(filepath.Join(dir, "etc/.rules.yaml.swp"))); err != nil {
		t.Fatal(err)
	}
}

// TestWatch: an event reports every change, whether one looks after each step or only
// after the last, and the watch goes on after it.
func TestWatch(t *testing.T) {
	for _, tt := range watchTests {
		for _, at := range []string{"step by step", "at once"} {
			t.Run(tt.name+"/"+at, func(t *testing.T) {
				t.Parallel()
				if _, err := exec.LookPath(tt.needs); tt.needs != "" && err != nil {
					t.Skip(err)
				}
				dir := writeFiles(t, map[string]string{"etc/rules.yaml": oneRule, "two.yaml": twoRule})
				if tt.setup != "" {
					shell(t, dir, tt.setup)
				}
				opts := Options{Paths: []string{filepath.Join(dir, "etc/rules.yaml")}}
				if tt.opts != nil {
					opts = tt.opts(dir)
				}
				f := follow(t, opts)
				for i, s := range tt.steps {
					s.do(t, dir)
					if at == "step by step" || i == len(tt.steps)-1 {
						f.await(t, s.want)
					}
				}
				last := tt.last
				if last == "" {
					last = "etc/rules.yaml"
				}
				writeFile(t, filepath.Join(dir, last), threeRule)
				f.awaitRule(t, "three")
			})
		}
	}
}

// awaitRule waits until there is a rule with that name among others.
func (f *follower) awaitRule(t *testing.T, name string) {
	t.Helper()
	end := time.After(deadline)
	for {
		if slices.Contains(strings.Fields(f.look(t)), name) {
			return
		}
		select {
		case ev := <-f.Events():
			f.seen = append(f.seen, ev.String())
		case <-end:
			t.Fatalf("no rule %s; watched %v; events:\n%s", name, f.watched, strings.Join(f.seen, "\n"))
		}
	}
}

// TestWatchOverflow: the watcher reports when the kernel had to drop events.
func TestWatchOverflow(t *testing.T) {
	dir := writeFiles(t, map[string]string{"rules.yaml": oneRule})
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || limit > 1<<17 {
		t.Skipf("max_queued_events %s: too many to fill", text)
	}
	f := follow(t, Options{Paths: []string{filepath.Join(dir, "rules.yaml")}})
	// One read of events waits in the watcher, the rest in the kernel.
	for i := range limit/2 + 5000 {
		name := filepath.Join(dir, fmt.Sprint("x", i))
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Remove(name)); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "rules.yaml"), twoRule) // this event is lost
	end := time.After(deadline)
	for {
		select {
		case <-f.Events():
			continue
		case err := <-f.Errors():
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				t.Fatal(err)
			}
		case <-end:
			t.Fatal("no overflow is told")
		}
		break
	}
	if got := f.look(t); got != "two" {
		t.Errorf("rules %s", got)
	}
	writeFile(t, filepath.Join(dir, "rules.yaml"), threeRule)
	f.awaitRule(t, "three")
}

// TestWatchClose: closing ends the channels, the goroutines and the instance.
func TestWatchClose(t *testing.T) {
	dir := writeFiles(t, map[string]string{"a/rules.yaml": oneRule, "b/rules.yaml": twoRule})
	goroutines, fds := runtime.NumGoroutine(), inotifies(t)
	for range 20 {
		w := NewWatcher()
		if err := w.Set([]string{filepath.Join(dir, "a/rules.yaml"), filepath.Join(dir, "b/rules.yaml")}); err != nil {
			t.Fatal(err)
		}
		if inotifies(t) != fds+1 {
			t.Fatalf("%d inotify instances, want %d", inotifies(t), fds+1)
		}
		writeFile(t, filepath.Join(dir, "a/rules.yaml"), oneRule) // an event that nobody reads
		if err := errors.Join(w.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		end := time.After(deadline)
		for open := true; open; {
			select {
			case _, open = <-w.Events():
			case <-end:
				t.Fatal("the events do not end")
			}
		}
	}
	for end := time.Now().Add(deadline); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
	}
	if got := inotifies(t); got != fds {
		t.Errorf("%d inotify instances, %d before", got, fds)
	}
}

// inotifies counts the inotify instances of this process.
func inotifies(t *testing.T) int {
	t.Helper()
	n := 0
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(target, "inotify") {
			n++
		}
	}
	return n
}

// TestWatchSet: what is no longer asked for is no longer watched.
func TestWatchSet(t *testing.T) {
	dir := writeFiles(t, map[string]string{"a/rules.yaml": oneRule, "b/rules.yaml": twoRule})
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	w := NewWatcher()
	defer func() { _ = w.Close() }()
	for _, tt := range []struct{ paths, want []string }{
		{[]string{a + "/rules.yaml"}, []string{a}},
		{[]string{a + "/rules.yaml", b + "/rules.yaml"}, []string{a, b}},
		{[]string{a + "/rules.yaml", b + "/rules.yaml"}, []string{a, b}},
		{[]string{b + "/rules.yaml"}, []string{b}},
		{[]string{b + "/c/d/none.yaml"}, []string{b}},
		{[]string{b}, []string{b, dir}},
		{nil, nil},
	} {
		if err := w.Set(tt.paths); err != nil {
			t.Error(err)
		}
		got := w.fs.WatchList()
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("set %v: watches %v, want %v", tt.paths, got, tt.want)
		}
	}
}

// TestWatchRenamedDirectories: the watch survives directories that are renamed, replaced
// or reached by several names.
func TestWatchRenamedDirectories(t *testing.T) {
	base := t.TempDir()
	at := func(name string) string { return filepath.Join(base, name) }
	w := NewWatcher()
	t.Cleanup(func() { _ = w.Close() })
	set := func() {
		t.Helper()
		if err := w.Set([]string{at("dir"), at("dir/a.yaml")}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 50 {
		version := fmt.Sprint("v", n)
		writeFile(t, at(version+"/a.yaml"), "x")
		for _, step := range []func() error{
			func() error { return os.Symlink(at(version), at("tmp")) },
			func() error { return os.Rename(at("tmp"), at("dir")) },
			func() error { return os.Rename(at("dir"), at("away")) },
			func() error { return os.Rename(at("away"), at("dir")) },
			func() error { return os.Rename(at(version), at(version+".away")) },
			func() error { return os.Rename(at(version+".away"), at(version)) },
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
			set()
		}
		if n > 0 {
			if err := os.RemoveAll(at(fmt.Sprint("v", n-1))); err != nil {
				t.Fatal(err)
			}
			set()
		}
	}
	w.Renewed()
	set()
	if w.Renewed() {
		t.Error("renewed though nothing has changed")
	}
	writeFile(t, at("dir/a.yaml"), "y")
	select {
	case <-w.Events():
	case <-time.After(deadline):
		t.Error("nothing is seen any more")
	}
}
