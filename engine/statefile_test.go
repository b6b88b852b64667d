package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// A second engine continues the holds and cool-downs of the first.
func TestStateSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "directory", "state.json")
	keep := outcomes("keep", actions.Outcome{Result: actions.Refused})
	conns := []*socklab.Conn{socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv6)}
	holder(t, conns...)
	text := ruleFile(port(conns[0]), "keep") + "  - {name: hold, when: " + port(conns[1]) + ", then: [keep], for: 300ms}\n"
	first := newLab(t, Options{StateFile: path, Live: true}, keep)
	r := first.run(t, first.rules(t, text))
	expect(t, findingOf(t, r, conns[0]), report.DecideAct, "", actions.Refused)
	expect(t, findingOf(t, r, conns[1]), report.DecidePending, "")
	since := maps.Clone(first.memory.Holds)
	first.Close()
	info, err := os.Stat(path)
	must(t, "state", err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %s", info.Mode())
	}

	for _, o := range []Options{{StateFile: path}, {StateFile: path, Live: true}} {
		second := newLab(t, o, keep)
		for k, h := range second.memory.Holds {
			if since[k] == nil || since[k].Since != h.Since {
				t.Errorf("hold %+v: %+v, was %+v", k, h, since[k])
			}
		}
		r = second.cycle(t, second.rules(t, text))
		expect(t, findingOf(t, r, conns[0]), report.DecideCooldown, "cool-down 5m")
		socklab.WaitFor(t, "the hold to be long enough", func() bool {
			f := findingOf(t, second.cycle(t, second.rules(t, text)), conns[1])
			return f.Decision == report.DecideAct || f.Decision == report.DecideCooldown
		})
		second.Close()
	}
}

// A file that is not a state file of this program and user stops a live run, whose error
// names it with the cure and what that costs; a dry run says so and goes on. The file is
// left as it is.
func TestStateRefused(t *testing.T) {
	dir := t.TempDir()
	good := memory.NewMemory()
	s := &memory.StateFile{Now: world.Mono, Path: filepath.Join(dir, "good"), BootID: bootID(t)}
	must(t, "write", s.Write(good))
	text, err := os.ReadFile(s.Path)
	must(t, "read", err)
	write := func(content string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o600) }
	}
	for name, test := range map[string]struct {
		make func(path string) error
		want string
	}{
		"empty":     {write(""), "is empty"},
		"cut":       {write(string(text[:len(text)-1])), "is broken"},
		"garbage":   {write("\x00\xff"), "is broken"},
		"list":      {write("[]"), "is broken"},
		"foreign":   {write(`{"scripts":{}}`), `was not written by this program (format "")`},
		"later":     {write(`{"format":"sockwarden-state-2"}`), "was not written by this program"},
		"bad key":   {write(strings.Replace(string(text), `"seen":null`, `"seen":[{"key":{"local_addr":"x"}}]`, 1)), "is broken"},
		"directory": {func(path string) error { return os.Mkdir(path, 0o755) }, "is not a regular file"},
		"pipe":      {func(path string) error { return unix.Mkfifo(path, 0o600) }, "is not a regular file"},
		"symlink":   {func(path string) error { return os.Symlink(s.Path, path) }, "is a symbolic link"},
		"dangling":  {func(path string) error { return os.Symlink("/nowhere", path) }, "is a symbolic link"},
		"other uid": {func(path string) error {
			return errors.Join(os.WriteFile(path, text, 0o644), os.Chown(path, 65534, 65534))
		}, "belongs to uid 65534"},
		"for all": {func(path string) error {
			return errors.Join(os.WriteFile(path, text, 0o600), os.Chmod(path, 0o646))
		}, "can be written by others (mode 0646)"},
		"huge": {func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, memory.MaxStateFile+1))
		}, "bytes, more than any that sockwarden writes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			err := test.make(path)
			if errors.Is(err, unix.EINVAL) {
				t.Skipf("there is no other user: %v", err)
			}
			must(t, "make", err)
			before := snapshot(t, path)
			for _, o := range []Options{{Live: true}, {}, {ReadOnly: true}} {
				o.StateFile = path
				l, err := openLab(t, o)
				parts := []string{"state file " + path + ": ", test.want, "; remove it to go on (lost are observed ages, ", ", or name another: --state-file"}
				if !o.Live {
					must(t, "dry run", err)
					for range 2 {
						r := l.cycle(t, l.rules(t, ruleFile("true", "log")))
						if len(r.Errors) != 1 {
							t.Fatalf("errors %v", r.Errors)
						}
						err = r.Errors[0]
					}
					l.Close()
					parts = []string{"state file " + path + ": ", test.want, "; this run does without it: ages", "a live run stops until it is removed"}
				} else if err == nil {
					l.Close()
					t.Error("a live run does not stop")
					continue
				}
				for _, part := range parts {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error %q has no %q", err, part)
					}
				}
				if strings.Count(err.Error(), path) != 1 {
					t.Errorf("error %q names the file more than once", err)
				}
			}
			if after := snapshot(t, path); after != before {
				t.Errorf("it is %s, was %s", after, before)
			}
			// The lock is free: nothing holds it after a failure.
			free := newLab(t, Options{StateFile: s.Path, Live: true})
			free.Close()
		})
	}
}

