package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

func openTest(t testing.TB) *Owners {
	t.Helper()
	o, err := OpenOwners()
	capable(t, err)
	t.Cleanup(func() { must(t, "close", o.Close()) })
	return o
}

// held lists, in order, what a scan finds in the given processes.
func held(t testing.TB, o *Owners, pids ...int) []Holder {
	t.Helper()
	var found []Holder
	must(t, "scan", o.Scan(t.Context(), func(h Holder) bool {
		if slices.Contains(pids, h.PID) && h.Inode != 0 {
			h.Table, h.References = 0, 0
			found = append(found, h)
		}
		return true
	}))
	slices.SortFunc(found, func(a, b Holder) int {
		if a.PID != b.PID {
			return a.PID - b.PID
		}
		return a.FD - b.FD
	})
	return found
}

// newSocket opens a socket until the end of the test.
func newSocket(t testing.TB, domain, typ int) (fd int, inode uint32) {
	t.Helper()
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd, inodeOf(t, fd)
}

func inodeOf(t testing.TB, fd int) uint32 {
	t.Helper()
	var st unix.Stat_t
	must(t, "fstat", unix.Fstat(fd, &st))
	return uint32(st.Ino)
}

func startOf(t testing.TB, pid int) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, "stat", err)
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	start, err := strconv.ParseUint(f[19], 10, 64)
	must(t, "start time", err)
	return start
}

// A scan finds every descriptor of every process that shares sockets, of any family, and
// nothing else, as /proc shows.
func TestScan(t *testing.T) { scans(t) }

func scans(t *testing.T) {
	t.Helper()
	leakCheck(t)
	o := openTest(t)
	var fds []int
	var inodes []uint32
	for _, kind := range [][2]int{
		{unix.AF_INET, unix.SOCK_STREAM},
		{unix.AF_INET6, unix.SOCK_STREAM},
		{unix.AF_INET, unix.SOCK_DGRAM},
		{unix.AF_UNIX, unix.SOCK_STREAM},
		{unix.AF_NETLINK, unix.SOCK_RAW},
	} {
		fd, inode := newSocket(t, kind[0], kind[1])
		fds, inodes = append(fds, fd), append(inodes, inode)
	}
	first, second := child(t, 0, fds...), child(t, 0, append(fds, fds[0])...)
	var want []Holder
	for _, pid := range []int{min(first, second), max(first, second)} {
		for i, inode := range inodes {
			want = append(want, Holder{Inode: inode, PID: pid, FD: 3 + i})
		}
		if pid == second {
			want = append(want, Holder{Inode: inodes[0], PID: pid, FD: 3 + len(inodes)})
		}
	}
	if got := held(t, o, first, second); !slices.Equal(got, want) {
		t.Errorf("found %v, not %v", got, want)
	}
	for _, pid := range []int{first, second, os.Getpid()} {
		proc, err := procfs.New("").SocketInodes(pid, startOf(t, pid))
		must(t, "/proc", err)
		var scan []uint32
		for _, h := range held(t, o, pid) {
			scan = append(scan, h.Inode)
		}
		slices.Sort(proc)
		slices.Sort(scan)
		if !slices.Equal(scan, proc) {
			t.Errorf("process %d: the scan finds %v, /proc %v", pid, scan, proc)
		}
	}
}

// The scan delivers everything, even many buffers full.
func TestScanMany(t *testing.T) {
	const n = 15_000
	pid := child(t, n)
	found := held(t, openTest(t), pid)
	inodes := map[uint32]bool{}
	for _, h := range found {
		inodes[h.Inode] = true
	}
	if len(found) != n || len(inodes) != n {
		t.Errorf("%d descriptors of %d sockets, not %d", len(found), len(inodes), n)
	}
}

// A process shows even if it has no socket.
func TestScanWithoutSockets(t *testing.T) {
	o := openTest(t)
	pid, shown := child(t, 0), false
	must(t, "scan", o.Scan(t.Context(), func(h Holder) bool {
		if h.PID == pid && h.Inode != 0 {
			t.Errorf("%+v is not a socket", h)
		}
		shown = shown || h.PID == pid
		return true
	}))
	if !shown {
		t.Errorf("process %d does not show", pid)
	}
}

// A thread can have its own table.
func TestScanThreadTable(t *testing.T) {
	o := openTest(t)
	opened, done, ended := make(chan Holder), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // so the thread dies with the goroutine
		var h Holder
		err := unix.Unshare(unix.CLONE_FILES)
		if err == nil {
			h.FD, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		}
		var st unix.Stat_t
		if err = errors.Join(err, unix.Fstat(h.FD, &st)); err != nil {
			t.Errorf("socket in a table of its own: %v", err)
		}
		h.Inode, h.PID = uint32(st.Ino), os.Getpid()
		opened <- h
		<-done
	}()
	want := <-opened
	if found := held(t, o, os.Getpid()); !slices.Contains(found, want) {
		t.Errorf("%v is not in %v", want, found)
	}
	close(done)
	<-ended
}

