package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

func TestHost(t *testing.T) {
	leakCheck(t)
	socklab.Need(t)
	h, err := Host()
	if err != nil || h.Name != "host" || h.Inode != own() || h.Inode == 0 {
		t.Errorf("%+v, %v; ours is %d", h, err, own())
	}
	f, err := h.Open()
	must(t, "open", err)
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != own() {
		t.Errorf("opened %d, ours is %d (%v)", st.Ino, own(), err)
	}
	must(t, "close", f.Close())
}

// Named namespaces and those of processes are found, each once, ours first and the others
// by name.
func TestList(t *testing.T) {
	leakCheck(t)
	named := socklab.NewNamespace(t, "named")
	must(t, "empty file", os.WriteFile("/run/netns/empty", nil, 0o644))
	defer os.Remove("/run/netns/empty")
	p, neighbour := startIn(t, here, unix.CLONE_NEWNET), startIn(t, here, 0)
	private := inodeOf(t, p.ns())

	all := list(t)
	if all[0].Name != HostName || all[0].Inode != own() {
		t.Errorf("first is %+v", all[0])
	}
	if !slices.IsSortedFunc(all[1:], func(a, b Handle) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("order %s", names(all))
	}
	if h, ok := byInode(t, all, inodeOf(t, "/run/netns/named")); !ok || h.Name != "named" || h.PID != 0 {
		t.Errorf("named: %+v, %t", h, ok)
	}
	if h, ok := byInode(t, all, private); !ok || h.Name != fmt.Sprintf("net:[%d]", private) || h.PID != p.pid() {
		t.Errorf("of process %d: %+v, %t", p.pid(), h, ok)
	}
	if every, err := Every(); err != nil || names(every) != names(all) {
		t.Errorf("every one: %s, %v", names(every), err)
	}
	for _, h := range all {
		if h.Name == "empty" || h.PID == neighbour.pid() {
			t.Errorf("%+v is no other namespace", h)
		}
	}
	if len(all) != 4 { // ours, the peer's, named, private
		t.Errorf("%s", names(all))
	}

	// A process in a named namespace is listed with it.
	inside := startIn(t, named.Do, 0)
	if h, ok := byInode(t, list(t), inodeOf(t, "/run/netns/named")); !ok || h.Name != "named" || h.PID != inside.pid() {
		t.Errorf("named, with process %d: %+v, %t", inside.pid(), h, ok)
	}
}

// A namespace that only an open file keeps alive is not found.
func TestListLosesUnnamed(t *testing.T) {
	p := startIn(t, here, unix.CLONE_NEWNET)
	inode := inodeOf(t, p.ns())
	f, err := os.Open(p.ns())
	must(t, "open", err)
	defer f.Close()
	h, ok := byInode(t, list(t), inode)
	if !ok {
		t.Fatal("it is not found")
	}
	p.kill()
	p.reap()
	if _, ok := byInode(t, list(t), inode); ok {
		t.Error("it is found without a process")
	}
	if f, err := h.Open(); f != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v, %v", f, err)
	}
}

// The process that led to a namespace has ended, and another process is there.
func TestOpenByAnotherProcess(t *testing.T) {
	leakCheck(t)
	socklab.Need(t)
	first := startIn(t, here, unix.CLONE_NEWNET)
	inode := inodeOf(t, first.ns())
	f, err := os.Open(first.ns())
	must(t, "open", err)
	defer f.Close()
	h, ok := byInode(t, list(t), inode)
	if !ok || h.PID != first.pid() {
		t.Fatalf("%+v, %t", h, ok)
	}
	startIn(t, func(start func() error) error { return Do(f, start) }, 0)
	check := func(what string) {
		t.Helper()
		f, err := h.Open()
		must(t, what, err)
		defer f.Close()
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != inode {
			t.Errorf("%s: opened %d, not %d (%v)", what, st.Ino, inode, err)
		}
	}
	check("both")
	first.kill()
	check("the first is a zombie")
	first.reap()
	check("the first is gone")
}

// A name that now means another namespace is not opened.
func TestOpenRenamed(t *testing.T) {
	leakCheck(t)
	var old Handle
	t.Run("old", func(t *testing.T) {
		socklab.NewNamespace(t, "renewed")
		old, _ = byInode(t, list(t), inodeOf(t, "/run/netns/renewed"))
	})
	keep := socklab.NewNamespace(t, "renewed")
	if inodeOf(t, "/run/netns/renewed") == old.Inode {
		t.Skip("the kernel gave the inode to the new namespace at once") // then nobody can tell them apart
	}
	if f, err := old.Open(); f != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v, %v", f, err)
	}
	if all, err := Select(keep.Name); err != nil || len(all) != 1 || all[0].Inode == old.Inode {
		t.Errorf("select: %+v, %v", all, err)
	}
}