func clock(t testing.TB) string {
	t.Helper()
	id, err := world.ClockIdentity()
	must(t, "clock", err)
	return id
}

func bootID(t testing.TB) string {
	t.Helper()
	id, err := host.BootID()
	must(t, "boot id", err)
	return id
}

func snapshot(t testing.TB, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, "stat", err)
	text := fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
	if info.Mode().IsRegular() && info.Size() < 1<<20 {
		b, err := os.ReadFile(path)
		must(t, "read", err)
		text += string(b)
	}
	return text
}

// The lock must not let somebody have a file overwritten.
func TestLockIsNoSymlink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	must(t, "write", os.WriteFile(victim, []byte("precious"), 0o600))
	must(t, "symlink", os.Symlink(victim, filepath.Join(dir, "state.json.lock")))
	if l, err := openLab(t, Options{StateFile: filepath.Join(dir, "state.json"), Live: true}); err == nil {
		l.Close()
		t.Error("it was followed")
	}
	if b, _ := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("the file holds %q", b)
	}
}

// What others have put in the place of the state, its lock, or the file about to become
// the state is refused or left alone, and nothing waits for it.
func TestStateAmongOthers(t *testing.T) {
	const stranger = 54321
	give := func(path string) error { return os.Lchown(path, stranger, stranger) }
	for name, test := range map[string]struct {
		make func(dir string) error
		want string // in the error of a live run, "" for none
	}{
		"pipe at the old name for the new": {func(dir string) error {
			return errors.Join(unix.Mkfifo(dir+"/state.json.new", 0o666), give(dir+"/state.json.new"))
		}, ""},
		"file at the old name for the new": {func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/state.json.new", []byte("theirs"), 0o666), give(dir+"/state.json.new"))
		}, ""},
		"hard link at the lock": {func(dir string) error { return os.Link(dir+"/../victim", dir+"/state.json.lock") }, "is a file with 2 names, and not a lock"},
		"pipe at the lock":      {func(dir string) error { return unix.Mkfifo(dir+"/state.json.lock", 0o600) }, "is not a regular file"},
		"their pipe at the lock": {func(dir string) error {
			return errors.Join(unix.Mkfifo(dir+"/state.json.lock", 0o666), give(dir+"/state.json.lock"))
		}, "state.json.lock"},
		"their file at the lock": {func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/state.json.lock", []byte("theirs"), 0o666), give(dir+"/state.json.lock"))
		}, "state.json.lock"},
		"link at the lock":      {func(dir string) error { return os.Symlink("../victim", dir+"/state.json.lock") }, "state.json.lock"},
		"directory at the lock": {func(dir string) error { return os.Mkdir(dir+"/state.json.lock", 0o755) }, "is a directory"},
		"their file": {func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/state.json", []byte("{}"), 0o644), give(dir+"/state.json"))
		}, "belongs to uid 54321"},
		"hard link": {func(dir string) error { return os.Link(dir+"/../victim", dir+"/state.json") }, "is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			must(t, "chmod", os.Chmod(top, 0o755))
			must(t, "write", os.WriteFile(top+"/victim", []byte("precious"), 0o600))
			dir := top + "/sticky"
			must(t, "mkdir", os.Mkdir(dir, 0o755))
			if err := test.make(dir); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
				t.Skipf("there is no other user: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			must(t, "chmod", os.Chmod(dir, 0o777|os.ModeSticky))
			l, err := openLab(t, Options{StateFile: dir + "/state.json", Live: true})
			if err == nil {
				noErrors(t, l.cycle(t, l.rules(t, ruleFile("true", "log"))))
				l.Close()
			}
			if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "state file")) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if b, _ := os.ReadFile(top + "/victim"); string(b) != "precious" {
				t.Errorf("the victim holds %q", b)
			}
			if info, err := os.Lstat(dir + "/state.json"); test.want == "" && (err != nil || info.Mode() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid())) {
				t.Errorf("the state is %v, %v", info, err)
			}
		})
	}
}

