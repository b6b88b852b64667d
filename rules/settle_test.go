package rules

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sockwarden/rules/lang/langtest"
)

// TestSameGenerationElsewhere: the name of a generation does not depend on where its
// files lie or how their paths are written.
func TestSameGenerationElsewhere(t *testing.T) {
	const text = "version: 1\nsets: {s: {file: s.txt}}\nrules: [{name: r, then: [destroy], when: remote_addr in s}]\n"
	files := map[string]string{"a.yaml": text, "s.txt": "10.0.0.1\n"}
	dir := writeFiles(t, files)
	t.Chdir(dir)
	want, err := load("", "a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{{"./a.yaml"}, {dir + "/a.yaml"}, {dir + "/../" + filepath.Base(dir) + "/a.yaml"}, {dir}, {"."}, {writeFiles(t, files) + "/a.yaml"}} {
		p, _, err := Load(Options{Paths: paths, Catalog: testCatalog()})
		if err != nil {
			t.Fatal(err)
		}
		if p.Generation != want.Generation {
			t.Errorf("%s: another generation", paths)
		}
	}
	// It matters where one text ends and the next begins.
	other := writeFiles(t, map[string]string{"a.yaml": text, "b.yaml": "version: 1\n", "s.txt": "10.0.0.1\n"})
	p, err := load(other, ".")
	if err != nil || p.Generation == want.Generation {
		t.Errorf("the same generation with one more file (%v)", err)
	}
}

func openForWriting(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestBeingWritten: files open for writing are named if their content has changed.
func TestBeingWritten(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"a.yaml": "version: 1\nsets: {s: {file: s.txt}}\nrules: [{name: r, then: [destroy], when: remote_addr in s}]\n", "s.txt": "10.0.0.1\n",
	})
	again := func() *Program {
		t.Helper()
		p, err := load(dir, "a.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before := again()
	none := func(p *Program) {
		t.Helper()
		if got := p.BeingWritten(before); len(got) > 0 {
			t.Errorf("being written: %s", got)
		}
	}
	none(before)
	f := openForWriting(t, filepath.Join(dir, "s.txt"))
	none(again()) // the content is as before
	if _, err := f.WriteString("10.0.0.2\n"); err != nil {
		t.Fatal(err)
	}
	if got := again().BeingWritten(before); !slices.Equal(got, []string{filepath.Join(dir, "s.txt")}) {
		t.Errorf("being written: %s", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	none(again())
	if f, err := os.Open(filepath.Join(dir, "s.txt")); err == nil { // nobody waits for a reader
		defer f.Close()
	}
	none(again())
	// An error in a file that is being written may be cured.
	f = openForWriting(t, filepath.Join(dir, "a.yaml"))
	if _, err := f.WriteString("rulez:\n"); err != nil {
		t.Fatal(err)
	}
	_, err := load(dir, "a.yaml")
	var unfinished *Unfinished
	if !errors.As(err, &unfinished) || !strings.Contains(problemLines(t, err, dir)[0], "rulez") {
		t.Errorf("got %v (%T)", err, err)
	}
}

// TestLeaseHoldsNobodyUp: the check for writers neither refuses nor delays somebody who
// writes meanwhile, and the kernel's signal does no harm.
func TestLeaseHoldsNobodyUp(t *testing.T) {
	path := filepath.Join(writeFiles(t, map[string]string{"f": "x"}), "f")
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var stop atomic.Bool
	looked := make(chan int)
	go func() {
		n, saw := 0, 0
		for ; !stop.Load(); n++ {
			if beingWritten(int(r.Fd())) {
				saw++
			}
		}
		looked <- saw
	}()
	var longest time.Duration
	for range langtest.Rounds(20_000) {
		began := time.Now()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(began))
	}
	stop.Store(true)
	// If the lease were not given up, the kernel would keep a writer waiting for 45 s
	// (fs.lease-break-time).
	if longest > 30*time.Second {
		t.Errorf("kept waiting for %s", longest)
	}
	if <-looked == 0 {
		t.Error("no writer was seen")
	}
}

// bubble runs a test in which time passes at once while everybody waits. Its clock begins
// at the time of day or that much before it: then files, whose times come from the
// kernel, are never old.
func bubble(t *testing.T, before time.Duration, test func(t *testing.T)) {
	t.Helper()
	begin := time.Now().Round(0).Add(-before)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(begin))
		test(t)
	})
}

