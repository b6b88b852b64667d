package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// mptcpRule is a rule about MPTCP connections to one port.
func mptcpRule(l *socklab.MPTCPListener, when, then string) string {
	return ruleFile(fmt.Sprintf(`protocol == "mptcp" && port == %d && %s`, l.Addr.Port(), when), then)
}

// isReset reports whether the kernel has reset a connection, or somebody has ended it.
func isReset(c *socklab.Conn) bool {
	_, err := unix.Getpeername(c.FD)
	if err == nil {
		_, _, err = unix.Recvfrom(c.FD, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNRESET)
}

// A rule with abort ends a whole MPTCP connection: both ends see it, and the connections
// beside it live on. Destroy is refused, and the reason says what would work.
func TestMPTCP(t *testing.T) {
	if socklab.Apart(t) { // the kernel keeps subflows for a while
		return
	}
	l := newLab(t, Options{Live: true}).stranger()
	listener := socklab.ListenMPTCP(t, socklab.Home(t), socklab.IPv4)
	client, server := listener.Dial(t)
	beside, _ := listener.Dial(t)
	one := fmt.Sprintf("remote_port == %d", client.Local.Port())
	of := func(then string) *report.Finding {
		r := l.run(t, l.rules(t, mptcpRule(listener, one, then)))
		found := findingsMPTCP(r, server)
		if len(found) != 1 {
			t.Fatalf("%d findings\n%s", len(found), describe(r))
		}
		return found[0]
	}
	f := of("destroy")
	expect(t, f, report.DecideGuarded, "MPTCP, which destroy is not for: abort ends the whole connection")
	if isReset(client) || isReset(server) {
		t.Fatal("it did not survive")
	}
	if f = of("abort"); f.Decision != report.DecideAct || !f.Last().Result.Succeeded() {
		t.Fatalf("%s", line(f))
	}
	for who, c := range map[string]*socklab.Conn{"client": client, "server": server} {
		socklab.WaitFor(t, "the "+who+" to see it", func() bool { return isReset(c) })
	}
	if isReset(beside) {
		t.Error("the connection beside it did not survive")
	}
}

// A rule spares an MPTCP connection unless what it reads is known: one look proves
// nothing, two looks prove an age, and a rule that does not read protocol is about TCP
// alone.
func TestMPTCPKnown(t *testing.T) {
	if socklab.Apart(t) { // the kernel keeps subflows for a while
		return
	}
	l := newLab(t, Options{})
	listener := socklab.ListenMPTCP(t, socklab.Home(t), socklab.IPv6)
	client, server := listener.Dial(t)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{server}, Comm: "multi"})
	must(t, "shutdown", unix.Shutdown(client.FD, unix.SHUT_WR))
	half := `state == "CLOSE_WAIT"`
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
		return len(findingsMPTCP(l.cycle(t, l.rules(t, mptcpRule(listener, half, "abort"))), server)) == 1
	})
	for when, found := range map[string]bool{
		half + ` && process == "multi" && known(mptcp_token) && direction == "inbound"`: true,
		half + ` && process != "multi"`: false,
		half + ` && idle >= 0`:          false,
		half + ` && eof_read`:           false,
		half + ` && recv_queue == 0`:    false,
		fmt.Sprintf("%s && pid == %d && family == 'ipv6' && owned", half, h.PID): true,
	} {
		r := l.cycle(t, l.rules(t, mptcpRule(listener, when, "abort")))
		if n := len(findingsMPTCP(r, server)); n == 1 != found || n > 1 {
			t.Errorf("%s: %d findings\n%s", when, n, describe(r))
		}
		if r.Summary.Scanned == 0 {
			t.Errorf("%s: nothing was scanned", when)
		}
	}
	aged := l.rules(t, mptcpRule(listener, half+" && age > 0.2", "abort"))
	fresh := newLab(t, Options{})
	if n := len(findingsMPTCP(fresh.cycle(t, aged), server)); n != 0 {
		t.Errorf("one look proves an age: %d findings", n)
	}
	socklab.WaitFor(t, "the age that a second look proves", func() bool {
		found := findingsMPTCP(fresh.cycle(t, aged), server)
		return len(found) == 1 && found[0].Facts.Age.Source == collectors.AgeObserved
	})
	r := l.cycle(t, l.rules(t, ruleFile(fmt.Sprintf("port == %d", listener.Addr.Port()), "abort")))
	if n := len(findingsMPTCP(r, server)); n != 0 || len(r.Findings) == 0 {
		t.Errorf("a rule that does not read protocol: %d findings\n%s", n, describe(r))
	}
}

