package actiontest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
)

// Held makes a connection in CLOSE_WAIT held by its own process, as a target for actions
// on sockets.
func Held(t testing.TB, o socklab.HolderOptions) *HeldSubject {
	t.Helper()
	return HeldIn(t, socklab.CloseWait, o)
}

// HeldIn does the same for any kind of socket that a process can hold and that dumps
// show: TCP in each of its states, connected or listening, and UDP.
func HeldIn(t testing.TB, kind socklab.Kind, o socklab.HolderOptions) *HeldSubject {
	t.Helper()
	if !kind.Owned() || kind == socklab.Bound {
		t.Fatalf("no process has a socket that is %s, or it cannot be seen", kind)
	}
	c := socklab.Make(t, kind, socklab.IPv4)
	if kind != socklab.CloseWait {
		// When its process ends, the socket is gone at once and passes through no further
		// state.
		must(t, "SO_LINGER", unix.SetsockoptLinger(c.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	}
	o.Conns = []*socklab.Conn{c}
	s := &HeldSubject{Conn: c, Holder: socklab.StartHolder(t, o)}
	sealed := Sealed(t, c)
	s.Target = actions.Target{Rule: "test", Sockets: []actions.Sealed{sealed}, Host: "here"}
	s.State, s.Vanish = s.state, s.vanish
	return s
}

// HeldOnProcess is Held as a target for actions on processes.
func HeldOnProcess(t testing.TB, o socklab.HolderOptions) *HeldSubject {
	t.Helper()
	return Held(t, o).OnProcess(t)
}

// OnProcess turns it into a target for actions on processes.
func (s *HeldSubject) OnProcess(t testing.TB) *HeldSubject {
	t.Helper()
	owners := s.Target.Sockets[0].Facts.Owners
	if len(owners) != 1 || owners[0].PID != s.Holder.PID {
		t.Fatalf("process %d is not the only owner: %+v", s.Holder.PID, owners)
	}
	s.Target.Process = &owners[0]
	return s
}

// HeldSubject is a socket and the process that holds it.
type HeldSubject struct {
	Subject
	Conn   *socklab.Conn
	Holder *socklab.Holder
}

// Shows makes State include what show reads from a descriptor of the socket, such as its
// options.
func (s *HeldSubject) Shows(show func(fd int) string) *HeldSubject {
	s.State = func(t testing.TB) string {
		text := s.state(t)
		if fd := s.borrow(t); fd >= 0 {
			text += "; " + show(fd)
			must(t, "close", unix.Close(fd))
		}
		return text
	}
	return s
}

// borrow returns a descriptor of the socket, -1 if its process no longer has one.
func (s *HeldSubject) borrow(t testing.TB) int {
	t.Helper()
	inode := fmt.Sprintf("socket:[%d]", s.Target.Sockets[0].Socket.Inode)
	pidfd, err := unix.PidfdOpen(s.Holder.PID, 0)
	if err != nil {
		return -1
	}
	defer unix.Close(pidfd) //nolint:errcheck // nothing was written
	for theirs, link := range s.descriptors() {
		if link == inode {
			fd, err := unix.PidfdGetfd(pidfd, theirs, 0)
			must(t, "pidfd_getfd", err)
			return fd
		}
	}
	return -1
}

// descriptors are those of the process, with their targets.
func (s *HeldSubject) descriptors() map[int]string {
	all := map[int]string{}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.Holder.PID))
	for _, l := range links {
		var fd int
		if _, err := fmt.Sscan(filepath.Base(l), &fd); err == nil {
			all[fd], _ = os.Readlink(l)
		}
	}
	return all
}

func (s *HeldSubject) state(testing.TB) string {
	state, there := s.Conn.Now()
	return fmt.Sprintf("socket: %t, %s; its process runs: %t; it has %v", there, state, s.Holder.Running(), s.descriptors())
}

func (s *HeldSubject) vanish(t testing.TB) {
	t.Helper()
	if err := unix.Kill(s.Holder.PID, unix.SIGKILL); err != nil {
		t.Fatalf("kill: %v", err)
	}
	s.Holder.Wait(t)
	socklab.WaitFor(t, "the end of the socket", func() bool {
		_, there := s.Conn.Now()
		return !there
	})
}
