package procfs

import (
	"context"
	"errors"
	"os"
	"os/user"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

func TestOneOwner(t *testing.T) {
	leakCheck(t)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	inode := inodeOf(t, c.FD)
	const name = "a-program-with-a-long-name"
	before := time.Now()
	p := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: name, Args: []string{"worker", "two words"}, NoFile: 100})
	after := time.Now()

	h := holders(t, inode)
	if len(h.ByInode[inode]) != 1 || len(h.Unreadable) != 0 {
		t.Fatalf("%+v", h)
	}
	o := h.ByInode[inode][0]
	if o.PID != p.PID || o.FD != 3 || o.StartTime != startOf(t, p.PID) || o.FDs != descriptors(t, p.PID) || o.FDLimit != 100 {
		t.Errorf("process %d with %d descriptors, started at %d: %+v", p.PID, descriptors(t, p.PID), startOf(t, p.PID), o)
	}
	if o.Comm != name[:15] || o.Name != name || o.Cmdline != name+" worker two words" || o.Exe == "" || o.UID != 0 || o.User != "root" {
		t.Errorf("it looks like %+v", o)
	}
	const tick = time.Second / clockTicks
	if age := time.Duration(o.Age * float64(time.Second)); age < time.Since(after)-time.Second || age > time.Since(before)+tick {
		t.Errorf("it is %s old, started between %s and %s ago", age, time.Since(before), time.Since(after))
	}
	if want := collectors.OwnerFields().AndNot(collectors.Fields(collectors.FieldOwners)); o.Known != want {
		t.Errorf("known %s, not %s", o.Known, want)
	}

	p.CloseSockets(t)
	if h := holders(t, inode); len(h.ByInode) != 0 || len(h.Unreadable) != 0 {
		t.Errorf("after it closed the socket: %+v", h)
	}
}

// Every process with a descriptor of the socket is reported once, in order of PID.
func TestSharedSocket(t *testing.T) {
	leakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv6)
	other := socklab.Make(t, socklab.Established, socklab.IPv6)
	inode, otherInode := inodeOf(t, c.FD), inodeOf(t, other.FD)
	first := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c, c, other}, Keep: true})
	second := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
	dup, err := unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, 0)
	must(t, "dup", err)
	defer unix.Close(dup)

	h := holders(t, inode, otherInode)
	want := []int{os.Getpid(), first.PID, second.PID}
	slices.Sort(want)
	if pids := pidsOf(h.ByInode[inode]); !slices.Equal(pids, want) {
		t.Errorf("owners %v, not %v", pids, want)
	}
	if pids := pidsOf(h.ByInode[otherInode]); !slices.Equal(pids, []int{min(os.Getpid(), first.PID), max(os.Getpid(), first.PID)}) {
		t.Errorf("owners of the other socket %v", pids)
	}
	if len(h.Unreadable) != 0 {
		t.Errorf("%d processes unreadable", len(h.Unreadable))
	}
}