// A connection that took another's place has its own age: the token tells them apart
// where cookie, ends and state are the same.
func TestMPTCPAgain(t *testing.T) {
	if socklab.Apart(t) { // the kernel keeps subflows for a while
		return
	}
	l := newLab(t, Options{})
	listener := socklab.ListenMPTCP(t, socklab.Home(t), socklab.IPv4)
	probe, err := socklab.Home(t).Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	own := unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	must(t, "bind", unix.Bind(probe, &own))
	own.Port = int(addrPort(name(t, probe)).Port())
	_ = unix.Close(probe) // its port is free now and can be asked for
	fd, err := socklab.Home(t).Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	must(t, "socket", err)
	defer unix.Close(fd)
	must(t, "bind", unix.Bind(fd, &own))
	connect := func() {
		to := unix.SockaddrInet4{Addr: listener.Addr.Addr().As4(), Port: int(listener.Addr.Port())}
		if err := unix.Connect(fd, &to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			t.Fatalf("connect: %v", err)
		}
		socklab.WaitFor(t, "the connection", func() bool {
			_, err := unix.Getpeername(fd)
			return err == nil
		})
	}
	of := func(more string) []*report.Finding {
		when := fmt.Sprintf(`protocol == "mptcp" && port == %d && state == "ESTABLISHED" && known(mptcp_token)%s`, own.Port, more)
		return l.cycle(t, l.rules(t, ruleFile(when, "abort"))).Findings
	}
	connect()
	socklab.WaitFor(t, "its age", func() bool { return len(of(" && age > 0.5")) == 1 })
	before := of("")[0]
	began := time.Now()
	(&sock{fd: fd}).disconnect(t)
	connect()
	after := of("")
	if len(after) != 1 || collectors.KeyOf(&after[0].Socket) != collectors.KeyOf(&before.Socket) || after[0].Socket.Token == before.Socket.Token {
		t.Fatalf("it is not the same socket with another connection: %+v, %+v", after, before.Socket)
	}
	var aged []*report.Finding
	socklab.WaitFor(t, "the age of the new connection", func() bool {
		aged = of(" && age > 0")
		return len(aged) == 1
	})
	if age := aged[0].Facts.Age.Min; age > time.Since(began).Seconds() {
		t.Errorf("the new connection has the age of the old one: %v s after %v", age, time.Since(began))
	}
}

// Guards hold for MPTCP as for TCP: the listener, connections that wait to be accepted,
// protected processes, sockwarden's own sockets.
func TestMPTCPGuards(t *testing.T) {
	if socklab.Apart(t) { // the kernel keeps subflows for a while
		return
	}
	listener := socklab.ListenMPTCP(t, socklab.Home(t), socklab.IPv4)
	_, server := listener.Dial(t)
	_, sshd := listener.Dial(t)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{sshd}, Comm: "sshd"})
	queued := listener.Queue(t)
	waiting := &socklab.Conn{FD: -1, Local: queued.Remote, Remote: queued.Local}
	listens := &socklab.Conn{FD: -1, Local: listener.Addr, Remote: netip.AddrPortFrom(netip.IPv4Unspecified(), 0)}
	rule := mptcpRule(listener, "true", "abort")
	l := newLab(t, Options{Live: true})
	var r *report.Report
	socklab.WaitFor(t, "the one that waits to be accepted", func() bool {
		r = l.run(t, l.rules(t, rule))
		return len(findingsMPTCP(r, waiting)) == 1
	})
	for what, want := range map[string]struct {
		c      *socklab.Conn
		reason string
	}{
		"own": {server, "sockwarden's own"}, "sshd": {sshd, "protected process"}, "waiting": {waiting, "sockwarden's own"}, "listener": {listens, "listener"},
	} {
		found := findingsMPTCP(r, want.c)
		if len(found) != 1 {
			t.Fatalf("%s: %d findings\n%s", what, len(found), describe(r))
		}
		expect(t, found[0], report.DecideGuarded, want.reason)
	}
	rule = mptcpRule(listener, fmt.Sprintf("remote_port == %d", queued.Local.Port()), "abort")
	found := findingsMPTCP(newLab(t, Options{Live: true}).stranger().run(t, l.rules(t, rule)), waiting)
	if len(found) != 1 {
		t.Fatalf("%d findings of what waits", len(found))
	}
	expect(t, found[0], report.DecideGuarded, "no process has it")
	if isReset(queued) || isReset(server) {
		t.Error("they did not survive")
	}
}

// findingsMPTCP are the findings about a whole connection.
func findingsMPTCP(r *report.Report, c *socklab.Conn) []*report.Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f *report.Finding) bool {
		local, remote := ends(&f.Socket)
		return f.Socket.Protocol != collectors.MPTCP || local != c.Local || remote != c.Remote
	})
}
