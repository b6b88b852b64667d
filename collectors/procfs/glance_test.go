package procfs

import (
	"testing"
	"time"

	"sockwarden/collectors/socklab"
)

// A glance sees what became of known holders: renamed, running another program, without
// the socket, or gone.
func TestGlance(t *testing.T) {
	f := New("")
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	inode := inodeOf(t, c.FD)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "worker"})
	all, err := f.Holders(t.Context(), map[uint32]bool{inode: true})
	if err != nil || len(all.ByInode[inode]) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	was := all.ByInode[inode]
	name := func(want ...string) {
		t.Helper()
		g := f.Glance()
		defer g.Close()
		now, unseen := g.Holders(was, inode)
		if unseen > 0 || len(now) != len(want) || len(now) > 0 && now[0].Name != want[0] {
			t.Errorf("%+v, %d unseen; want %v", now, unseen, want)
		}
	}
	name("worker")
	h.Rename(t, "other")
	name("other")
	h.Exec(t, "third")
	name("third")

	g := f.Glance()
	defer g.Close()
	g.Holders(was, inode)
	h.Rename(t, "fourth")
	socklab.WaitFor(t, "a new description", func() bool {
		now, _ := g.Holders(was, inode)
		return len(now) == 1 && now[0].Name == "fourth"
	})
	if now, _ := g.Holders(was, inode); !g.StillHeld(now, inode) {
		t.Error("it is still held")
	}
	h.CloseSockets(t)
	if g.StillHeld(was, inode) {
		t.Error("nobody holds it")
	}
	if now, unseen := g.Holders(was, inode); len(now) > 0 || unseen > 0 {
		t.Errorf("closed: %+v, %d unseen", now, unseen)
	}
	reused := was[0]
	reused.StartTime--
	began := time.Now()
	socklab.WaitFor(t, "the description to be old", func() bool { return time.Since(began) > glanceFor })
	if now, unseen := g.Holders(append(was[:0:0], reused), inode); len(now) > 0 || unseen > 0 {
		t.Errorf("another process: %+v, %d unseen", now, unseen)
	}
}