// Somebody who swaps the file being written for his own does not get it into the place of
// the state, and killed writers leave nothing for long.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/state.json"
	must(t, "write", memory.ReplaceFile(path, []byte("one"), 0o600))
	must(t, "write", memory.ReplaceFile(path, []byte("two"), 0o644))
	if b, err := os.ReadFile(path); err != nil || string(b) != "two" {
		t.Errorf("%q, %v", b, err)
	}
	for _, name := range []string{"state.json.ABC.new", "state.json.ABC.DEF.new", "other.json.ABC.new", "state.json.ABC"} {
		must(t, "write", os.WriteFile(dir+"/"+name, nil, 0o600))
	}
	must(t, "pipe", unix.Mkfifo(dir+"/state.json.PIPE.new", 0o600))
	l := newLab(t, Options{StateFile: path + "x", Live: true})
	l.Close()
	memory.RemoveLeftovers(path)
	entries, err := os.ReadDir(dir)
	must(t, "list", err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{"other.json.ABC.new", "state.json", "state.json.ABC", "state.json.ABC.DEF.new", "state.json.PIPE.new", "state.jsonx.lock"}
	if !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
	if err := memory.ReplaceFile(dir+"/none/state.json", nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	must(t, "mkdir", os.Mkdir(dir+"/taken", 0o755))
	if err := memory.ReplaceFile(dir+"/taken", nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if left, _ := filepath.Glob(dir + "/taken.*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// State from another boot means nothing now, and is replaced.
func TestStateOfAnotherBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	doc := memory.StateDoc{
		Format: memory.StateFormat, BootID: "5bb2a4a1-0000-0000-0000-000000000000", Cooldowns: map[string]memory.Cooldown{"socket 1": {At: 1, Until: 1e12}},
		Seen: []memory.SeenDoc{{Key: collectors.Key{Cookie: 1}}}, Holds: []memory.HoldDoc{{Rule: "r", Key: collectors.Key{Cookie: 1}}},
	}
	b, err := json.Marshal(doc)
	must(t, "encode", err)
	must(t, "write", os.WriteFile(path, b, 0o600))
	l := newLab(t, Options{StateFile: path, Live: true})
	if m := l.memory; len(m.Seen)+len(m.Holds)+len(m.Cooldowns) != 0 {
		t.Errorf("remembered: %+v", m)
	}
	l.cycle(t, l.rules(t, ruleFile("true", "log")))
	if b, err = os.ReadFile(path); err != nil || !strings.Contains(string(b), bootID(t)) {
		t.Errorf("the file holds %s (%v)", b, err)
	}
}

// Times in the future and other nonsense are dropped.
func TestStateNonsense(t *testing.T) {
	s := &memory.StateFile{Now: world.Mono, BootID: bootID(t)}
	now := world.Mono()
	doc := memory.StateDoc{Format: memory.StateFormat, BootID: s.BootID, Cooldowns: map[string]memory.Cooldown{"past": {At: now - 1, Until: now + 100}, "future": {At: now + 100, Until: now + 200}, "negative": {At: -1, Until: now + 100}}}
	for i, d := range []memory.SeenDoc{
		{Since: now - 2, Last: now - 1},
		{Since: now + 50, Last: now + 100},
		{Since: now - 1, Last: now - 2},
		{Since: -5, Last: now},
		{Since: now - 2, Last: now + 100},
		{Since: now - 2, Last: now - 1, Missed: -100},
	} {
		d.Key.Cookie = uint64(i + 1)
		doc.Seen = append(doc.Seen, d)
		doc.Holds = append(doc.Holds, memory.HoldDoc{Key: d.Key, Since: d.Since, Last: d.Last})
	}
	b, err := json.Marshal(doc)
	must(t, "encode", err)
	m := memory.NewMemory()
	must(t, "decode", s.Decode(b, m))
	if len(m.Cooldowns) != 1 || len(m.Seen) != 2 || len(m.Holds) != 2 {
		t.Errorf("kept: %v, %d, %d", m.Cooldowns, len(m.Seen), len(m.Holds))
	}
	for k, v := range m.Seen {
		if v.Missed < 0 {
			t.Errorf("%d would be missed %d times before it is forgotten", k.Cookie, 2-v.Missed)
		}
	}
}

// The largest file that is ever written can be read.
func TestStateLimit(t *testing.T) {
	longest := collectors.Key{Cookie: math.MaxUint64, NetNS: math.MaxUint64, LocalPort: 65535, RemotePort: 65535, Protocol: collectors.UDP, State: collectors.Closing}
	for i := range longest.Local {
		longest.Local[i], longest.Remote[i] = 0xfe, 0xfe
	}
	const when = 12345678.123456789
	seen, err := json.Marshal(memory.SeenDoc{Key: longest, Since: when, Last: when, Missed: 1, Unsure: when, Mark: memory.Mark{
		Known: true, Agreed: math.MaxUint16, SegsIn: math.MaxUint32, SegsOut: math.MaxUint32, Sent: math.MaxUint64, Received: math.MaxUint64,
		Busy: math.MaxUint64, Timeouts: math.MaxUint8, SentAt: when, GotAt: when, AckedAt: when, Ends: when, FirstRTO: when, Look: when,
	}})
	must(t, "encode", err)
	hold, err := json.Marshal(memory.HoldDoc{
		Rule: strings.Repeat("r", 100), Fingerprint: strings.Repeat("f", 16), Key: longest, Since: when, Last: when,
	})
	must(t, "encode", err)
	if size := memory.MaxRemembered * (len(seen) + len(hold) + 2); size > memory.MaxStateFile*9/10 {
		t.Errorf("%d bytes, of which %d can be read: no room for cool-downs", size, memory.MaxStateFile)
	}
}

// Two live runs exclude each other; the second one names the first.
func TestTwoLiveRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	rulesPath := filepath.Join(t.TempDir(), "rules.yaml")
	must(t, "write", os.WriteFile(rulesPath, []byte(ruleFile("true", "log")), 0o600))
	first := startChild(t, orders{Life: "locker", Rules: rulesPath, State: path})
	l, err := openLab(t, Options{StateFile: path, Live: true})
	if err == nil {
		l.Close()
	}
	if !errors.Is(err, memory.ErrLocked) || !strings.Contains(err.Error(), "process "+strconv.Itoa(first.Process.Pid)+" holds "+path+".lock") {
		t.Errorf("error %v", err)
	}
	// Another file is free.
	other := newLab(t, Options{StateFile: path + "2", Live: true})
	other.Close()
	// This one is, too, when the first run is gone, however it ended.
	must(t, "kill", first.Process.Kill())
	_ = first.Wait()
	l = newLab(t, Options{StateFile: path, Live: true})
	if b, err := os.ReadFile(path + ".lock"); err != nil || strings.TrimSpace(string(b)) != strconv.Itoa(os.Getpid()) {
		t.Errorf("the lock names %q (%v)", b, err)
	}
	l.Close()
}

// A dry run beside a live one reads what the live one has saved and writes nothing.
func TestDryBesideLive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	keep := outcomes("keep", actions.Outcome{Result: actions.Refused})
	holder(t, c)
	live := newLab(t, Options{StateFile: path, Live: true}, keep)
	live.run(t, live.rules(t, ruleFile(port(c), "keep")))
	before := snapshot(t, path)
	for _, o := range []Options{{}, {ReadOnly: true}} {
		o.StateFile = path
		dry := newLab(t, o, keep)
		r := dry.cycle(t, dry.rules(t, ruleFile(tcpEstablished, "keep")+"  - {name: s, when: "+port(c)+", then: [keep]}\n"))
		noErrors(t, r)
		if len(findingsOf(r, c)) != 1 || findingOf(t, r, c).Decision != report.DecideCooldown || len(dry.memory.Seen) == 0 {
			t.Errorf("%d remembered\n%s", len(dry.memory.Seen), describe(r))
		}
		dry.Close()
		if after := snapshot(t, path); after != before {
			t.Errorf("it wrote: %s, was %s", after, before)
		}
	}
}

// A dry run keeps nobody from acting, and does not undo what a live run has saved in the
// meantime.
func TestLiveBesideDry(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "state.json")
	conns := []*socklab.Conn{socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv6)}
	keep := outcomes("keep", actions.Outcome{Result: actions.Refused})
	holder(t, conns...)
	dry := newLab(t, Options{StateFile: path}, keep)
	observe := dry.rules(t, ruleFile(port(conns[0])+" && age > 3600", "keep"))
	dry.cycle(t, observe)
	live := newLab(t, Options{StateFile: path, Live: true}, keep)
	if len(live.memory.Seen) != 1 {
		t.Errorf("%d remembered", len(live.memory.Seen))
	}
	live.run(t, live.rules(t, ruleFile(port(conns[1])+" && (age > 3600 || age < 3600 || port > 0)", "keep")))
	if len(live.memory.Cooldowns) != 1 {
		t.Errorf("cool-downs %v", live.memory.Cooldowns)
	}
	live.Close()
	r := dry.cycle(t, observe)
	noErrors(t, r)
	next := newLab(t, Options{StateFile: path})
	if !maps.Equal(next.memory.Cooldowns, live.memory.Cooldowns) {
		t.Errorf("cool-downs %v, were %v", next.memory.Cooldowns, live.memory.Cooldowns)
	}
	var cookies []uint64
	for k := range next.memory.Seen {
		cookies = append(cookies, k.Cookie)
	}
	if len(cookies) != 2 {
		t.Errorf("seen: %v", cookies)
	}
}

