package procfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

func TestHolds(t *testing.T) {
	leakCheck(t)
	fd, inode := newSocket(t)
	pid, wait := cat(t, nil, fd)
	f, start := New(""), startOf(t, pid)
	check := func(what string, start uint64, inode uint32, want bool, wantErr error) {
		t.Helper()
		if held, err := f.Holds(pid, start, inode); held != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: %t, %v", what, held, err)
		}
	}
	check("its socket", start, inode, true, nil)
	check("another socket", start, inode+1, false, nil)
	check("another start time", start+1, inode, false, collectors.ErrGone)
	if running, err := f.Running(pid, start); err != nil || !running {
		t.Errorf("running: %t, %v", running, err)
	}
	if running, err := f.Running(pid, start+1); err != nil || running {
		t.Errorf("running with another start time: %t, %v", running, err)
	}
	if o, err := f.Describe(pid); err != nil || o.Name != "cat" || o.StartTime != start || o.FDs != descriptors(t, pid) {
		t.Errorf("describe: %+v, %v", o, err)
	}
	if parent, err := f.Parent(pid); err != nil || parent != os.Getpid() {
		t.Errorf("parent %d, %v", parent, err)
	}

	must(t, "kill", unix.Kill(pid, unix.SIGKILL))
	socklab.WaitFor(t, "the zombie", func() bool { return stateOf(t, pid) == 'Z' })
	check("zombie", start, inode, false, nil)
	if running, err := f.Running(pid, start); err != nil || running {
		t.Errorf("zombie running: %t, %v", running, err)
	}
	if o, err := f.Describe(pid); err != nil || o.Comm != "cat" || o.Known.Has(collectors.FieldExe) {
		t.Errorf("describe zombie: %+v, %v", o, err)
	}
	wait()
	check("reaped", start, inode, false, collectors.ErrGone)
	if running, err := f.Running(pid, start); err != nil || running {
		t.Errorf("reaped running: %t, %v", running, err)
	}
	if _, err := f.Describe(pid); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("describe reaped: %v", err)
	}
	if _, err := f.Parent(pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("parent of reaped: %v", err)
	}
}

func stateOf(t *testing.T, pid int) byte {
	t.Helper()
	p, err := New("").open(pid)
	must(t, "open", err)
	defer p.close()
	st, err := p.stat()
	must(t, "stat", err)
	return st.state
}

// If another process gets the PID, even one that holds the same socket, it is not the
// process that was seen.
func TestReusedPID(t *testing.T) {
	fd, inode := newSocket(t)
	pid, wait := cat(t, nil, fd)
	f, start := New(""), startOf(t, pid)
	wait()
	socklab.WaitFor(t, "the PID to be used again", func() bool {
		// Threads of this process may take the PID first.
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatalf("ns_last_pid: %v", err)
		}
		again, end := cat(t, nil, fd)
		if again == pid && startOf(t, pid) != start {
			return true
		}
		end()
		return false
	})
	if held, err := f.Holds(pid, start, inode); held || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("holds: %t, %v", held, err)
	}
	if running, err := f.Running(pid, start); err != nil || running {
		t.Errorf("running: %t, %v", running, err)
	}
	if held, err := f.Holds(pid, startOf(t, pid), inode); err != nil || !held {
		t.Errorf("the new process holds: %t, %v", held, err)
	}
}

// A failure of our own says nothing about the process.
func TestOutOfDescriptors(t *testing.T) {
	fd, inode := newSocket(t)
	pid, _ := cat(t, nil, fd)
	f, start := New(""), startOf(t, pid)
	var limit unix.Rlimit
	must(t, "getrlimit", unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 0
	must(t, "setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	held, holdsErr := f.Holds(pid, start, inode)
	_, describeErr := f.Describe(pid)
	running, runningErr := f.Running(pid, start)
	must(t, "setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	if held || !errors.Is(holdsErr, unix.EMFILE) || errors.Is(holdsErr, collectors.ErrGone) {
		t.Errorf("holds: %t, %v", held, holdsErr)
	}
	if !errors.Is(describeErr, unix.EMFILE) || errors.Is(describeErr, collectors.ErrGone) {
		t.Errorf("describe: %v", describeErr)
	}
	if running || !errors.Is(runningErr, unix.EMFILE) {
		t.Errorf("running: %t, %v", running, runningErr)
	}
}

// Programs choose their names freely.
func TestHostileName(t *testing.T) {
	const comm = "a) R (b\nx"
	h := socklab.StartHolder(t, socklab.HolderOptions{Comm: comm, Args: []string{"", "\n\x1b[31m", ""}})
	o, err := New("").Describe(h.PID)
	if err != nil || o.Comm != comm || o.Name != comm || o.StartTime != startOf(t, h.PID) {
		t.Errorf("%+v, %v", o, err)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", h.PID))
	must(t, "exe", err)
	if want := exe + "  \n\x1b[31m"; o.Cmdline != want && o.Cmdline != os.Args[0]+"  \n\x1b[31m" {
		t.Errorf("cmdline %q", o.Cmdline)
	}
}

// A test sees no kernel thread from its own PID namespace, so one is made up.
func TestKernelThread(t *testing.T) {
	socklab.Need(t)
	own, err := New("").Describe(os.Getpid())
	must(t, "describe", err)
	files := map[string]string{"2/stat": "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n"}
	kthreadd, err := New(tree(t, files)).Describe(2)
	must(t, "describe", err)
	if own.Kernel || !kthreadd.Kernel {
		t.Errorf("the kernel's: %t, kthreadd %t", own.Kernel, kthreadd.Kernel)
	}
}

// HeldLately goes by a list, but never says that a process holds a socket that it closed
// or replaced under the same number.
func TestHeldLately(t *testing.T) {
	leakCheck(t)
	f, pid := New(""), os.Getpid()
	start := startOf(t, pid)
	check := func(what string, inode uint32, want bool) {
		t.Helper()
		if held, err := f.HeldLately(pid, start, inode); err != nil || held != want {
			t.Errorf("%s: %t, %v", what, held, err)
		}
	}
	closed, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, "socket", err)
	closedInode := inodeOf(t, closed)
	replaced, replacedInode := newSocket(t)
	kept, keptInode := newSocket(t)
	check("listed now", keptInode, true)
	check("listed before", closedInode, true)
	must(t, "dup3", unix.Dup3(kept, replaced, unix.O_CLOEXEC))
	check("replaced", replacedInode, false)
	must(t, "close", unix.Close(closed))
	check("closed", closedInode, false)
	check("kept", keptInode, true)
	if _, err := f.HeldLately(pid, start+1, keptInode); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("another start time: %v", err)
	}
}

// Processes are found by their comm, along with what is known of them.
func TestNamed(t *testing.T) {
	leakCheck(t)
	pid, wait := cat(t, nil)
	socklab.WaitFor(t, "cat", func() bool {
		all, err := New("").Named(t.Context(), "cat")
		must(t, "named", err)
		return len(all) == 1 && all[0].PID == pid && all[0].Cmdline == "cat"
	})
	if all, err := New("").Named(t.Context(), "ca"); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
	must(t, "kill", unix.Kill(pid, unix.SIGKILL))
	wait()
	if all, err := New("").Named(t.Context(), "cat"); err != nil || len(all) > 0 {
		t.Errorf("gone: %+v, %v", all, err)
	}
}
