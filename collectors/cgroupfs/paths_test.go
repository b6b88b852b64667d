package cgroupfs

import (
	"fmt"
	"maps"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

// hierarchy mounts the unified hierarchy for the tests alone, and makes a control group
// with another below it. It returns the mount, and the paths and ids of both.
func hierarchy(t *testing.T) (m mount, paths []string, ids []uint64) {
	t.Helper()
	socklab.Need(t)
	m = mount{at: t.TempDir(), root: "/"}
	if err := unix.Mount("none", m.at, "cgroup2", 0, ""); err != nil {
		socklab.Lacks(t, fmt.Errorf("mount cgroup2: %w", err))
	}
	t.Cleanup(func() { _ = unix.Unmount(m.at, unix.MNT_DETACH) })
	name := fmt.Sprintf("/test-%d.slice", os.Getpid())
	for _, p := range []string{name, name + "/a web.service"} {
		if err := os.Mkdir(m.at+p, 0o755); err != nil {
			socklab.Lacks(t, err)
		}
		t.Cleanup(func() { _ = os.Remove(m.at + p) })
		var st unix.Stat_t
		if err := unix.Stat(m.at+p, &st); err != nil {
			t.Fatal(err)
		}
		paths, ids = append(paths, p), append(ids, st.Ino)
	}
	return m, paths, ids
}

// Paths are found by id, with and without the right to open by id.
func TestPaths(t *testing.T) {
	_, paths, ids := hierarchy(t)
	want := map[uint64]string{ids[0]: paths[0], ids[1]: paths[1]}
	found := func() (got map[uint64]string, err error) { return Paths(append([]uint64{0, 1, 1 << 60}, ids...)) }
	check := func(what string, got map[uint64]string, err error) {
		t.Helper()
		delete(got, rootID) // hosts without version 1 report it
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v, not %v", what, got, err, want)
		}
	}
	got, err := found()
	check("by handle", got, err)
	err = socklab.WithoutCapability(t, func() (err error) {
		got, err = found()
		return err
	}, unix.CAP_DAC_READ_SEARCH)
	check("by a walk", got, err)
}

// A control group that was removed has no path.
func TestRemoved(t *testing.T) {
	m, paths, ids := hierarchy(t)
	if err := os.Remove(m.at + paths[1]); err != nil {
		t.Fatal(err)
	}
	if got, err := Paths(ids); err != nil || got[ids[1]] != "" || got[ids[0]] != paths[0] {
		t.Errorf("%v, %v", got, err)
	}
}

// find tells which mount it is; path tells where in the hierarchy a place of it is.
func TestFind(t *testing.T) {
	const (
		v1    = "36 25 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		v2    = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		part  = "31 23 0:26 /system.slice/a.service /mnt/my\\040group rw - cgroup2 none rw\n"
		above = "32 23 0:26 /../.. /mnt/outside rw - cgroup2 none rw\n"
		other = "33 23 0:27 / /tmp rw - tmpfs tmpfs rw\n\nx\n"
	)
	for text, want := range map[string]mount{
		v2: {at: "/sys/fs/cgroup", root: "/"}, v1 + v2: {at: "/sys/fs/cgroup", root: "/", hybrid: true}, v2 + v1: {at: "/sys/fs/cgroup", root: "/", hybrid: true},
		part: {at: "/mnt/my group", root: "/system.slice/a.service"}, part + v2: {at: "/sys/fs/cgroup", root: "/"},
		v1: {hybrid: true}, above: {}, other: {},
	} {
		if m, ok := find(text); m != want || ok != (want.at != "") {
			t.Errorf("%q: %+v, %t", text, m, ok)
		}
	}
	m := mount{at: "/mnt/x", root: "/a.slice"}
	for at, want := range map[string]string{"/mnt/x": "/a.slice", "/mnt/x/b": "/a.slice/b", "/mnt/xy": "", "/": "", "/b": ""} {
		if got, ok := m.path(at); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %t", at, got, ok)
		}
	}
}

// The root means nothing where processes are in other hierarchies.
func TestRoot(t *testing.T) {
	socklab.Need(t)
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	m, mounted := find(string(text))
	got, err := Paths([]uint64{rootID})
	if want := mounted && !m.hybrid; err != nil || (got[rootID] != "") != want {
		t.Errorf("%v, %v; mounted %t, hybrid %t", got, err, mounted, m.hybrid)
	}
}
