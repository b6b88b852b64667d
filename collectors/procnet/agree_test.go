package procnet

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
)

var everything = collectors.Query{
	Protocols: []collectors.Protocol{collectors.TCP, collectors.UDP},
	States:    collectors.AllStates,
}

type identity struct {
	protocol      collectors.Protocol
	family        collectors.Family
	state         collectors.State
	local, remote collectors.Addr
	ports         [2]uint16
	inode         uint32
}

func collect(t *testing.T, p collectors.Plugin, netns int) map[identity]collectors.Socket {
	t.Helper()
	all := map[identity]collectors.Socket{}
	for s, err := range p.New(netns).Collect(t.Context(), everything) {
		must(t, p.Name, err)
		if s.Protocol == collectors.TCP && s.State == collectors.Close {
			continue // bound, not listening: /proc/net does not show them
		}
		all[identity{s.Protocol, s.Family, s.State, s.Local, s.Remote, [2]uint16{s.LocalPort, s.RemotePort}, s.Inode}] = *s
	}
	return all
}

// differences compares every field that both sources know.
func differences(here, there map[identity]collectors.Socket) string {
	var b strings.Builder
	for id, s := range there {
		if _, ok := here[id]; !ok {
			fmt.Fprintf(&b, "only sock_diag has %+v\n", s)
		}
	}
	for id, s := range here {
		other, ok := there[id]
		if !ok {
			fmt.Fprintf(&b, "only /proc/net has %+v\n", s)
			continue
		}
		r, o := collectors.NewRecord(&s, nil, nil, nil, ""), collectors.NewRecord(&other, nil, nil, nil, "")
		for f := range r.Known.And(o.Known).Each {
			v, _ := collectors.Value(f, &r)
			w, _ := collectors.Value(f, &o)
			switch {
			case f == collectors.FieldTimerExpires && math.Abs(v.(float64)-w.(float64)) < 0.5:
			case f == collectors.FieldRetransmits && s.State == collectors.SynRecv: // sock_diag also counts those that the peer asked for
			case v != w:
				fmt.Fprintf(&b, "%s is %v, not %v, in %+v\n", f, v, w, s)
			}
		}
	}
	return b.String()
}

// agree compares what both sources show, at least twice: sockets change in between.
func agree(t *testing.T, netns, atLeast int) {
	t.Helper()
	diff := ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(diff)
		}
	})
	socklab.WaitFor(t, "both sources to agree", func() bool {
		here := collect(t, Plugin(), netns)
		if diff = differences(here, collect(t, sockdiag.Plugin(), netns)); diff != "" {
			return false
		}
		if len(here) < atLeast {
			t.Fatalf("%d sockets of %d", len(here), atLeast)
		}
		for _, s := range here {
			checkNet(t, &s)
		}
		return true
	})
}

// /proc/net shows the same as sock_diag, for sockets of every kind.
func TestAgreesWithSockDiag(t *testing.T) {
	leakCheck(t)
	socklab.Need(t)
	n := 0
	for _, k := range socklab.Kinds() {
		for _, f := range socklab.Families() {
			socklab.Make(t, k, f)
			if k != socklab.Bound {
				n++
			}
		}
	}
	agree(t, -1, n)
	agree(t, socklab.Home(t).FD(), n)
	agree(t, socklab.Peer(t).FD(), n/2)
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	must(t, "pidfd_open", err)
	defer unix.Close(pidfd)
	agree(t, pidfd, n)
}

// A namespace shows its own sockets and no others, and the thread leaves it again.
func TestOtherNamespace(t *testing.T) {
	leakCheck(t)
	other := socklab.NewNamespace(t, "other")
	fd, err := other.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	must(t, "socket", err)
	defer unix.Close(fd)
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet6{Port: 5353}))
	socklab.Make(t, socklab.Listen, socklab.IPv4)
	agree(t, other.FD(), 1)
	all := collect(t, Plugin(), other.FD())
	for id := range all {
		if len(all) != 1 || id.inode != inodeOf(t, fd) || id.ports != [2]uint16{5353, 0} || id.protocol != collectors.UDP {
			t.Errorf("the namespace shows %+v", all)
		}
	}
	if own := collect(t, Plugin(), -1); len(own) == 0 || own[identity{}].LocalPort == 5353 {
		t.Errorf("ours shows %+v", own)
	}
}

// Both sources count unanswered keepalives as probes.
func TestProbesAgree(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	for opt, v := range map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 1} {
		must(t, "keepalive", unix.SetsockoptInt(c.FD, unix.SOL_TCP, opt, v))
	}
	// The peer loses everything that arrives.
	deaf := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	must(t, "SO_ATTACH_FILTER", unix.SetsockoptSockFprog(c.Peer, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &deaf[0]}))
	must(t, "SO_KEEPALIVE", unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	socklab.WaitFor(t, "a probe", func() bool {
		for _, s := range collect(t, Plugin(), -1) {
			if s.LocalPort == c.Local.Port() && s.Timer == collectors.TimerKeepalive && s.Retransmits > 0 {
				return true
			}
		}
		return false
	})
	agree(t, -1, 1)
}

func TestNamespaceNotPermitted(t *testing.T) {
	peer := socklab.Peer(t)
	socklab.AsNobody(t, func() {
		n := 0
		for _, err := range Plugin().New(peer.FD()).Collect(t.Context(), everything) {
			if n++; !errors.Is(err, collectors.ErrNotPermitted) {
				t.Errorf("enter a namespace: %v", err)
			}
		}
		if n != 1 {
			t.Errorf("%d records", n)
		}
		collect(t, Plugin(), -1)
	})
}

func TestNamespaceNotOpen(t *testing.T) {
	n := 0
	for _, err := range Plugin().New(1<<20).Collect(t.Context(), everything) {
		if n++; !errors.Is(err, os.ErrInvalid) {
			t.Errorf("a descriptor that is not open: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d records", n)
	}
}
