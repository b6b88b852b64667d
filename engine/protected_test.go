package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// An action on one connection can opt in to those of protected processes, and an action
// that takes nothing from a living connection need not. Listeners, sockets without a
// peer, and sockets of an init stay out of reach.
func TestProtectedOptIn(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for _, test := range []struct {
		program string
		kind    socklab.Kind
		then    string
		result  actions.Result // "" for guarded
		reason  string
	}{
		{"docker-proxy", socklab.CloseWait, "{destroy: {protected: true}}", actions.FDStillHeld, ""},
		{"sshd-session", socklab.Established, "{destroy: {protected: true}}", actions.FDStillHeld, ""},
		{"containerd-shim-runc-v2", socklab.CloseWait, "{abort: {protected: true}}", actions.FDStillHeld, ""},
		{"sshd", socklab.Established, "{shutdown: both, protected: true}", actions.Done, ""},
		{"docker-proxy", socklab.Established, "repair", actions.Repaired, ""},
		{"tailscaled", socklab.UDPConnected, "{destroy: {protected: true, udp: true}}", actions.FDStillHeld, ""},

		{"docker-proxy", socklab.CloseWait, "destroy", "", "protected process docker-proxy: needs {destroy: {protected: true}}"},
		{"docker-proxy", socklab.CloseWait, "{destroy: {protected: false}}", "", "protected process docker-proxy: needs {destroy: {protected: true}}"},
		{"sshd", socklab.CloseWait, "abort", "", "protected process sshd: needs {abort: {protected: true}}"},
		{"sshd", socklab.CloseWait, "{shutdown: read}", "", "protected process sshd: needs {shutdown: {protected: true}}"},
		{"sshd", socklab.CloseWait, "{signal: TERM}", "", "protected process sshd"},
		{"sshd", socklab.Listen, cutAll, "", "protected process sshd"},
		{"tailscaled", socklab.UDPBound, cutAll, "", "protected process tailscaled"},
		{"systemd", socklab.CloseWait, cutAll, "", "protected process systemd"},
		{"init", socklab.Established, "{abort: {protected: true}}", "", "protected process init"},
	} {
		t.Run(test.program+" "+test.kind.String()+" "+test.then, func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			c := socklab.Make(t, test.kind, socklab.IPv4)
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: test.program})
			f := findingOf(t, l.run(t, l.rules(t, ruleFile("("+anySocket+") && "+port(c), test.then))), c)
			if !h.Running() {
				t.Error("its process did not survive")
			}
			if test.result != "" {
				expect(t, f, report.DecideAct, "", test.result)
				return
			}
			expect(t, f, report.DecideGuarded, test.reason)
			if !strings.HasSuffix(f.Reason, test.reason) {
				t.Errorf("promises an opt-in that there is not: %s", f.Reason)
			}
			if !alive(c) {
				t.Error("it did not survive")
			}
		})
	}
}

// The opt-in of one rung does not hold for the next: a protected process is never
// signalled, even where its descriptor is left.
func TestProtectedLadder(t *testing.T) {
	l := newLab(t, Options{Live: true})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "docker-proxy"})
	then := `{destroy: {protected: true}}, {signal: KILL, if: result == "fd_still_held"}`
	f := findingOf(t, l.run(t, l.rules(t, ruleFile(port(c), then))), c)
	expect(t, f, report.DecideAct, "", actions.FDStillHeld)
	if !strings.Contains(f.Actions[0].Detail, "guarded: protected process docker-proxy") || !h.Running() {
		t.Errorf("%+v, runs: %t", f.Actions, h.Running())
	}
}

