package sockdiag

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// The mark of a socket is shown in every state, but only to a user who may set one.
func TestMark(t *testing.T) {
	socklab.Need(t)
	l := socklab.NewListener(t, socklab.IPv4, 0)
	must(t, "mark", unix.SetsockoptInt(l.FD, unix.SOL_SOCKET, unix.SO_MARK, 77))
	for _, k := range []socklab.Kind{socklab.CloseWait, socklab.FinWait2Orphan, socklab.TimeWait, socklab.LastAckOrphan, socklab.EstablishedUnaccepted} {
		t.Run(k.String(), func(t *testing.T) {
			c, subject := dialTest(t, -1), l.Make(t, k)
			if s := find(t, c, subject); !s.Known.Has(collectors.FieldMark) || s.Mark != 77 {
				t.Errorf("mark %d, known %t", s.Mark, s.Known.Has(collectors.FieldMark))
			}
		})
	}
	u := socklab.Make(t, socklab.UDPConnected, socklab.IPv6)
	must(t, "mark", unix.SetsockoptInt(u.FD, unix.SOL_SOCKET, unix.SO_MARK, 1<<31))
	if s := find(t, dialTest(t, -1), u); s.Mark != 1<<31 {
		t.Errorf("mark of UDP %#x", s.Mark)
	}
	must(t, "without a capability", socklab.WithoutCapability(t, func() error {
		c, err := Dial(-1)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		for s, err := range c.Dump(t.Context(), everything) {
			if err != nil {
				return err
			}
			if s.Known.Has(collectors.FieldMark) || s.Mark != 0 {
				return fmt.Errorf("mark %d is shown", s.Mark)
			}
		}
		return nil
	}, unix.CAP_NET_ADMIN))
}

// The congestion control is the connection's, whatever the system's is.
func TestCongestion(t *testing.T) {
	for _, name := range []string{"reno", "cubic"} {
		c := socklab.Make(t, socklab.Established, socklab.Mapped)
		if err := unix.SetsockoptString(c.FD, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name); err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		s := find(t, dialTest(t, -1), c)
		if !s.Known.Has(collectors.FieldCongestion) || s.Congestion.String() != name {
			t.Errorf("%q, not %s, known %t", s.Congestion, name, s.Known.Has(collectors.FieldCongestion))
		}
	}
}

// Datagrams that a UDP socket had no room for are counted; TCP counts something else
// there.
func TestDrops(t *testing.T) {
	c := socklab.Make(t, socklab.UDPConnected, socklab.IPv4)
	must(t, "receive buffer", unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10))
	const sent = 100
	for range sent {
		must(t, "send", unix.Sendto(c.Peer, make([]byte, 1000), 0, &unix.SockaddrInet4{Addr: c.Local.Addr().As4(), Port: int(c.Local.Port())}))
	}
	var s collectors.Socket
	socklab.WaitFor(t, "drops", func() bool {
		s = find(t, dialTest(t, -1), c)
		return s.Drops > 0
	})
	room := make([]byte, 2000)
	got := uint32(0)
	for {
		if n, err := unix.Read(c.FD, room); n <= 0 || err != nil {
			break
		}
		got++
	}
	s = find(t, dialTest(t, -1), c)
	if !s.Known.Has(collectors.FieldDrops) || s.Drops+got != sent {
		t.Errorf("%d dropped and %d received of %d", s.Drops, got, sent)
	}
	if s := find(t, dialTest(t, -1), socklab.Make(t, socklab.Listen, socklab.IPv4)); s.Known.Has(collectors.FieldDrops) {
		t.Error("drops of a TCP listener are known")
	}
}
