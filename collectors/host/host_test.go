package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseKernel(t *testing.T) {
	for release, want := range map[string]Kernel{
		"6.1.0-13-amd64":            {Major: 6, Minor: 1},
		"6.18.44-fc":                {Major: 6, Minor: 18},
		"5.15.167.4-microsoft-WSL2": {Major: 5, Minor: 15},
		"7.0.0-rc1":                 {Major: 7},
		"10.2":                      {Major: 10, Minor: 2},
		"":                          {},
		"garbage":                   {},
		"6":                         {},
		"6.x":                       {},
	} {
		want.Release = release
		got := ParseKernel(release)
		if got != want || got.Unread() != (want.Major == 0) {
			t.Errorf("%q: %+v", release, got)
		}
	}
}

func TestBefore(t *testing.T) {
	for _, test := range []struct {
		release      string
		major, minor int
		want         bool
	}{
		{"6.10.14", 6, 11, true},
		{"6.11.0", 6, 11, false},
		{"6.12.1", 6, 11, false},
		{"5.19.17", 6, 0, true},
		{"5.19.17", 4, 20, false},
		{"10.0", 6, 11, false},
		{"garbage", 2, 6, true},
	} {
		if got := ParseKernel(test.release).Before(test.major, test.minor); got != test.want {
			t.Errorf("%s is before %d.%d: %t", test.release, test.major, test.minor, got)
		}
	}
}

// The kernel says the same elsewhere.
func TestRunningKernel(t *testing.T) {
	k, err := RunningKernel()
	text := read(t, "/proc/sys/kernel/osrelease")
	if err != nil || k.Release != text || k.Unread() {
		t.Errorf("%+v, %v, not %s", k, err, text)
	}
}

func TestBootID(t *testing.T) {
	id, err := BootID()
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("%q, %v", id, err)
	}
	if again, err := BootID(); err != nil || again != id {
		t.Errorf("%q, %v after %q", again, err, id)
	}
}

// The clocks advance, and SinceBoot is the clock of /proc/uptime.
func TestClocks(t *testing.T) {
	for name, clock := range map[string]func() float64{"monotonic": Monotonic, "since boot": SinceBoot} {
		before := clock()
		if after := clock(); before <= 0 || after < before {
			t.Errorf("%s: %f, then %f", name, before, after)
		}
	}
	if before, after := Monotonic(), SinceBoot(); after < before {
		t.Errorf("%f s since boot, of which %f without suspension", after, before)
	}
	before := SinceBoot()
	uptime, err := strconv.ParseFloat(strings.Fields(read(t, "/proc/uptime"))[0], 64)
	after := SinceBoot()
	if tick := 0.01; err != nil || uptime < before-tick || uptime > after {
		t.Errorf("uptime %f (%v) is not between %f and %f", uptime, err, before, after)
	}
}

// Each of the 64 capabilities is as /proc shows it for the thread.
func TestEffective(t *testing.T) {
	got, err := Effective()
	if err != nil {
		t.Fatal(err)
	}
	want, err := strconv.ParseUint(status(t, "CapEff"), 16, 64)
	if err != nil || got != Capabilities(want) {
		t.Errorf("%x, not %x (%v)", got, want, err)
	}
	for number := range 64 {
		if has := Capabilities(1 << number).Has(number); !has {
			t.Errorf("%d is not in its own set", number)
		}
		if has, err := HasCapability(number); err != nil || has != (want>>number&1 == 1) {
			t.Errorf("%d: %t, %v", number, has, err)
		}
	}
	if Capabilities(0).Has(unix.CAP_CHOWN) || Capabilities(1<<unix.CAP_BPF).Has(unix.CAP_NET_ADMIN) {
		t.Error("a set has what is not in it")
	}
}

// The inode tells whether a file of nsfs is the initial namespace; other kinds and files
// are not, and a missing file is an error.
func TestInitial(t *testing.T) {
	for n, kind := range map[Initial]string{InitialTime: "time", InitialPID: "pid", InitialUser: "user"} {
		if n.String() != kind {
			t.Errorf("%s, not %s", n, kind)
		}
		link, err := os.Readlink("/proc/self/ns/" + kind)
		if errors.Is(err, fs.ErrNotExist) {
			continue // this kernel lacks the kind
		}
		want := link == kind+":["+strconv.FormatUint(uint64(n), 10)+"]"
		if in, err := n.In(); err != nil || in != want {
			t.Errorf("%s: %t, %v, but %s", kind, in, err, link)
		}
		if is, err := n.Is("/proc/self/ns/net"); err != nil || is {
			t.Errorf("%s is the network namespace: %t, %v", kind, is, err)
		}
		if is, err := n.Is(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) || is {
			t.Errorf("%s: %t, %v of no file", kind, is, err)
		}
	}
}

func status(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/thread-self/status")) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s", name)
	return ""
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
