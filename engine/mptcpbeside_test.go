package engine

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// The kernel's counters do not cover MPTCP: rules about it also look into namespaces that
// the counters show as empty.
func TestMPTCPAlone(t *testing.T) {
	if socklab.Apart(t) { // the kernel keeps subflows for a while
		return
	}
	e := newEmptied(t)
	about := e.program(t, `protocol == "mptcp" and `+counted)
	e.look(t, "empty, MPTCP, which is not counted", about, true, 0)
	l := socklab.ListenMPTCP(t, e.in, socklab.IPv4)
	e.look(t, "a listener of MPTCP alone", about, true, 1)
	client, server := l.Dial(t)
	must(t, "close", unix.Close(l.FD))
	l.FD = -1
	e.look(t, "both ends alone", about, true, 2)
	e.look(t, "UDP", e.program(t, `protocol == "udp"`), false, 0)
	for _, c := range []*socklab.Conn{client, server} {
		if isReset(c) {
			t.Error("it did not survive")
		}
	}
}

// An MPTCP server that no longer accepts is signalled, because of its listener or of what
// waits for it, by a rung that asks for this; connections are grouped by their listener.
func TestMPTCPStuckServer(t *testing.T) {
	if socklab.Apart(t) { // the kernel keeps subflows for a while
		return
	}
	for when, rung := range map[string]string{
		`state == "LISTEN" and recv_queue > 1`: forIt, "unaccepted": forIt, "unaccepted and age > 0.1": "{signal: {signal: TERM, listener: true, owners: all}, wait: 1m}",
	} {
		t.Run(when, func(t *testing.T) {
			listener := socklab.ListenMPTCP(t, socklab.Home(t), socklab.IPv4)
			for range 2 {
				listener.Queue(t)
			}
			server := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: listener.FD}}, Program: "stuck"})
			l := newLab(t, Options{Live: true}).stranger()
			for _, f := range l.untilAll(t, mptcpRule(listener, when, "{signal: TERM}"), report.DecideGuarded).Findings {
				if !server.Running() {
					t.Fatalf("it was signalled: %s", line(f))
				}
			}
			r := l.untilAll(t, mptcpRule(listener, when, rung), report.DecideAct)
			noErrors(t, r)
			for _, f := range r.Findings {
				expect(t, f, report.DecideAct, "", actions.Ended)
			}
			if ws := server.Wait(t); ws.Signal() != unix.SIGTERM {
				t.Errorf("it ended by %v", ws)
			}
		})
	}
	listener := socklab.ListenMPTCP(t, socklab.Home(t), socklab.IPv4)
	for range 2 {
		listener.Dial(t)
	}
	when := fmt.Sprintf(`protocol == "mptcp" and port == %d and state == "ESTABLISHED"`, listener.Addr.Port())
	l := newLab(t, Options{})
	groups := groupsOf(t, l.run(t, l.rules(t, groupRule(when, "listener", "count > 1", "log"))))
	if len(groups) != 1 || groups[0]["count"] != float64(2) || fmt.Sprint(groups[0]["key"]) != fmt.Sprintf("map[listener:%s]", listener.Addr) {
		t.Errorf("groups %v", groups)
	}
	if n := len(l.run(t, l.rules(t, groupRule(when, "listener", "sum_recv_queue < 1", "log"))).Findings); n != 0 {
		t.Errorf("%d findings by the sum of queues that are not known", n)
	}
}

// An MPTCP connection can live on over other addresses when its subflow has lost one that
// is gone.
func TestMPTCPAddressGone(t *testing.T) {
	if socklab.Apart(t) { // the kernel keeps subflows for a while
		return
	}
	l := newLab(t, Options{})
	leave := lend(t, "10.9.0.79/24")
	at := unix.SockaddrInet4{Addr: netip.MustParseAddr("10.9.0.79").As4()}
	socket := func() int {
		fd, err := socklab.Home(t).Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
		must(t, "socket", err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		must(t, "bind", unix.Bind(fd, &at))
		return fd
	}
	server := socket()
	must(t, "listen", unix.Listen(server, 1))
	own := addrPort(name(t, server))
	client := socket()
	if err := unix.Connect(client, sockaddr(own)); err != nil && err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	socklab.WaitFor(t, "the connection", func() bool {
		_, err := unix.Getpeername(client)
		return err == nil
	})
	found := func(protocol collectors.Protocol, more string) int {
		t.Helper()
		r := l.run(t, l.rules(t, ruleFile(fmt.Sprintf(`protocol == %q and remote_port == %d and %s`, protocol, own.Port(), more), "log")))
		noErrors(t, r)
		return len(r.Findings)
	}
	for _, p := range []collectors.Protocol{collectors.TCP, collectors.MPTCP} {
		if n := found(p, "known(local_addr_gone) and not local_addr_gone"); n != 1 {
			t.Errorf("%s, its address is there: %d findings", p, n)
		}
	}
	leave()
	if n := found(collectors.TCP, "local_addr_gone"); n != 1 {
		t.Errorf("its subflow has lost the address: %d findings", n)
	}
	if n := found(collectors.MPTCP, "not known(local_addr_gone)"); n != 1 {
		t.Errorf("of the whole connection that is not known: %d findings", n)
	}
}