// The path name of a unix socket, opened with O_PATH, is not a socket.
func TestScanPathOnly(t *testing.T) {
	o := openTest(t)
	fd, inode := newSocket(t, unix.AF_UNIX, unix.SOCK_STREAM)
	path := filepath.Join(t.TempDir(), "s")
	must(t, "bind", unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	file, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, "open", err)
	defer unix.Close(file)
	found := held(t, o, os.Getpid())
	if !slices.Contains(found, Holder{Inode: inode, PID: os.Getpid(), FD: fd}) {
		t.Errorf("the socket is not in %v", found)
	}
	if slices.ContainsFunc(found, func(h Holder) bool { return h.FD == file }) {
		t.Errorf("its path name is in %v", found)
	}
}

// A scan can be abandoned at any time, and the next one starts anew.
func TestScanStops(t *testing.T) {
	leakCheck(t)
	o := openTest(t)
	fd, inode := newSocket(t, unix.AF_INET, unix.SOCK_STREAM)
	for range 3 {
		n := 0
		must(t, "scan", o.Scan(t.Context(), func(Holder) bool { n++; return false }))
		if n != 1 {
			t.Errorf("%d records", n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Scan(ctx, func(Holder) bool { t.Error("a record"); return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if found := held(t, o, os.Getpid()); !slices.Contains(found, Holder{Inode: inode, PID: os.Getpid(), FD: fd}) {
		t.Errorf("the socket is not in %v", found)
	}
}

// The descriptors of a socket are counted over all processes: sharers of a table count
// once, copies of a table and messages that carry the socket count as well.
func TestScanReferences(t *testing.T) {
	o := openTest(t)
	fd, inode := newSocket(t, unix.AF_INET, unix.SOCK_STREAM)
	expect := func(when string, descriptors, references int) {
		t.Helper()
		type place struct {
			table uint64
			fd    int
		}
		places := map[place]bool{}
		most := int64(0)
		must(t, "scan", o.Scan(t.Context(), func(h Holder) bool {
			if h.Inode == inode {
				places[place{h.Table, h.FD}] = true
				most = max(most, h.References)
			}
			return true
		}))
		if len(places) != descriptors || most != int64(references) || !o.Sound() {
			t.Errorf("%s: %d descriptors and %d references, not %d and %d; sound %t", when, len(places), most, descriptors, references, o.Sound())
		}
	}
	expect("one descriptor", 1, 1)
	child(t, 0, fd)
	expect("of two processes", 2, 2)
	again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	must(t, "duplicate", err)
	expect("twice in one", 3, 3)
	must(t, "close", unix.Close(again))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, "pair", err)
	must(t, "send", unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fd), nil, 0))
	expect("and in a message", 2, 3)
	must(t, "close", errors.Join(unix.Close(pair[0]), unix.Close(pair[1])))
	expect("which is dropped", 2, 2)
}

func TestOwnersClose(t *testing.T) {
	leakCheck(t)
	o, err := OpenOwners()
	capable(t, err)
	must(t, "close", o.Close())
	if err := o.Scan(t.Context(), func(Holder) bool { return true }); err == nil {
		t.Error("a scan after Close")
	}
}

func TestOwnersUnprivileged(t *testing.T) {
	if !asNobody(t) {
		return
	}
	leakCheck(t)
	if _, err := OpenOwners(); !errors.Is(err, collectors.ErrNotPermitted) || errors.Is(err, collectors.ErrNotSupported) {
		t.Errorf("%v", err)
	}
}

// In its own PID namespace a reader sees that namespace's processes, by their numbers
// there.
func TestOwnersNested(t *testing.T) {
	if inLab(t) {
		scans(t)
	}
}

// Records may arrive in any pieces; an incomplete one waits for the rest.
func TestDecode(t *testing.T) {
	var b []byte
	for i := range 3 {
		b = binary.NativeEndian.AppendUint64(b, uint64(100+i))
		b = binary.NativeEndian.AppendUint32(b, uint32(200+i))
		b = binary.NativeEndian.AppendUint32(b, uint32(300+i))
		b = binary.NativeEndian.AppendUint64(b, uint64(400+i))
		b = binary.NativeEndian.AppendUint64(b, uint64(500+i))
	}
	binary.NativeEndian.PutUint64(b[recordSize:], 1<<32) // not a number of sockfs
	for _, n := range []int{0, 1, 31, 32, 33, 95, 96} {
		var got []Holder
		used, stop := decode(b[:n], 1, func(h Holder) bool { got = append(got, h); return true })
		want := []Holder{{100, 200, 300, 400, 499}, {102, 202, 302, 402, 501}}[:(n/recordSize+1)/2]
		if used != n/recordSize*recordSize || stop || !slices.Equal(got, want) {
			t.Errorf("%d bytes: %v, %d used, %t", n, got, used, stop)
		}
	}
}