// A thread can have its own descriptor table, which /proc/PID/fd does not show.
func TestThreadWithOwnTable(t *testing.T) {
	leakCheck(t)
	socklab.Need(t)
	inodes, done := make(chan uint32), make(chan struct{})
	shared, sharedInode := newSocket(t)
	other, _ := cat(t, nil, shared)
	ended := onDyingThread(func() {
		if err := unix.Unshare(unix.CLONE_FILES); err != nil {
			t.Errorf("unshare: %v", err)
			close(inodes)
			return
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		var st unix.Stat_t
		if err = errors.Join(err, unix.Fstat(fd, &st)); err != nil {
			t.Errorf("socket: %v", err)
		}
		inodes <- uint32(st.Ino)
		<-done
	})
	inode := <-inodes
	h := holders(t, inode)
	if pids := pidsOf(h.ByInode[inode]); !slices.Equal(pids, []int{os.Getpid()}) || len(h.Unreadable) != 0 {
		t.Errorf("%+v", h)
	}
	if held, err := New("").Holds(os.Getpid(), startOf(t, os.Getpid()), inode); err != nil || !held {
		t.Errorf("holds: %t, %v", held, err)
	}
	// The table was copied, and keeps what this process closes afterwards.
	must(t, "dup3", unix.Dup3(2, shared, unix.O_CLOEXEC))
	if pids := pidsOf(holders(t, sharedInode).ByInode[sharedInode]); !slices.Equal(pids, []int{os.Getpid(), other}) {
		t.Errorf("owners of a socket that another process has too: %v", pids)
	}
	close(done)
	<-ended
	socklab.WaitFor(t, "the end of the thread", func() bool { return len(holders(t, inode).ByInode) == 0 })
}

// onDyingThread runs f on a thread that then ends. It is not the first thread, which
// cannot end and whose descriptors /proc/PID/fd shows.
func onDyingThread(f func()) (ended chan struct{}) {
	ended = make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			<-onDyingThread(func() { f(); close(ended) }) // not here: this thread is unsuitable
			runtime.UnlockOSThread()
			return
		}
		f()
		close(ended)
	}()
	return ended
}

// A process lives on after its first thread ended.
func TestWithoutFirstThread(t *testing.T) {
	pid := child(t, "headless")
	socklab.WaitFor(t, "the end of the first thread", func() bool {
		p, err := New("").open(pid)
		must(t, "open", err)
		defer p.close()
		st, err := p.stat()
		must(t, "stat", err)
		return st.state == 'Z'
	})
	if running, err := New("").Running(pid, startOf(t, pid)); err != nil || !running {
		t.Errorf("running: %t, %v", running, err)
	}
}

// A socket in flight between processes is in no table, and the answer says so.
func TestSocketInFlight(t *testing.T) {
	leakCheck(t)
	socklab.Need(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, "socketpair", err)
	for _, fd := range pair {
		defer unix.Close(fd)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, "socket", err)
	inode := inodeOf(t, fd)
	must(t, "send", unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fd), nil, 0))
	if h := holders(t, inode); len(h.ByInode[inode]) != 1 {
		t.Errorf("before: %+v", h)
	}
	must(t, "close", unix.Close(fd))
	if h := holders(t, inode); len(h.ByInode) != 0 || len(h.Unreadable) != 0 {
		t.Errorf("in flight: %+v", h)
	}
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[1], make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	must(t, "receive", err)
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	must(t, "control message", err)
	arrived, err := unix.ParseUnixRights(&messages[0])
	must(t, "rights", err)
	defer unix.Close(arrived[0])
	if h := holders(t, inode); len(h.ByInode[inode]) != 1 {
		t.Errorf("after: %+v", h)
	}
}

// The user is the one that the process runs as, whoever started it.
func TestUser(t *testing.T) {
	for _, uid := range []int{65534, 54321} {
		c := socklab.Make(t, socklab.Established, socklab.IPv4)
		inode := inodeOf(t, c.FD)
		p := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, UID: uid})
		f := New("")
		for range 2 { // the second answer is from memory
			h, err := f.Holders(t.Context(), map[uint32]bool{inode: true})
			must(t, "holders", err)
			if pids := pidsOf(h.ByInode[inode]); !slices.Equal(pids, []int{p.PID}) {
				t.Fatalf("owners of the socket: %v", pids)
			}
			o := h.ByInode[inode][0]
			name := ""
			if u, err := user.LookupId(map[int]string{65534: "65534", 54321: "54321"}[uid]); err == nil {
				name = u.Username
			}
			if o.UID != uint32(uid) || o.User != name || o.Known.Has(collectors.FieldUser) != (name != "") {
				t.Errorf("user %d, name %q: %+v", uid, name, o)
			}
		}
	}
}

func TestHoldersCancelled(t *testing.T) {
	_, inode := newSocket(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New("").Holders(ctx, map[uint32]bool{inode: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