// A read-only run leaves nothing behind.
func TestReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "state.json")
	l := newLab(t, Options{StateFile: path, ReadOnly: true})
	l.cycle(t, l.rules(t, ruleFile("age > 3600", "log")))
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("it made the directory")
	}
}

// A dry run that may not write where the state is does without it.
func TestDryCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, "write", os.WriteFile(file, nil, 0o600))
	for _, path := range []string{filepath.Join(file, "state.json"), "/proc/nowhere/state.json"} {
		l, err := openLab(t, Options{StateFile: path, Live: true})
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "state file: ") || !strings.HasSuffix(err.Error(), "; name another: --state-file") {
			t.Errorf("live: error %v", err)
		}
	}
	dry := newLab(t, Options{StateFile: "/proc/nowhere/state.json"})
	noErrors(t, dry.cycle(t, dry.rules(t, ruleFile("true", "log"))))
}

// A reader never sees half a file, even if the writer is killed.
func TestAtomicWrite(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	dir := t.TempDir()
	for range 5 {
		path := filepath.Join(dir, "state.json")
		writer := startChild(t, orders{Life: "writer", State: path})
		s := &memory.StateFile{Now: world.Mono, Path: path, BootID: bootID(t), Clock: clock(t), ReadOnly: true}
		written := map[string]bool{}
		check := func() {
			m := memory.NewMemory()
			must(t, "read", s.Read(m))
			if len(m.Cooldowns) != writtenCooldowns {
				t.Fatalf("%d cool-downs", len(m.Cooldowns))
			}
			written[fmt.Sprint(s.Known.ModTime())] = true
		}
		socklab.WaitFor(t, "some writes", func() bool { check(); return len(written) > 3 })
		must(t, "kill", writer.Process.Kill())
		_ = writer.Wait()
		check()
	}
	// What a killed writer leaves behind is beside the state file, not in it.
	entries, err := os.ReadDir(dir)
	must(t, "list", err)
	for _, e := range entries {
		if !slices.Contains([]string{"state.json", "state.json.lock"}, e.Name()) && !strings.HasPrefix(e.Name(), "state.json.") {
			t.Errorf("left: %s", e.Name())
		}
	}
}

