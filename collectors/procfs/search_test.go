package procfs

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// searchBy searches all processes with several workers, each taking n at a time.
func searchBy(t testing.TB, f *FS, workers, n int, inodes map[uint32]bool) (all Found) {
	t.Helper()
	pids, err := f.PIDs()
	must(t, "list processes", err)
	parts := make(chan []int, len(pids))
	for part := range slices.Chunk(pids, n) {
		parts <- part
	}
	close(parts)
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	for range workers {
		wg.Go(func() {
			for part := range parts {
				found, err := f.Search(t.Context(), part, inodes)
				if err != nil {
					t.Errorf("search: %v", err)
				}
				mu.Lock()
				all.Add(found)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

// inodesOf counts the tables in which each socket was found.
func inodesOf(found Found) map[uint32]int {
	n := map[uint32]int{}
	for _, table := range found.Tables {
		for _, s := range table.Held {
			n[s.Inode]++
		}
	}
	return n
}

// sameHolders ignores the ages, which grow, and this process's number of descriptors,
// which includes those of the search.
func sameHolders(a, b Holders) bool {
	for _, h := range []Holders{a, b} {
		for _, owners := range h.ByInode {
			for i := range owners {
				owners[i].Age = 0
				if owners[i].PID == os.Getpid() {
					owners[i].FDs = 0
				}
			}
		}
	}
	return reflect.DeepEqual(a, b)
}

// However the processes are divided, the answer is the same as that of Holders and as the
// links of the descriptors.
func TestSearchDivided(t *testing.T) {
	leakCheck(t)
	wanted := map[uint32]bool{}
	var shared []*socklab.Conn
	for _, f := range socklab.Families() {
		c := socklab.Make(t, socklab.Established, f)
		shared = append(shared, c)
		wanted[inodeOf(t, c.FD)] = true
	}
	pids := []int{os.Getpid()}
	for range 3 {
		pids = append(pids, socklab.StartHolder(t, socklab.HolderOptions{Conns: shared, Keep: true}).PID)
	}
	pids = append(pids, child(t, "sockets 3000")) // more than one buffer holds
	for _, pid := range pids {
		for inode := range linked(t, pid) {
			wanted[inode] = true
		}
	}
	f := New("")
	h, err := f.Holders(t.Context(), wanted)
	must(t, "holders", err)
	for _, pid := range pids {
		links, total := linked(t, pid), descriptors(t, pid)
		for inode, fds := range links {
			i := slices.IndexFunc(h.ByInode[inode], func(o collectors.Owner) bool { return o.PID == pid })
			if i < 0 || !slices.Contains(fds, h.ByInode[inode][i].FD) || h.ByInode[inode][i].FDs != total {
				t.Errorf("process %d holds %d as %v: %+v", pid, inode, fds, h.ByInode[inode])
			}
		}
		for inode, owners := range h.ByInode {
			if links[inode] == nil && slices.Contains(pidsOf(owners), pid) {
				t.Errorf("process %d does not hold %d", pid, inode)
			}
		}
	}
	if len(h.ByInode) != len(wanted) || len(h.Unreadable) != 0 {
		t.Errorf("%d of %d sockets, %d unreadable", len(h.ByInode), len(wanted), len(h.Unreadable))
	}
	for _, n := range []int{1, 2, 3, 1 << 20} {
		divided, err := f.Owners(t.Context(), wanted, searchBy(t, f, 4, n, wanted))
		must(t, "owners", err)
		if !sameHolders(divided, h) {
			t.Errorf("by %d processes at a time: %d sockets, not %d as at once", n, len(divided.ByInode), len(h.ByInode))
		}
	}
}

// linked reads the sockets of a process and their descriptors without the code under
// test.
func linked(t *testing.T, pid int) map[uint32][]int {
	t.Helper()
	links, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	must(t, "list descriptors", err)
	inodes := map[uint32][]int{}
	for _, l := range links {
		target, err := os.Readlink(l)
		if err != nil {
			continue // the descriptor of the listing itself
		}
		if i, ok := socketInode([]byte(target)); ok {
			fd, _ := strconv.Atoi(filepath.Base(l))
			inodes[i] = append(inodes[i], fd)
		}
	}
	return inodes
}

// Without kcmp(2), as in a tree, the tables of all threads are searched once for sockets
// that no process seems to hold, however the search was divided.
func TestSearchDividedTree(t *testing.T) {
	files := map[string]string{}
	addProcess(files, 20, "web", "", "socket:[100]")
	addProcess(files, 100, "threads", "", "/dev/null")
	for _, tid := range []string{"100", "101"} {
		files["100/task/"+tid+"/fd/6"] = "-> socket:[100]"
		files["100/task/"+tid+"/fd/7"] = "-> socket:[103]"
	}
	f, wanted := New(tree(t, files)), map[uint32]bool{100: true, 103: true}
	h, err := f.Holders(t.Context(), wanted)
	must(t, "holders", err)
	if pids := pidsOf(h.ByInode[100]); !slices.Equal(pids, []int{20}) {
		t.Errorf("owners of 100: %v", pids)
	}
	if pids := pidsOf(h.ByInode[103]); !slices.Equal(pids, []int{100}) {
		t.Errorf("owners of 103: %v", pids)
	}
	divided, err := f.Owners(t.Context(), wanted, searchBy(t, f, 2, 1, wanted))
	must(t, "owners", err)
	if !sameHolders(divided, h) {
		t.Errorf("divided %+v, at once %+v", divided, h)
	}
}

// A process that has ended since the search, or whose PID now belongs to another, owns
// nothing.
func TestOwnersOfEnded(t *testing.T) {
	fd, inode := newSocket(t)
	pid, wait := cat(t, nil, fd)
	f, wanted := New(""), map[uint32]bool{inode: true}
	found, err := f.Search(t.Context(), []int{pid}, wanted)
	must(t, "search", err)
	if len(found.Tables) != 1 || found.Tables[0].PID != pid || found.Tables[0].StartTime != startOf(t, pid) {
		t.Fatalf("%+v", found)
	}
	found.Tables[0].StartTime++
	if h, err := f.Owners(t.Context(), wanted, found); err != nil || len(h.ByInode) != 0 || len(h.Unreadable) != 0 {
		t.Errorf("another start time: %+v, %v", h, err)
	}
	found.Tables[0].StartTime--
	wait()
	if h, err := f.Owners(t.Context(), wanted, found); err != nil || len(h.ByInode) != 0 || len(h.Unreadable) != 0 {
		t.Errorf("ended: %+v, %v", h, err)
	}
	if found, err := f.Search(t.Context(), []int{pid}, wanted); err != nil || len(found.Tables) != 0 || len(found.Unreadable) != 0 {
		t.Errorf("search for an ended process: %+v, %v", found, err)
	}
}

// A failure of our own hides processes; that must not look as if nobody held the socket.
func TestSearchOutOfDescriptors(t *testing.T) {
	fd, inode := newSocket(t)
	pid, _ := cat(t, nil, fd)
	var limit unix.Rlimit
	must(t, "getrlimit", unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 0
	must(t, "setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	found, err := New("").Search(t.Context(), []int{pid}, map[uint32]bool{inode: true})
	must(t, "setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	if err != nil || len(found.Tables) != 0 || len(found.Unreadable) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestSearchCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f, one := New(""), map[uint32]bool{1: true}
	if _, err := f.Search(ctx, []int{os.Getpid()}, one); !errors.Is(err, context.Canceled) {
		t.Errorf("search: %v", err)
	}
	if _, err := f.Owners(ctx, one, Found{Tables: []Table{{PID: os.Getpid()}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("owners: %v", err)
	}
}

// The link count of the directory task gives the number of threads.
func TestThreads(t *testing.T) {
	fd, _ := newSocket(t)
	pid, _ := cat(t, nil, fd)
	p, err := New("").open(pid)
	must(t, "open", err)
	defer p.close()
	if n := p.threads(); n != 1 {
		t.Errorf("cat has %d threads", n)
	}
	own, err := New("").open(os.Getpid())
	must(t, "open", err)
	defer own.close()
	socklab.WaitFor(t, "both counts to agree", func() bool {
		st, err := own.stat()
		must(t, "stat", err)
		return st.threads > 1 && own.threads() == st.threads
	})
}

// What a thread holds in its own table counts as held by its process, but has no
// descriptor there.
func TestDescriptorOfThread(t *testing.T) {
	leakCheck(t)
	socklab.Need(t)
	_, own := newSocket(t)
	inodes, done := make(chan uint32), make(chan struct{})
	ended := onDyingThread(func() {
		defer close(inodes)
		if err := unix.Unshare(unix.CLONE_FILES); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Errorf("socket: %v", err)
			return
		}
		inodes <- inodeOf(t, fd)
		<-done
	})
	inode := <-inodes
	f, start := New(""), startOf(t, os.Getpid())
	if fd, err := f.Descriptor(os.Getpid(), start, inode); !errors.Is(err, collectors.ErrNotSupported) {
		t.Errorf("descriptor of the thread's socket: %d, %v", fd, err)
	}
	if fd, err := f.Descriptor(os.Getpid(), start, own); err != nil || inodeOf(t, fd) != own {
		t.Errorf("descriptor of an own socket: %d, %v", fd, err)
	}
	all, err := f.SocketInodes(os.Getpid(), start)
	if err != nil || !slices.Contains(all, inode) || !slices.Contains(all, own) {
		t.Errorf("the process holds %v, %v", all, err)
	}
	if held, err := f.HeldLately(os.Getpid(), start, inode); err != nil || !held {
		t.Errorf("held lately: %t, %v", held, err)
	}
	close(done)
	<-ended
	socklab.WaitFor(t, "the end of the thread", func() bool {
		_, err := f.Descriptor(os.Getpid(), start, inode)
		return errors.Is(err, collectors.ErrGone)
	})
}

// If a process of another user now has the PID, the process that was meant is gone, even
// though the new one cannot be examined.
func TestDescriptorOfReusedPID(t *testing.T) {
	fd, inode := newSocket(t)
	pid, _ := cat(t, nil, fd)
	start := startOf(t, pid)
	must(t, "without CAP_SYS_PTRACE", socklab.WithoutCapability(t, func() error {
		f := New("")
		for start, want := range map[uint64]error{start: collectors.ErrNotPermitted, start + 1: collectors.ErrGone} {
			if n, err := f.Descriptor(pid, start, inode); !errors.Is(err, want) {
				t.Errorf("start time %d: %d, %v", start, n, err)
			}
			if n, err := f.SocketInodes(pid, start); !errors.Is(err, want) {
				t.Errorf("start time %d: %v, %v", start, n, err)
			}
		}
		return nil
	}, unix.CAP_SYS_PTRACE))
}

func TestCutEntry(t *testing.T) {
	entry := func(length uint16, name string) []byte {
		b := make([]byte, direntName, 64)
		binary.NativeEndian.PutUint16(b[direntLength:], length)
		return append(b, name...)
	}
	whole := entry(24, "12\x00\x00\x00rest")
	if name, rest, err := cutEntry(whole); string(name) != "12" || string(rest) != "rest" || err != nil {
		t.Errorf("%q, %q, %v", name, rest, err)
	}
	for _, b := range [][]byte{nil, whole[:direntName], whole[:23], entry(0, "12\x00"), entry(19, "12\x00"), entry(21, "12\x00"), entry(22, "\x0012")} {
		if name, _, err := cutEntry(b); err == nil {
			t.Errorf("%q: %q", b, name)
		}
	}
}

func TestNumber(t *testing.T) {
	for name, want := range map[string]int{
		"0": 0, "7": 7, "1073741815": 1073741815, "2147483639": 2147483639,
		"": -1, "+1": -1, "-1": -1, "1a": -1, "self": -1, "99999999999999999999": -1,
	} {
		if n, ok := number([]byte(name)); ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d, %t", name, n, ok)
		}
	}
}