// Even with the opt-in, all others that have the socket are looked at.
func TestProtectedAndOthers(t *testing.T) {
	t.Run("own", func(t *testing.T) {
		l := newLab(t, Options{Live: true})
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true, Program: "docker-proxy"})
		mustSpare(t, l, c, "sockwarden's own")
	})
	t.Run("rung without", func(t *testing.T) {
		l := newLab(t, Options{Live: true})
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true, Program: "web"})
		socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "docker-proxy"})
		f := findingOf(t, l.run(t, l.rules(t, ruleFile(port(c), "destroy"))), c)
		expect(t, f, report.DecideGuarded, "protected process docker-proxy: needs")
		f = findingOf(t, l.run(t, l.rules(t, ruleFile(port(c), "{destroy: {protected: true}}"))), c)
		expect(t, f, report.DecideAct, "", actions.FDStillHeld)
	})
}

// The same opt-in allows acting on what waits in the queue of a protected process, but
// not if it may be waiting for a listener of sockwarden's own, or for one that no visible
// process has.
func TestProtectedQueue(t *testing.T) {
	at := func(t *testing.T, port int) *socklab.Conn {
		return listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: port}, "", unix.SO_REUSEPORT)
	}
	come := func(t *testing.T, port uint16) {
		come(t, socklab.Peer(t), netip.AddrPortFrom(netip.MustParseAddr("10.9.0.1"), port), 10)
	}
	run := func(t *testing.T, l *lab, port uint16, then string, d report.Decision, reason string, results ...actions.Result) {
		t.Helper()
		before := len(waiting(t, port))
		r := l.run(t, l.rules(t, ruleFile(fmt.Sprintf("port == %d && unaccepted", port), then, "limits: {per_cycle: 1000, cooldown: 0}")))
		if !strings.Contains(reason, "not visible") { // the report says that as an error, too
			noErrors(t, r)
		}
		if len(r.Findings) != before {
			t.Fatalf("%d findings, not %d\n%s", len(r.Findings), before, describe(r))
		}
		for _, f := range r.Findings {
			expect(t, f, d, reason, results...)
		}
		left := before
		if d == report.DecideAct {
			left = 0
		}
		if n := len(waiting(t, port)); n != left {
			t.Errorf("%d of %d are left, not %d", n, before, left)
		}
	}
	t.Run("opened", func(t *testing.T) {
		sshd := at(t, 7020)
		come(t, 7020)
		give(t, sshd, "sshd")
		l := newLab(t, Options{Live: true})
		run(t, l, 7020, "destroy", report.DecideGuarded, "waits to be accepted: protected process sshd: needs {destroy: {protected: true}}")
		run(t, l, 7020, "{destroy: {protected: true}}", report.DecideAct, "", actions.Gone)
	})
	t.Run("own too", func(t *testing.T) {
		sshd, own := at(t, 7021), at(t, 7021)
		come(t, 7021)
		give(t, sshd, "sshd")
		run(t, newLab(t, Options{Live: true}), 7021, "{destroy: {protected: true}}", report.DecideGuarded, "waits to be accepted: sockwarden's own")
		own.CloseFD()
	})
	t.Run("unseen too", func(t *testing.T) {
		sshd, other := at(t, 7022), at(t, 7022)
		come(t, 7022)
		give(t, sshd, "sshd")
		adrift(t, other)
		then := "{destroy: {protected: true}}"
		run(t, newLab(t, Options{Live: true}), 7022, "destroy", report.DecideGuarded, "waits to be accepted: protected process sshd")
		run(t, newLab(t, Options{Live: true}), 7022, then, report.DecideGuarded, "waits to be accepted: owner of its listener not visible")
		run(t, newLab(t, Options{Live: true, AllowUnknownOwner: true}), 7022, then, report.DecideAct, "", actions.Gone)
	})
}

// adrift leaves a socket to nobody that /proc shows: its descriptor is in a message that
// is not received.
func adrift(t *testing.T, c *socklab.Conn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, "socketpair", err)
	t.Cleanup(func() {
		_ = unix.Close(pair[0])
		_ = unix.Close(pair[1])
	})
	must(t, "send", unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(c.FD), nil, 0))
	c.CloseFD()
}
