package procfs

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// Confirm accepts what another source says if the process still has the socket, and adds
// the start time and the number of descriptors; otherwise it searches the process. A
// process that is gone holds nothing.
func TestConfirm(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	var st unix.Stat_t
	must(t, "fstat", unix.Fstat(c.FD, &st))
	inode := uint32(st.Ino)
	f, pid, wanted := New(""), os.Getpid(), map[uint32]bool{inode: true}
	searched, err := f.Search(t.Context(), []int{pid}, wanted)
	must(t, "search", err)
	for name, held := range map[string][]Held{
		"right":     {{Inode: inode, FD: c.FD}},
		"wrong fd":  {{Inode: inode, FD: 0}},
		"two, last": {{Inode: inode, FD: c.FD}, {Inode: inode, FD: c.FD + 1000}},
	} {
		found, err := f.Confirm(t.Context(), map[int][]Held{pid: held}, wanted)
		must(t, "confirm", err)
		if len(found.Tables) != 1 || len(found.Unreadable) != 0 {
			t.Errorf("%s: %+v", name, found)
			continue
		}
		got, want := found.Tables[0], searched.Tables[0]
		// The directory of descriptors that a search has open counts as well.
		if got.PID != pid || got.StartTime != want.StartTime || got.FDs < want.FDs-1 || got.FDs > want.FDs+1 || !slices.Contains(got.Held, want.Held[0]) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	gone, err := f.Confirm(t.Context(), map[int][]Held{1 << 22: {{Inode: inode, FD: 3}}}, wanted)
	must(t, "confirm", err)
	if len(gone.Tables) != 0 || len(gone.Unreadable) != 0 {
		t.Errorf("of a process that is gone: %+v", gone)
	}
}
