package sockdiag

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// Whatever a descriptor tells about its connection agrees with the kernel's record.
func TestOfDescriptor(t *testing.T) {
	socklab.Need(t)
	told := 0
	for _, k := range socklab.Kinds() {
		if !k.Owned() {
			continue
		}
		for _, f := range socklab.Families() {
			t.Run(k.String()+"/"+string(f), func(t *testing.T) {
				c := socklab.Make(t, k, f)
				got, err := OfDescriptor(c.FD)
				connection := k.Protocol() == collectors.TCP && k != socklab.Listen && k != socklab.Bound && k.State() != collectors.SynSent
				if !connection {
					if !errors.Is(err, collectors.ErrNotSupported) {
						t.Errorf("%+v, %v", got, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				told++
				conn, err := Dial(-1)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				want, err := conn.Get(t.Context(), &got)
				if err != nil {
					t.Fatalf("it is not found by what was told: %v\n%+v", err, got)
				}
				if collectors.KeyOf(&got) != collectors.KeyOf(&want) || got.Family != want.Family || got.Inode != want.Inode || got.UID != want.UID ||
					got.IfIndex != want.IfIndex || got.SendQueue != want.SendQueue {
					t.Errorf("%+v, not\n%+v", got, want)
				}
				if info := got.Known.And(collectors.InfoFields()); info != want.Known.And(collectors.InfoFields()) {
					t.Errorf("of tcp_info %v is known, not %v", info, want.Known.And(collectors.InfoFields()))
				}
				if got.Known.Has(collectors.FieldRecvQueue) || got.Known.Has(collectors.FieldEOFRead) || got.Known.Has(collectors.FieldTimer) {
					t.Errorf("known %v", got.Known)
				}
			})
		}
	}
	if told < 10 {
		t.Errorf("%d connections", told)
	}
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	if err := unix.SetsockoptString(c.FD, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lab0"); err != nil {
		t.Fatal(err)
	}
	if s, err := OfDescriptor(c.FD); err != nil || s.IfIndex == 0 {
		t.Errorf("device %d, %v", s.IfIndex, err)
	}
}

// Anything but a connection is not taken for one.
func TestOfNoConnection(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	for _, fd := range []int{fds[0], -1} {
		if s, err := OfDescriptor(fd); err == nil {
			t.Errorf("%d: %+v", fd, s)
		}
	}
}
