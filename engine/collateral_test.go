package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
)

// connected makes connections over a namespace's loopback: n accepted ones, and n that
// wait for the listener, which comes last.
func connected(t *testing.T, ns *socklab.Namespace, n int) []*socklab.Conn {
	t.Helper()
	open := func() int {
		fd, err := ns.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		must(t, "socket", err)
		return fd
	}
	l := &socklab.Conn{FD: open()}
	t.Cleanup(l.CloseFD)
	must(t, "bind", unix.Bind(l.FD, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, "listen", unix.Listen(l.FD, 2*n+1))
	var all []*socklab.Conn
	for i := range 2 * n {
		client := &socklab.Conn{FD: open()}
		t.Cleanup(client.CloseFD)
		if err := unix.Connect(client.FD, name(t, l.FD)); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		socklab.WaitFor(t, "the connection", func() bool { return backlog(t, l.FD) == max(1, i-n+1) })
		if i < n {
			fd, _, err := unix.Accept4(l.FD, unix.SOCK_CLOEXEC)
			must(t, "accept", err)
			c := &socklab.Conn{FD: fd}
			t.Cleanup(c.CloseFD)
			all = append(all, c)
		}
	}
	return append(all, l)
}

// Connections that wait to be accepted are lost with the listener's process, and so are
// its connections in namespaces other than that of the socket in question.
func TestCollateralEverywhere(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for _, test := range []struct {
		name string
		more func(t *testing.T) []*socklab.Conn // what else the process has
		want int
	}{
		{"accept queue", func(t *testing.T) []*socklab.Conn {
			l := listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7101}, "")
			come(t, socklab.Peer(t), netip.MustParseAddrPort("10.9.0.1:7101"), 3)
			return []*socklab.Conn{l}
		}, 3},
		{"accept queue of both families", func(t *testing.T) []*socklab.Conn {
			l := listenOn(t, unix.AF_INET6, &unix.SockaddrInet6{Port: 7102}, "")
			come(t, socklab.Peer(t), netip.MustParseAddrPort("10.9.0.1:7102"), 2)
			come(t, socklab.Peer(t), netip.MustParseAddrPort("[fd00:9::1]:7102"), 1)
			return []*socklab.Conn{l}
		}, 3},
		{"accept queue of another process", func(t *testing.T) []*socklab.Conn {
			other := listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7103}, "lab0")
			come(t, socklab.Peer(t), netip.MustParseAddrPort("10.9.0.1:7103"), 3)
			give(t, other, "other")
			return []*socklab.Conn{listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7103}, "lo")} // on another device
		}, 0},
		{"accept queue that may be another's", func(t *testing.T) []*socklab.Conn {
			mine := listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7104}, "", unix.SO_REUSEPORT)
			give(t, listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7104}, "", unix.SO_REUSEPORT), "other")
			come(t, socklab.Peer(t), netip.MustParseAddrPort("10.9.0.1:7104"), 3)
			return []*socklab.Conn{mine}
		}, 3},
		{"namespace", func(t *testing.T) []*socklab.Conn {
			return connected(t, socklab.NewNamespace(t, "elsewhere"), 2)
		}, 4},
		{"namespace without a name", func(t *testing.T) []*socklab.Conn {
			return connected(t, socklab.NewNamelessNamespace(t), 2)
		}, 4},
		{"two namespaces and this", func(t *testing.T) []*socklab.Conn {
			all := append(connected(t, socklab.NewNamespace(t, "one"), 1), connected(t, socklab.NewNamespace(t, "two"), 2)...)
			return append(all, socklab.Make(t, socklab.Established, socklab.IPv4))
		}, 7},
		{"nothing healthy", func(t *testing.T) []*socklab.Conn {
			fd, err := socklab.NewNamespace(t, "elsewhere").Socket(unix.AF_INET, unix.SOCK_STREAM, 0) // like a destroyed one
			must(t, "socket", err)
			fresh := &socklab.Conn{FD: fd}
			t.Cleanup(fresh.CloseFD)
			return []*socklab.Conn{
				fresh, socklab.Make(t, socklab.Bound, socklab.IPv4), socklab.Make(t, socklab.UDPConnected, socklab.IPv4),
				socklab.Make(t, socklab.Listen, socklab.IPv4), socklab.Make(t, socklab.SynSent, socklab.IPv6), socklab.Make(t, socklab.CloseWait, socklab.IPv6),
			}
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			hung := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			h := holder(t, append(test.more(t), hung)...)
			l := newLab(t, Options{Live: true})
			text := ruleFile(port(hung), "{signal: TERM, wait: 1m}", "limits: {max_collateral: %d}")
			if test.want > 0 {
				f := findingOf(t, l.run(t, l.rules(t, fmt.Sprintf(text, test.want-1))), hung)
				expect(t, f, report.DecideLimited, fmt.Sprintf("max_collateral %d: %s would die with %s[%d]", test.want-1, collectors.Counted(test.want, "established connection"), program(), h.PID))
				if !h.Running() {
					t.Fatal("it was ended")
				}
			}
			f := findingOf(t, l.run(t, l.rules(t, fmt.Sprintf(text, test.want))), hung)
			expect(t, f, report.DecideAct, "", actions.Ended)
			died := collectors.Counted(test.want, "established connection") + " died with it"
			if test.want == 0 {
				died = ""
			}
			if strings.HasSuffix(test.name, "another's") && f.Last().Detail != died { // some were another's
				died = fmt.Sprintf("of its %s died with it", collectors.Counted(test.want, "established connection"))
			}
			if got := f.Last().Detail; f.Collateral != test.want || !strings.HasSuffix(got, died) || died == "" && got != "" {
				t.Errorf("%d, want %d: %s", f.Collateral, test.want, line(f))
			}
		})
	}
	if all, err := netns.List(); err != nil || len(all) != 2 {
		t.Errorf("namespaces are left: %v, %v", all, err)
	}
}

// Without the right to open a process's sockets, the engine cannot tell whether it has
// connections in other namespaces, and says so only if it has any.
func TestCollateralUnborrowed(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		hung := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		conns := []*socklab.Conn{hung, socklab.Make(t, socklab.UDPBound, socklab.IPv4)}
		if foreign {
			conns = append(conns, connected(t, socklab.NewNamespace(t, "elsewhere"), 1)...)
		}
		h := holder(t, conns...)
		l := newLab(t, Options{})
		p := l.rules(t, ruleFile(port(hung), "{signal: TERM}", "limits: {max_collateral: 100}"))
		o, err := procfs.New("").Describe(h.PID)
		must(t, "describe", err)
		var held look.Harm
		c := &look.Picture{Wanted: look.Wanted{Program: p, Plan: p}}
		plugin, err := l.actions.Get("signal")
		must(t, "signal", err)
		bound, err := plugin.Bind(map[string]any{"signal": "TERM"})
		must(t, "bind", err)
		must(t, "without CAP_NET_ADMIN", socklab.WithoutCapability(t, func() error {
			held = l.judge.Harms.Of(t.Context(), c, findingOf(t, l.run(t, p), hung).Candidate, &o, bound)
			return nil
		}, unix.CAP_NET_ADMIN))
		if why := held.Exceeds(100); foreign != strings.Contains(why, "cannot tell") {
			t.Errorf("in another namespace %t: %q", foreign, why)
		}
	}
}
