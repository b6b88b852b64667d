package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/pause"
	"sockwarden/engine/report"
)

func pauseFile(t testing.TB) string { return filepath.Join(t.TempDir(), "run", "pause.json") }

func setPause(t testing.TB, path string) {
	t.Helper()
	must(t, "pause", (&pause.Pause{Since: time.Now(), By: "root"}).Write(path))
}

// Whatever is in the place of the switch pauses, unless it says that the pause is over.
func TestReadPause(t *testing.T) {
	now := time.Now()
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	until := func(d time.Duration) func(string) error {
		return (&pause.Pause{Since: now, Until: now.Add(d), By: "anna"}).Write
	}
	const unclear = "by a file that cannot be read (PATH: "
	for name, test := range map[string]struct {
		make func(path string) error
		want string // "" for no pause
	}{
		"missing":       {func(string) error { return nil }, ""},
		"not over":      {until(time.Minute), "by anna until " + now.Add(time.Minute).Format(time.TimeOnly)},
		"over":          {until(-time.Nanosecond), ""},
		"over just now": {until(0), ""},
		"for good":      {(&pause.Pause{Since: now}).Write, "until somebody resumes"},
		"empty":         {write(""), unclear},
		"garbage":       {write("\x00{"), unclear},
		"touched":       {write("\n"), unclear},
		"wrong type":    {write(`{"until": 5}`), unclear},
		"list":          {write(`[]`), unclear},
		"null":          {write(`null`), "until somebody resumes"},
		"no fields":     {write(`{}`), "until somebody resumes"},
		"directory":     {func(path string) error { return os.Mkdir(path, 0o755) }, unclear},
		"pipe":          {func(path string) error { return unix.Mkfifo(path, 0o600) }, unclear},
		"symbolic link": {func(path string) error { return os.Symlink("/dev/null", path) }, unclear},
		"dangling link": {func(path string) error { return os.Symlink("/nowhere", path) }, unclear},
		"pipe that nobody writes to": {func(path string) error {
			if err := unix.Mkfifo(path, 0o600); err != nil {
				return err
			}
			_, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0) // as long as the test runs
			return err
		}, unclear},
		"hostile name":   {write(`{"by": "\u001b[2Janna\n"}`), "by ?[2Janna? until somebody resumes"},
		"long":           {(&pause.Pause{Since: now, Until: now.Add(30 * time.Hour)}).Write, "until " + now.Add(30*time.Hour).Format(time.DateTime)},
		"too long":       {write(`{"by": "` + strings.Repeat("x", 5000) + `"}`), unclear},
		"nobody's place": {func(path string) error { return os.WriteFile(path, nil, 0) }, unclear},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pause.json")
			must(t, "make", test.make(path))
			got := ""
			if p := pause.Read(now, path); p != nil {
				got = strings.ReplaceAll(p.String(), path, "PATH")
			}
			if got != test.want && (test.want != unclear || (!strings.HasPrefix(got, unclear) || !strings.HasSuffix(got, ") until somebody resumes"))) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	if p := pause.Read(now, ""); p != nil {
		t.Errorf("no file: %s", p)
	}
	// A path with a part that is not a directory cannot hold a switch, and when in doubt
	// the engine pauses.
	if p := pause.Read(now, "/dev/null/pause.json"); p == nil {
		t.Error("a place that cannot be looked at does not pause")
	}
}

// Pause and resume, as the commands do it.
func TestPauseAndResume(t *testing.T) {
	path := pauseFile(t) // its directory is made, too
	if was, err := pause.Resume(path); was || err != nil {
		t.Errorf("nothing to resume: %t, %v", was, err)
	}
	want := pause.Pause{Since: time.Now().UTC().Round(0), Until: time.Now().Add(time.Hour).UTC().Round(0), By: "anna"}
	must(t, "write", want.Write(path))
	want.File = path
	if got := pause.Read(time.Now(), path); got == nil || *got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	want.Until = time.Time{}
	must(t, "write again", want.Write(path))
	if got := pause.Read(time.Now().Add(1000*time.Hour), path); got == nil || *got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if was, err := pause.Resume(path); !was || err != nil {
		t.Errorf("resume: %t, %v", was, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := pause.Resume("/dev/null/pause.json"); err == nil || !strings.HasPrefix(err.Error(), "resume: ") {
		t.Errorf("resume: %v", err)
	}
	if err := want.Write("/dev/null/run/pause.json"); err == nil || !strings.HasPrefix(err.Error(), "pause: ") {
		t.Errorf("pause: %v", err)
	}
}

// The watcher says once that it is paused, and once that it no longer is.
func TestWatchSaysPause(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	path := pauseFile(t)
	setPause(t, path)
	w := watchRules(t, Options{Live: true, PauseFiles: []string{path}}, 20*time.Millisecond, map[string]string{"rules.yaml": ruleFile(port(c), "keep")}, keeper())
	w.await(t, "r paused")
	n := w.cycles()
	socklab.WaitFor(t, "more cycles", func() bool { return w.cycles() > n+2 })
	w.logged(t, 1, "level=WARN", `msg="paused, observing only"`, `until="somebody resumes"`, "by=root")
	_, err := pause.Resume(path)
	must(t, "resume", err)
	w.await(t, "r act")
	w.logged(t, 1, "level=INFO", "msg=resumed")
}

// The machine's switch stops every user's runs, besides their own switch; all can read
// its file and only root can write it, whatever the umask.
func TestMachinePause(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	machine, own := pauseFile(t), pauseFile(t)
	l := newLab(t, Options{Live: true, PauseFiles: []string{machine, own}}, outcomes("alarm", actions.Outcome{Result: actions.Done}))
	p := l.rules(t, ruleFile(port(c), "alarm", "limits: {cooldown: 0}"))
	for _, path := range []string{machine, own} {
		before := unix.Umask(0o077)
		setPause(t, path)
		unix.Umask(before)
		info, err := os.Stat(path)
		must(t, "stat", err)
		if info.Mode() != 0o644 {
			t.Errorf("mode %v", info.Mode())
		}
		expectTally(t, l.run(t, p), map[report.Decision]int{report.DecidePaused: 1})
		_, err = pause.Resume(path)
		must(t, "resume", err)
		expectTally(t, l.run(t, p), map[report.Decision]int{report.DecideAct: 1})
	}
	setPause(t, own)
	must(t, "write", (&pause.Pause{Since: time.Now(), Until: time.Now().Add(time.Hour), By: "the machine"}).Write(machine))
	if got := pause.Read(time.Now(), machine, own); got == nil || got.File != machine || got.By != "the machine" {
		t.Errorf("%+v", got)
	}
	if os.Geteuid() == 0 && (pause.File() != pause.Machine || !slices.Equal(pause.Files(), []string{pause.Machine, pause.Kept})) {
		t.Errorf("%s, %v", pause.File(), pause.Files())
	}
}

// The directory of the machine's switch is open to all, however it is made.
func TestMachinePauseDirectory(t *testing.T) {
	dir := filepath.Dir(pause.Machine)
	if _, err := os.Stat(dir); err == nil {
		t.Fatalf("%s is there: it is not the lab's", dir)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	before := unix.Umask(0o077)
	l, err := openLab(t, Options{Live: true, StateFile: dir + "/state.json"})
	unix.Umask(before)
	must(t, "engine", err)
	defer l.Close()
	info, err := os.Stat(dir)
	must(t, "stat", err)
	if info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v", info.Mode())
	}
}
