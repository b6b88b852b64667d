package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/destroy"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/tunpeer"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// everyone is a lab whose namespaces are all known, as they are to root on a host. The
// tests' PID namespace does not show what runs outside.
type everyone struct{ world.Namespaces }

func (e everyone) Every() ([]world.Namespace, error) { return e.All() }

// peerOf is what a finding knows about the other end, as PID and name; ? is unknown.
func peerOf(f *report.Finding) string {
	text := []string{"?", "?"}
	record := f.Record()
	for i, field := range []collectors.Field{collectors.FieldPeerPID, collectors.FieldPeerProcess} {
		if v, ok := collectors.Value(field, &record); ok {
			text[i] = fmt.Sprint(v)
		}
	}
	return strings.Join(text, " ")
}

// The process at the other end is known from both ends, even in another namespace and for
// a socket that is bound to a device.
func TestOtherEnds(t *testing.T) {
	for _, device := range []string{"", "peer0"} {
		for _, f := range socklab.Families() {
			t.Run(string(f)+device, func(t *testing.T) {
				l := newLab(t, Options{})
				l.world.Namespaces = everyone{l.world.Namespaces}
				here := socklab.Make(t, socklab.Established, f)
				other := &socklab.Conn{Kind: here.Kind, Family: f, Local: here.Remote, Remote: here.Local, FD: here.Peer, Peer: here.FD}
				if device != "" {
					must(t, "SO_BINDTODEVICE", unix.BindToDevice(here.Peer, device))
				}
				mine, theirs := holder(t, here), holder(t, other)
				text := "netns: all\n" + ruleFile(fmt.Sprintf("port in [%d, %d] and peer_pid > 0", here.Local.Port(), other.Local.Port()), "log", "mode: observe")
				r := l.run(t, l.rules(t, text))
				noErrors(t, r)
				for c, pid := range map[*socklab.Conn]int{here: theirs.PID, other: mine.PID} {
					if got, want := peerOf(findingOf(t, r, c)), fmt.Sprintf("%d %s", pid, program()); got != want {
						t.Errorf("%s: %q, not %q", c.Local, got, want)
					}
				}
			})
		}
	}
}

// A peer that is not a socket of this host is known not to be one if all of the host's
// namespaces could be looked at.
func TestOtherEndElsewhere(t *testing.T) {
	d := tunpeer.Open(t)
	for every, want := range map[bool]string{true: "0 ", false: "? ?"} {
		t.Run(fmt.Sprint(every), func(t *testing.T) {
			l := newLab(t, Options{})
			if !every && !l.world.Owners.Coverage().Inside {
				t.Skip("this PID namespace shows every process of the host")
			}
			if every {
				l.world.Namespaces = everyone{l.world.Namespaces}
			}
			s, c := bound(t, tunpeer.Local(false)), d.Await(false)
			s.connect(t, c.Peer)
			s.until(t, collectors.Established)
			r := l.run(t, l.rules(t, ruleFile(fmt.Sprintf("port == %d and (peer_pid >= 0 or pid >= 0)", s.local.Port()), "log", "mode: observe")))
			if len(r.Findings) != 1 || peerOf(r.Findings[0]) != want {
				t.Errorf("%s", describe(r))
				for _, f := range r.Findings {
					t.Errorf("%q, not %q", peerOf(f), want)
				}
			}
		})
	}
}

// A rule on the process at the other end ends only that process's loopback connection.
func TestOtherEndOnLoopback(t *testing.T) {
	l := newLab(t, Options{Live: true}).stranger()
	listener := bound(t, netip.MustParseAddr("127.0.0.1"))
	must(t, "listen", unix.Listen(listener.fd, 8))
	var servers []collectors.Socket
	var clients []*sock
	for range 2 {
		c := bound(t, netip.MustParseAddr("127.0.0.1"))
		c.connect(t, listener.local)
		c.until(t, collectors.Established)
		fd, _, err := unix.Accept4(listener.fd, unix.SOCK_CLOEXEC)
		must(t, "accept", err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		s := recordOfPeer(t, c.local)
		servers, clients = append(servers, s), append(clients, c)
	}
	// The first connection's client is in another process, too.
	child := holder(t, &socklab.Conn{Kind: socklab.Established, Family: socklab.IPv4, Local: clients[0].local, Remote: listener.local, FD: clients[0].fd, Peer: -1})
	when := fmt.Sprintf("port == %d and peer_pid == %d", listener.local.Port(), child.PID)
	r := l.run(t, l.rules(t, ruleFile(when, destroy.Plugin().Name)))
	if len(r.Findings) != 1 || r.Findings[0].Socket.Cookie != servers[0].Cookie {
		t.Fatal(describe(r))
	}
	expect(t, r.Findings[0], report.DecideAct, "", actions.FDStillHeld)
	if left := sockets(t); left[servers[0].Cookie].Cookie != 0 || left[servers[1].Cookie].Cookie == 0 {
		t.Errorf("the wrong one is gone")
	}
}

// recordOfPeer is the record of the socket here that is connected to remote.
func recordOfPeer(t *testing.T, remote netip.AddrPort) collectors.Socket {
	t.Helper()
	for _, s := range sockets(t) {
		if _, r := ends(&s); r == remote && s.State != collectors.Listen {
			return s
		}
	}
	t.Fatalf("no socket is connected to %s", remote)
	return collectors.Socket{}
}
