package rules

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/rules/lang/langtest"
)

const listRules = "version: 1\nsets: {s: {file: s.txt, may_be_empty: true}}\nrules: [{name: r, then: [destroy], when: remote_addr in s}]\n"

// listed returns rules that ask a list, and a function that reads them again and again.
func listed(t testing.TB, text string) (file string, again func() *Program) {
	t.Helper()
	dir := writeFiles(t, map[string]string{"rules.yaml": listRules, "s.txt": text})
	o := Options{Paths: []string{filepath.Join(dir, "rules.yaml")}, Catalog: testCatalog(), Lists: &Lists{}}
	return filepath.Join(dir, "s.txt"), func() *Program {
		t.Helper()
		p, _, err := Load(o)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// awaitSettled waits until a file is old enough to be known by its state.
func awaitSettled(t testing.TB, path string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	state := stateOf(&st)
	for !state.settled(time.Now()) {
		time.Sleep(10 * time.Millisecond)
	}
}

// TestListFormats reads lists in the formats found in the wild.
func TestListFormats(t *testing.T) {
	for text, want := range map[string]string{
		"; Spamhaus DROP List 2026/11/26\n; Expires\n1.10.16.0/20 ; SBL256894\n2001:db8::/32;SBL1\n": "[1.10.16.0/20, 2001:db8::/32]",
		"\ufeff10.0.0.1\r\n\r\n10.0.0.2 # two\r\n":                                                   "[10.0.0.1-10.0.0.2]",
		"10.0.0.1\r10.0.0.4\r":         "[10.0.0.1/32, 10.0.0.4/32]",
		"10.0.0.1-10.0.0.9\n10.0.0.10": "[10.0.0.1-10.0.0.10]",
		"80-90\n443\n91":               "[80..91, 443]",
		"nginx\nhbbs\nnginx\napp":      `["nginx", "hbbs", "app"]`,
		"#\n" + strings.Repeat("; a long comment\n", 20_000) + "::1": "[::1/128]",
	} {
		dir := writeFiles(t, map[string]string{"rules.yaml": "version: 1\nsets: {s: {file: s.txt}}\n", "s.txt": text})
		p, err := load(dir, "rules.yaml")
		if err != nil {
			t.Errorf("%.40q: %v", text, err)
		} else if got := p.Sets["s"].String(); got != want {
			t.Errorf("%.40q: %s, want %s", text, got, want)
		}
	}
}

// TestBadLines: the error names the wrong line of the list, not the condition.
func TestBadLines(t *testing.T) {
	good := strings.Repeat("10.0.0.1\n", 100_000)
	for text, want := range map[string][]string{
		good + "10.0.0.256\n": {`s.txt:100001:1: "10.0.0.256" is not an address: IPv4 field has value >255`},
		"10.0.0\n" + good:     {`s.txt:1:1: "10.0.0" is of another kind than the other entries, which are addresses`},
		"# who?\n\nnginx\n":   {`s.txt:3:1: "nginx" is not an address (asked at rules.yaml:3:57)`},
		good + "\xff\xfe\n80": {`s.txt:100001:1: is not UTF-8 text: save the list as UTF-8`, `s.txt:100002:1: "80" is of another kind than the other entries, which are addresses`},
		"80\n":                {`3:57: remote_addr (an address) is never in a list of numbers`},
		"1.2.3.4\n" + strings.Repeat("x", maxListLine+1+listChunk): {`s.txt:2:1: the line is longer than 65536 bytes`},
	} {
		dir := writeFiles(t, map[string]string{"rules.yaml": listRules, "s.txt": text})
		_, err := load(dir, "rules.yaml")
		checkLines(t, problemLines(t, err, dir), want...)
	}
	dir := writeFiles(t, map[string]string{"rules.yaml": listRules, "s.txt": ""})
	if err := os.Truncate(filepath.Join(dir, "s.txt"), maxListBytes+1); err != nil {
		t.Fatal(err)
	}
	_, err := load(dir, "rules.yaml")
	checkLines(t, problemLines(t, err, dir), "2:11: s.txt: is larger than 64 MiB, the limit for a list: divide it")
}

// TestListsAreShared: an unchanged list stays the same object, and is not even read again
// once its file has been left alone; every change in it is seen, whatever the clock says.
func TestListsAreShared(t *testing.T) { bubble(t, 0, listsAreShared) }

func listsAreShared(t *testing.T) {
	t.Helper()
	padding := strings.Repeat("# nothing\n", 50_000)
	file, again := listed(t, padding+"10.0.0.1\n")
	first := again()
	if p := again(); p.Sets["s"] != first.Sets["s"] {
		t.Error("two sets of one young file")
	}
	// Within a tick of the clock, with the same size and the old times.
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, padding+"10.0.0.2\n")
	if err := os.Chtimes(file, time.Time{}, time.Unix(st.Mtim.Unix())); err != nil {
		t.Fatal(err)
	}
	second := again()
	if second.Sets["s"].Equal(first.Sets["s"]) {
		t.Fatal("a change was not seen")
	}
	awaitSettled(t, file)
	settled := again()
	before := bytesRead(t)
	for range 20 {
		if p := again(); p.Sets["s"] != settled.Sets["s"] || p.Generation != second.Generation {
			t.Fatal("another set of the same file")
		}
	}
	// The rules are read each time, and so is the list of mounts; the set file never.
	if got, most := bytesRead(t)-before, int64(20*len(padding)/2); got > most {
		t.Errorf("%d bytes were read, more than %d", got, most)
	}
	// Another file under the same name, with the same size and times.
	writeFile(t, file+".new", padding+"10.0.0.3\n")
	awaitSettled(t, file+".new")
	if err := os.Chtimes(file+".new", time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	if p := again(); p.Sets["s"].String() != "[10.0.0.3/32]" {
		t.Errorf("the file that took its name is not read: %s", p.Sets["s"])
	}
}

// bytesRead is what this process has read so far (rchar of /proc/self/io).
func bytesRead(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestGenerationOfLists: one list under two names of its directory is one generation.
func TestGenerationOfLists(t *testing.T) {
	dir := writeFiles(t, map[string]string{"a.yaml": listRules, "b.yaml": strings.Replace(listRules, "name: r", "name: q", 1), "s.txt": "10.0.0.1\n"})
	t.Chdir(dir)
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	want, err := load("", "a.yaml", "b.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{{"a.yaml", dir + "/b.yaml"}, {"./a.yaml", "link/b.yaml"}, {"./"}, {"link/"}, {dir + "/link/link"}, {"link"}} {
		p, _, err := Load(Options{Paths: paths, Catalog: testCatalog()})
		if err != nil {
			t.Fatal(err)
		}
		if p.Generation != want.Generation {
			t.Errorf("%s: another generation", paths)
		}
	}
}

// million writes a list of so many addresses of the given kind, one per line.
func million(n int, kind string) string {
	var b strings.Builder
	for i := range n {
		switch k := uint32(i) * 2654435761; kind { // each number once, in no order
		case "ipv4":
			fmt.Fprintf(&b, "%d.%d.%d.%d\n", k>>24|1, k>>16&255, k>>8&255, k&255)
		case "ipv6":
			fmt.Fprintf(&b, "2001:db8:%x:%x::/64\n", k>>16, k&0xffff)
		default:
			fmt.Fprintf(&b, "worker-%d\n", k)
		}
	}
	return b.String()
}

// TestGrownMillion: adding a line to a list of a million costs a program that decides
// less than a second or, on a slow machine, no more than reading the list does.
func TestGrownMillion(t *testing.T) {
	for _, kind := range []string{"ipv4", "ipv6"} {
		text := million(longList(), kind)
		file, again := listed(t, text)
		was := again()
		writeFile(t, file, text+"203.0.113.9\n")
		began := spent(t)
		now := again()
		reading := spent(t) - began
		began = spent(t)
		grown := was.Grown(now)
		if took := spent(t) - began; took > max(reading, time.Second) {
			t.Errorf("%s: it took %s, reading took %s", kind, took, reading)
		}
		if grown.Rules[0].When.Eval(leak()) != True || was.Rules[0].When.Eval(leak()) != False {
			t.Errorf("%s: the line does not count", kind)
		}
	}
}

// longList is the length of a long list: a twentieth under the race detector, where the
// bounds of time and memory mean nothing.
func longList() int {
	if langtest.Race {
		return 50_000
	}
	return 1_000_000
}

const envMemory = "RULES_LIST_MEMORY"

// TestListMemory: a watcher that replaces a list of a million by another takes at most
// 150 MB while it does so, with both in force.
func TestListMemory(t *testing.T) {
	if dir := os.Getenv(envMemory); dir != "" {
		replaceList(t, dir)
		return
	}
	for _, kind := range []string{"ipv4", "ipv6"} {
		text := million(longList(), kind)
		lines := strings.SplitAfter(text, "\n")
		slices.Reverse(lines)
		dir := writeFiles(t, map[string]string{
			"rules.yaml": listRules, "s.txt": text, "next.txt": strings.Join(lines[100:], "") + "203.0.113.9\n2001:db9::/48\n",
		})
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(2 * time.Minute); ; { // the collector comes late on a busy machine
			cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestListMemory$", "-test.v")
			cmd.Env = append(os.Environ(), envMemory+"="+dir)
			out, err := cmd.CombinedOutput()
			t.Logf("%s: %s", kind, bytes.TrimSpace(out))
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", kind, err)
			}
			list := filepath.Join(dir, "s.txt")
			if err := errors.Join(os.Remove(list), os.WriteFile(list, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func replaceList(t *testing.T, dir string) {
	t.Helper()
	debug.SetGCPercent(50) // as a watcher does
	o := Options{Paths: []string{filepath.Join(dir, "rules.yaml")}, Catalog: testCatalog(), Lists: &Lists{}}
	was, _, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // forget the earlier peak
		t.Fatal(err)
	}
	next := filepath.Join(dir, "now.txt")
	if err := errors.Join(os.Link(filepath.Join(dir, "next.txt"), next), os.Rename(next, filepath.Join(dir, "s.txt"))); err != nil {
		t.Fatal(err)
	}
	now, _, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	grown := was.Grown(now)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var peak int
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(after, &peak); err != nil {
		t.Fatal(err)
	}
	t.Logf("at most %d MB", peak/1000)
	if peak > 150_000 && !langtest.Race {
		t.Errorf("it took %d kB", peak)
	}
	if grown == was || now.Sets["s"].Equal(was.Sets["s"]) {
		t.Error("it is the same list")
	}
}

// BenchmarkList loads lists by size: for the first time, again after one line was added,
// and again unchanged.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000, 1_000_000} {
		for _, kind := range []string{"ipv4", "ipv6"} {
			text := million(n, kind)
			file, again := listed(b, text)
			b.Run(fmt.Sprintf("%s/%d/first", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := load(filepath.Dir(file), "rules.yaml"); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("%s/%d/changed", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				more := 0
				for b.Loop() {
					b.StopTimer()
					more++
					writeFile(b, file, text+fmt.Sprintf("203.0.113.%d\n", more%250))
					was := again()
					writeFile(b, file, text+fmt.Sprintf("203.0.113.%d\n", (more+1)%250))
					b.StartTimer()
					was.Grown(again())
				}
			})
			b.Run(fmt.Sprintf("%s/%d/unchanged", kind, n), func(b *testing.B) {
				awaitSettled(b, file)
				again()
				b.ReportAllocs()
				for b.Loop() {
					again()
				}
			})
		}
	}
}
