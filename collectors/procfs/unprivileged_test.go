package procfs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// Each missing capability hides processes, but these are counted. The others are still
// seen.
func TestWithoutCapabilities(t *testing.T) {
	leakCheck(t)
	fd, inode := newSocket(t)
	own, _ := cat(t, nil, fd)
	ownStart := startOf(t, own)
	others, ids := []int{own}, os.Getuid()
	if user := anotherUser(); user != nil {
		pid, _ := cat(t, user, fd)
		others, ids = append(others, pid), int(user.Credential.Uid)
	}
	search := []int{unix.CAP_DAC_READ_SEARCH, unix.CAP_DAC_OVERRIDE}
	for _, c := range []struct {
		name       string
		drop       []int
		unreadable int
		sees       []int
	}{
		{"all capabilities", nil, 0, append([]int{os.Getpid()}, others...)},
		// Hidden: processes with more capabilities than the reader, and those of other
		// users.
		{"without CAP_SYS_PTRACE", []int{unix.CAP_SYS_PTRACE}, len(others), []int{os.Getpid()}},
		// Hidden: the directories of other users' processes.
		{"without CAP_DAC_READ_SEARCH", search, len(others) - 1, []int{os.Getpid(), own}},
		{"without both", append(search, unix.CAP_SYS_PTRACE), len(others), []int{os.Getpid()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Holders
			err := socklab.WithoutCapability(t, func() (err error) {
				h, err = New("").Holders(t.Context(), map[uint32]bool{inode: true})
				return err
			}, c.drop...)
			slices.Sort(c.sees)
			if pids := pidsOf(h.ByInode[inode]); err != nil || len(h.Unreadable) != c.unreadable || !slices.Equal(pids, c.sees) {
				t.Errorf("user %d: %d unreadable, owners %v of %v, %v", ids, len(h.Unreadable), pids, c.sees, err)
			}
		})
	}
	err := socklab.WithoutCapability(t, func() error {
		if o, err := New("").Describe(own); err != nil || o.Known.Has(collectors.FieldFDs) || o.Known.Has(collectors.FieldExe) || o.Name != "cat" {
			return fmt.Errorf("describe: %+v, %w", o, err)
		}
		if running, err := New("").Running(own, ownStart); err != nil || !running {
			return fmt.Errorf("running: %t, %w", running, err)
		}
		_, err := New("").Holds(own, ownStart, inode)
		return err
	}, unix.CAP_SYS_PTRACE)
	if !errors.Is(err, collectors.ErrNotPermitted) {
		t.Errorf("holds: %v", err)
	}
}

// An ended process holds nothing, even if another user may not look at it.
func TestZombieOfAnotherUser(t *testing.T) {
	leakCheck(t)
	if !socklab.IsNobody() {
		fd, _ := newSocket(t)
		cat(t, nil, fd)
		pid, _ := cat(t, nil, fd)
		must(t, "kill", unix.Kill(pid, unix.SIGKILL))
		socklab.WaitFor(t, "the zombie", func() bool { return stateOf(t, pid) == 'Z' })
	}
	socklab.AsNobody(t, func() {
		f, others, zombies := New(""), 0, 0
		pids, err := f.PIDs()
		must(t, "list processes", err)
		for _, pid := range pids {
			switch {
			case pid == os.Getpid():
			case stateOf(t, pid) == 'Z':
				zombies++
				if held, err := f.Holds(pid, startOf(t, pid), 1); err != nil || held {
					t.Errorf("the zombie holds: %t, %v", held, err)
				}
			default:
				others++
				if _, err := f.Holds(pid, startOf(t, pid), 1); !errors.Is(err, collectors.ErrNotPermitted) {
					t.Errorf("process %d holds: %v", pid, err)
				}
			}
		}
		if h := holders(t, 1); len(h.Unreadable) != others || others < 2 || zombies != 1 {
			t.Errorf("%d unreadable of %d others and %d zombies", len(h.Unreadable), others, zombies)
		}
	})
}

// anotherUser is nobody, or nil where there is only one user.
func anotherUser() *syscall.SysProcAttr {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || len(b) == 0 {
		return nil
	}
	var inside, outside, n uint64
	if _, err := fmt.Sscan(string(b), &inside, &outside, &n); err != nil || n < 65535 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}}
}