func TestSelect(t *testing.T) {
	leakCheck(t)
	socklab.NewNamespace(t, "blue")
	socklab.NewNamespace(t, "green")
	inside := startIn(t, here, unix.CLONE_NEWNET)
	private := fmt.Sprintf("net:[%d]", inodeOf(t, inside.ns()))
	second := "/run/netns/azure"
	must(t, "file", os.WriteFile(second, nil, 0o644))
	must(t, "bind", unix.Mount("/run/netns/green", second, "", unix.MS_BIND, ""))
	defer func() { _, _ = unix.Unmount(second, unix.MNT_DETACH), os.Remove(second) }()

	for spec, want := range map[string]string{
		"":                           "host",
		"host":                       "host",
		"all":                        "host azure blue " + private + " peer",
		"blue":                       "blue",
		"peer,blue":                  "peer blue",
		"blue,host,blue":             "blue host",
		" blue , host":               "blue host",
		private:                      private,
		"b*":                         "blue",
		"?[rl]*":                     "azure blue",                      // green is another name of azure
		"*":                          "azure blue " + private + " peer", // the host does not match
		"net:*":                      private,
		"blue,*e":                    "blue azure",
		"/run/netns/blue":            "blue",
		"/run/netns/../netns/green/": "azure",
		"/proc/self/ns/net":          "host",
		inside.ns() + ",blue":        private + " blue",
		"green":                      "azure", // one namespace with two names
		"green,azure,green,green":    "azure",
	} {
		all, err := Select(spec)
		if err != nil || names(all) != want {
			t.Errorf("%q: %s, not %s (%v)", spec, names(all), want, err)
		}
	}
	must(t, "empty file", os.WriteFile("/run/netns/empty", nil, 0o644))
	defer os.Remove("/run/netns/empty")
	for _, spec := range []string{
		"red", "blue,red", "empty", "blue,", ",", "BLUE", "all,blue", "../netns/green", "x*", "hos?", "blue,x*", "/run/netns/red", "net:[123456789]", "net:[1-9]", "[b", "/proc/1073741824/ns/net",
	} {
		all, err := Select(spec)
		if all != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %s, %v", spec, names(all), err)
			continue
		}
		missing, ok := errors.AsType[*MissingError](err)
		if !ok || names(list(t)) != "host azure blue "+private+" peer" || !slices.Equal(missing.Known, []string{"host", "azure", "blue", "green", "peer"}) {
			t.Fatalf("%q: %v, of %s", spec, err, names(list(t)))
		}
		if want := " azure, blue, green, peer;"; !strings.Contains(missing.Hint(), want) || !strings.Contains(err.Error(), fmt.Sprintf("%q", missing.Name)) {
			t.Errorf("%q: %v (%s); it does not say %s", spec, err, missing.Hint(), want)
		}
		if noMount := strings.Contains(err.Error(), "nothing is mounted on /run/netns/empty"); noMount != (spec == "empty") {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

// Anything but a network namespace is not selected, and the error says so.
func TestSelectOtherFiles(t *testing.T) {
	leakCheck(t)
	socklab.Need(t)
	regular := t.TempDir() + "/regular"
	must(t, "file", os.WriteFile(regular, nil, 0o600))
	fifo := t.TempDir() + "/fifo"
	must(t, "fifo", unix.Mkfifo(fifo, 0o600)) // opening it would wait for ever
	for _, path := range []string{regular, fifo, "/proc/self/ns/uts", "/proc/self", "/dev/null"} {
		all, err := Select(path)
		if all != nil || !errors.Is(err, fs.ErrNotExist) || err.Error() != path+" is not a network namespace" {
			t.Errorf("%s: %s, %v", path, names(all), err)
		}
	}
}

// A namespace that only a process keeps alive is found by a descriptor: a file of the
// namespace, or a socket in it.
func TestSelectHeld(t *testing.T) {
	leakCheck(t)
	n := socklab.NewNamelessNamespace(t)
	inode := inodeOf(t, fmt.Sprintf("/proc/self/fd/%d", n.FD()))
	if _, ok := byInode(t, list(t), inode); ok {
		t.Fatal("it is listed")
	}
	sock, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	defer unix.Close(sock)
	for _, fd := range []int{n.FD(), sock} {
		all, err := Select(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))
		must(t, "select", err)
		if len(all) != 1 || all[0].Inode != inode || all[0].Name != fmt.Sprintf("net:[%d]", inode) {
			t.Fatalf("descriptor %d: %+v, not %d", fd, all, inode)
		}
		f, err := all[0].Open()
		must(t, "open", err)
		if inodeOf(t, fmt.Sprintf("/proc/self/fd/%d", f.Fd())) != inode {
			t.Errorf("descriptor %d opens another one", fd)
		}
		must(t, "enter", Do(f, func() error { return nil }))
		must(t, "close", f.Close())
	}
	held, err := Select(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), sock))
	must(t, "select", err)
	must(t, "close", unix.Close(sock))
	if f, err := held[0].Open(); f != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after it was closed: %v, %v", f, err)
	}
}

// A process that ends during the look takes along what only it had; that is not a lack of
// permission.
func TestEndsMeanwhile(t *testing.T) {
	leakCheck(t)
	for range 20 {
		p := startIn(t, here, unix.CLONE_NEWNET)
		h, ok := byInode(t, list(t), inodeOf(t, p.ns()))
		if !ok {
			t.Fatal("it is not found")
		}
		over := make(chan struct{})
		go func() { defer close(over); p.kill(); p.reap() }()
		err := error(nil)
		for err == nil {
			var f *os.File
			if f, err = h.Open(); err == nil {
				must(t, "close", f.Close())
			}
		}
		<-over
		if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

func TestProcessOf(t *testing.T) {
	for path, want := range map[string]int{
		"/proc/12/ns/net": 12, "/proc//12/fd/3": 12, "/proc/12": 0, "/proc/self/ns/net": 0, "/proc/-1/ns/net": 0, "/run/netns/12": 0, "12": 0, OfProcess(7): 7,
	} {
		if got := ProcessOf(path); got != want {
			t.Errorf("%s: %d, not %d", path, got, want)
		}
	}
}
