package procnet

import (
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// leakCheck is socklab.LeakCheck without the garbage collector, which would close
// forgotten files before the check.
func leakCheck(t *testing.T) {
	t.Helper()
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	socklab.LeakCheck(t)
}

// inodeOf returns the inode of an open descriptor of this process.
func inodeOf(t testing.TB, fd int) uint32 {
	t.Helper()
	var st unix.Stat_t
	must(t, "fstat", unix.Fstat(fd, &st))
	return uint32(st.Ino)
}