func TestDefaultStateFile(t *testing.T) {
	if got := memory.DefaultStateFile(); os.Geteuid() == 0 && got != "/run/sockwarden/state.json" {
		t.Error(got)
	}
}

// FuzzState reads any bytes as a state file: reading ends, keeps no more in memory than
// there is room for, and what was kept can be written and read again.
func FuzzState(f *testing.F) {
	boot, err := host.BootID()
	must(f, "boot id", err)
	good, err := json.Marshal(memory.StateDoc{
		Format: memory.StateFormat, BootID: "BOOT", Cooldowns: map[string]memory.Cooldown{"socket 1": {At: 1, Until: 1e12}},
		Seen:  []memory.SeenDoc{{Key: collectors.Key{Cookie: 1, State: collectors.CloseWait}, Since: 1, Last: 2}},
		Holds: []memory.HoldDoc{{Rule: "r", Fingerprint: "f", Key: collectors.Key{Cookie: 1}, Since: 1, Last: 2}},
	})
	must(f, "encode", err)
	for _, seed := range []string{string(good), "", "{}", "[]", `{"format":"sockwarden-state-1"}`, `{"seen":[{"key":{"local_addr":""}}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &memory.StateFile{Now: world.Mono, Path: filepath.Join(t.TempDir(), "state.json"), BootID: boot}
		m := memory.NewMemory()
		if err := s.Decode([]byte(strings.ReplaceAll(string(b), "BOOT", boot)), m); err != nil {
			return
		}
		now := world.Mono()
		for _, v := range m.Seen {
			if !(v.Since >= 0 && v.Since <= v.Last && v.Last <= now) {
				t.Errorf("%+v at %v", v, now)
			}
		}
		must(t, "write", s.Write(m))
		again := memory.NewMemory()
		must(t, "read", s.Read(again))
		if len(again.Seen) != len(m.Seen) || len(again.Holds) != len(m.Holds) || len(again.Cooldowns) != len(m.Cooldowns) {
			t.Errorf("%d, %d, %d; were %d, %d, %d", len(again.Seen), len(again.Holds), len(again.Cooldowns), len(m.Seen), len(m.Holds), len(m.Cooldowns))
		}
	})
}
