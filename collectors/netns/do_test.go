package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// Do runs the function in the namespace and returns its error; afterwards the thread is
// home.
func TestDo(t *testing.T) {
	leakCheck(t)
	socklab.NewNamespace(t, "visited")
	h, _ := byInode(t, list(t), inodeOf(t, "/run/netns/visited"))
	f, err := h.Open()
	must(t, "open", err)
	defer f.Close()
	home := own()
	mine := errors.New("mine")
	for range 50 { // so threads are used again
		var inside uint64
		err := Do(f, func() error {
			inside = own()
			return mine
		})
		if !errors.Is(err, mine) || inside != h.Inode {
			t.Fatalf("%v, in namespace %d, not %d", err, inside, h.Inode)
		}
	}
	must(t, "no error", Do(f, func() error { return nil }))
	// Every thread of the process is at home.
	threads, err := os.ReadDir("/proc/self/task")
	must(t, "threads", err)
	socklab.WaitFor(t, "all threads to be at home", func() bool {
		for _, tid := range threads {
			var st unix.Stat_t
			if unix.Stat("/proc/self/task/"+tid.Name()+"/ns/net", &st) == nil && st.Ino != home {
				return false
			}
		}
		return true
	})
	var nested uint64
	back, err := os.Open("/proc/thread-self/ns/net")
	must(t, "open", err)
	defer back.Close()
	must(t, "nested", Do(f, func() error {
		return Do(back, func() error {
			nested = own()
			return nil
		})
	}))
	if nested != home {
		t.Errorf("nested in %d, not %d", nested, home)
	}
}

// Do does not enter anything but a network namespace, and does not run f.
func TestDoFails(t *testing.T) {
	leakCheck(t)
	socklab.Need(t)
	r, w, err := os.Pipe()
	must(t, "pipe", err)
	defer w.Close()
	uts, err := os.Open("/proc/self/ns/uts")
	must(t, "open", err)
	defer uts.Close()
	for _, f := range []*os.File{r, uts} {
		ran := false
		if err := Do(f, func() error { ran = true; return nil }); !errors.Is(err, unix.EINVAL) || ran {
			t.Errorf("%s: %v, ran: %t", f.Name(), err, ran)
		}
	}
	must(t, "close", r.Close())
	if err := Do(r, func() error { return nil }); !errors.Is(err, unix.EBADF) {
		t.Errorf("closed: %v", err)
	}
}

// envNobody has a process become another user: its value is the namespaces that it lists
// and, behind a slash, how many it cannot.
const envNobody = "NETNS_TEST_AS_NOBODY"

// Another user finds the named namespaces and its own, but enters none, and knows whether
// processes that it may not examine have others.
func TestUnprivileged(t *testing.T) {
	if want := os.Getenv(envNobody); want != "" {
		asNobody(t, want)
		return
	}
	lookAsNobody(t, "host peer/0")
	socklab.NewNamespace(t, "named")
	startIn(t, here, unix.CLONE_NEWNET)
	startIn(t, here, 0)
	lookAsNobody(t, "host named peer/1")
	startIn(t, here, unix.CLONE_NEWNET)
	lookAsNobody(t, "host named peer/2")
}

func lookAsNobody(t *testing.T, want string) {
	t.Helper()
	exe, err := os.Executable()
	must(t, "own executable", err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestUnprivileged$", "-test.v")
	cmd.Env = append(os.Environ(), envNobody+"="+want)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
}

func asNobody(t *testing.T, want string) {
	if err := syscall.Setuid(65534); err != nil {
		socklab.Lacks(t, fmt.Errorf("setuid: %w", err)) // a user namespace with one user
	}
	all := list(t)
	listed, hidden, _ := strings.Cut(want, "/")
	if names(all) != listed {
		t.Errorf("%s, not %s", names(all), listed)
	}
	every, err := Every()
	said := err == nil
	if hidden != "0" {
		said = errors.Is(err, collectors.ErrNotPermitted) && strings.HasPrefix(err.Error(), hidden+" network namespace")
	}
	if !said || names(every) != names(all) {
		t.Errorf("every one: %s, %v; not %s", names(every), err, want)
	}
	f, err := all[1].Open()
	must(t, "open", err)
	ran := false
	if err := Do(f, func() error { ran = true; return nil }); !errors.Is(err, fs.ErrPermission) || ran {
		t.Errorf("enter: %v, ran: %t", err, ran)
	}
	if own() != all[0].Inode {
		t.Error("not at home")
	}
}
