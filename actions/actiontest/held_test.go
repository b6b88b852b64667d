package actiontest

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// A process can hold, as a target for actions, a socket of any kind that it can have;
// Vanish removes that target.
func TestHeldIn(t *testing.T) {
	for _, kind := range socklab.Kinds() {
		if !kind.Owned() || !kind.Shown() || kind == socklab.Bound {
			continue
		}
		t.Run(kind.String(), func(t *testing.T) {
			LeakCheck(t)
			s := HeldIn(t, kind, socklab.HolderOptions{}).OnProcess(t)
			s.Shows(func(fd int) string {
				v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK)
				return fmt.Sprint("mark ", v, err)
			})
			if got := s.Target.Sockets[0].Socket; got.State != kind.State() || got.Protocol != kind.Protocol() || s.Target.Process.PID != s.Holder.PID {
				t.Errorf("%+v of %+v", got, s.Target.Process)
			}
			before := s.State(t)
			if !strings.HasPrefix(before, fmt.Sprintf("socket: true, %s; its process runs: true", kind.State())) || !strings.Contains(before, "; mark 0") {
				t.Errorf("its state is %q", before)
			}
			fd := s.borrow(t)
			must(t, "SO_MARK", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 7))
			must(t, "close", unix.Close(fd))
			if after := s.State(t); after != strings.Replace(before, "mark 0", "mark 7", 1) {
				t.Errorf("its state was %q and is %q", before, after)
			}
			s.Vanish(t)
			if after := s.State(t); !strings.HasPrefix(after, "socket: false") || !strings.Contains(after, "its process runs: false") {
				t.Errorf("afterwards its state is %q", after)
			}
		})
	}
}