// TestLoadSettled: a caller that acts at once waits for files that somebody is writing,
// and for recent changes.
func TestLoadSettled(t *testing.T) {
	const text = "version: 1\nrules: [{name: r, then: [destroy], when: owned}]\n"
	settled := func(t *testing.T, ctx context.Context, dir string) (p *Program, took time.Duration, why string, err error) {
		t.Helper()
		began := time.Now()
		p, _, err = LoadSettled(ctx, Options{Paths: []string{filepath.Join(dir, "rules.yaml")}, Catalog: testCatalog()}, func(s string) { why = s })
		return p, time.Since(began), why, err
	}
	for name, test := range map[string]func(t *testing.T){
		"new": func(t *testing.T) {
			dir := writeFiles(t, map[string]string{"rules.yaml": text})
			p, took, why, err := settled(t, t.Context(), dir)
			if err != nil || p == nil || took < Settle || took > Settle+settlePoll || !strings.Contains(why, "rules.yaml has changed 0.") {
				t.Errorf("after %s: %q, %v", took, why, err)
			}
			// Now it is old, however long the machine took to write the file.
			time.Sleep(time.Minute)
			if _, took, why, err := settled(t, t.Context(), dir); err != nil || why != "" || took != 0 {
				t.Errorf("waited %s: %q, %v", took, why, err)
			}
			// Old errors are reported at once.
			if _, took, why, err := settled(t, t.Context(), filepath.Join(dir, "none")); err == nil || why != "" || took != 0 {
				t.Errorf("waited %s: %q, %v", took, why, err)
			}
		},
		"new and wrong": func(t *testing.T) {
			dir := writeFiles(t, map[string]string{"rules.yaml": "version: 1\nrul"})
			if _, took, _, err := settled(t, t.Context(), dir); err == nil || took < Settle || took > Settle+settlePoll {
				t.Errorf("after %s: %v", took, err)
			}
		},
		"changes": func(t *testing.T) {
			dir := writeFiles(t, map[string]string{"rules.yaml": text})
			go func() {
				time.Sleep(Settle / 2)
				_ = os.Remove(filepath.Join(dir, "rules.yaml"))
				time.Sleep(Settle / 40)
				_ = os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(text+"# more\n"), 0o600)
			}()
			p, took, _, err := settled(t, t.Context(), dir)
			if last := Settle/2 + Settle/40; err != nil || !strings.Contains(p.inputs.files[0].text, "# more") || took < last+Settle || took > last+Settle+2*settlePoll {
				t.Errorf("after %s: %v", took, err)
			}
		},
		"written": func(t *testing.T) {
			dir := writeFiles(t, map[string]string{"rules.yaml": text})
			openForWriting(t, filepath.Join(dir, "rules.yaml"))
			_, took, why, err := settled(t, t.Context(), dir)
			if took < Patience || !strings.Contains(why, "open for writing") || !strings.Contains(problemLines(t, err, dir)[0], "rules.yaml is open for writing by another process") {
				t.Errorf("after %s: %q, %v", took, why, err)
			}
			if _, ok := errors.AsType[*Unfinished](err); !ok {
				t.Errorf("it cannot be told from rules that are wrong: %#v", err)
			}
		},
		"busy directory": func(t *testing.T) {
			dir := writeFiles(t, map[string]string{"rules.yaml": text})
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
					select {
					case <-stop:
						return
					default:
						_ = os.WriteFile(filepath.Join(dir, "log"), nil, 0o600)
						_ = os.Remove(filepath.Join(dir, "log"))
					}
				}
			}()
			p, _, err := LoadSettled(t.Context(), Options{Paths: []string{dir}, Catalog: testCatalog()}, func(string) {})
			close(stop)
			<-stopped
			if err != nil || len(p.Rules) != 1 {
				t.Error(err)
			}
		},
		"stopped": func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, took, _, err := settled(t, ctx, writeFiles(t, map[string]string{"rules.yaml": text})); !errors.Is(err, context.Canceled) || took != 0 {
				t.Errorf("after %s: %v", took, err)
			}
		},
	} {
		before := time.Hour // no file is old
		if name == "new" {
			before = 0
		}
		t.Run(name, func(t *testing.T) { bubble(t, before, test) })
	}
}

// TestDirectoryGone: the built-in rules replace a directory that is missing at the start,
// never one that was there.
func TestDirectoryGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sockwarden")
	opts := Options{Dir: dir, Catalog: testCatalog()}
	p, _, err := Load(opts)
	if err != nil || !p.NoDefaultDir || p.Files[0].Path != Builtin {
		t.Fatal(err)
	}
	opts.NeedDir = true
	_, watched, err := Load(opts)
	checkLines(t, problemLines(t, err, "-"), dir+": is gone: a watcher that had rules there does not take the built-in ones instead")
	if !slices.Contains(watched, dir) {
		t.Errorf("watches %s", watched)
	}
	opts.NeedDir = false
	if err := os.Symlink("nowhere", dir); err != nil {
		t.Fatal(err)
	}
	_, _, err = Load(opts)
	checkLines(t, problemLines(t, err, "-"), dir+": is a symbolic link that leads nowhere")
}
