package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/stuck"
	"sockwarden/engine/act"
	"sockwarden/engine/catalog"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// there returns a connection to the peer namespace and its other end, which a process of
// its own holds there.
func there(t *testing.T, k socklab.Kind) (here, other *socklab.Conn) {
	t.Helper()
	here = socklab.Make(t, socklab.Established, socklab.IPv4)
	other = &socklab.Conn{Kind: k, Family: socklab.IPv4, Local: here.Remote, Remote: here.Local, FD: here.Peer, Peer: here.FD}
	here.Peer = -1
	holder(t, other)
	if k == socklab.CloseWait {
		must(t, "shutdown", unix.Shutdown(here.FD, unix.SHUT_WR))
		socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
			s, _ := procStateIn(t, socklab.Peer(t), other)
			return s == collectors.CloseWait
		})
	}
	return here, other
}

// procStateIn is the state of a socket in another namespace.
func procStateIn(t testing.TB, n *socklab.Namespace, c *socklab.Conn) (collectors.State, bool) {
	t.Helper()
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates}
	for s, err := range sockdiag.Plugin().New(n.FD()).Collect(t.Context(), q) {
		must(t, "dump", err)
		if l, r := ends(s); l == c.Local && r == c.Remote {
			return s.State, true
		}
	}
	return 0, false
}

// Sockets of other namespaces are found with their owners, and destroyed where they are,
// if the rules are about that namespace.
func TestNamespaces(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for spec, found := range map[string]bool{
		"": false, "netns: host\n": false, "netns: all\n": true, "netns: peer\n": true, "netns: [host, peer]\n": true, "netns: [peer, host, peer]\n": true,
	} {
		t.Run(strings.TrimSpace(spec), func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			here, other := there(t, socklab.CloseWait)
			own := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			holder(t, own)
			r := l.run(t, l.rules(t, spec+ruleFile(`state == "CLOSE_WAIT"`, "destroy")))
			noErrors(t, r)
			if !found {
				if n := len(findingsOf(r, other)); n != 0 {
					t.Errorf("found %d times", n)
				}
				if s, _ := procStateIn(t, socklab.Peer(t), other); s != collectors.CloseWait {
					t.Errorf("it is %s", s)
				}
			} else {
				f := findingOf(t, r, other)
				expect(t, f, report.DecideAct, "", actions.FDStillHeld)
				if f.Namespace() != "peer" || len(f.Facts.Owners) != 1 {
					t.Errorf("namespace %s, owners %+v", f.Namespace(), f.Facts.Owners)
				}
				if _, ok := procStateIn(t, socklab.Peer(t), other); ok {
					t.Error("it is still there")
				}
			}
			if wantsHost := spec != "netns: peer\n"; len(findingsOf(r, own)) == 1 != wantsHost || survives(t, own) == wantsHost {
				t.Errorf("our own: %d findings, alive %t", len(findingsOf(r, own)), survives(t, own))
			}
			if s, _ := here.Now(); s != collectors.FinWait2 && s != collectors.Close {
				t.Errorf("this end is %s", s)
			}
		})
	}
}

// A rule takes only sockets of the namespaces that its own file names.
func TestRulesForOtherNamespaces(t *testing.T) {
	l := newLab(t, Options{})
	_, other := there(t, socklab.CloseWait)
	own := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, own)
	dir := t.TempDir()
	for name, spec := range map[string]string{"a": "host", "b": "peer", "c": "all", "d": "other"} {
		text := "netns: " + spec + "\n" + strings.Replace(ruleFile(`state == "CLOSE_WAIT"`, "log", "mode: observe"), "name: r", "name: "+name, 1)
		must(t, "write", os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600))
	}
	p, _, err := rules.Load(rules.Options{Paths: []string{dir}, Catalog: catalog.New(l.actions)})
	must(t, "load", err)
	r := l.cycle(t, p)
	if got := decisions(r, own); got != "a observe, c observe" {
		t.Errorf("host: %s", got)
	}
	if got := decisions(r, other); got != "b observe, c observe" {
		t.Errorf("peer: %s", got)
	}
}

// A missing namespace is reported, and does not keep the engine from looking at the
// others; if none is there, that is an error.
func TestMissingNamespace(t *testing.T) {
	l := newLab(t, Options{})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	r := l.cycle(t, l.rules(t, "netns: [gone, host]\n"+ruleFile(port(c), "log")))
	findingOf(t, r, c)
	if len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Error(), `no network namespace "gone"`) || r.Namespaces != 1 || r.Incomplete {
		t.Errorf("errors %v, %d namespaces, incomplete %t", r.Errors, r.Namespaces, r.Incomplete)
	}
	if u := r.Unopened(); len(u) != 1 || u[0].Name != "gone" {
		t.Errorf("not looked into: %v", u)
	}
	for spec, unopened := range map[string]int{"all": 0, "[gone, all]": 1, "[all, peer]": 0, "[gone, away, gone, host]": 2} {
		r := l.cycle(t, l.rules(t, "netns: "+spec+"\n"+ruleFile(port(c), "log")))
		findingOf(t, r, c)
		if u := r.Unopened(); len(u) != unopened || len(r.Errors) != unopened {
			t.Errorf("%s: not looked into: %v; errors %v", spec, u, r.Errors)
		}
	}
	r, err := l.Cycle(t.Context(), l.rules(t, "netns: gone\n"+ruleFile("true", "log")))
	if !errors.Is(err, fs.ErrNotExist) || r != nil {
		t.Errorf("%v, %v", r, err)
	}
}

// A watcher says once that a namespace is missing, and looks into it as soon as it is
// there.
func TestWatchedNamespaceIsAway(t *testing.T) {
	w := watchRules(t, Options{}, 100*time.Millisecond, map[string]string{"a.yaml": "netns: late\n" + ruleFile(`state == "LISTEN"`, "log", "mode: observe")})
	const away = `no network namespace \"late\"`
	socklab.WaitFor(t, "the warning", func() bool { return len(w.journal.lines(away)) > 0 })
	n := socklab.NewNamespace(t, "late")
	listenIn(t, n)
	socklab.WaitFor(t, "the finding", func() bool { return w.count() > 0 })
	w.end(t)
	lines := w.journal.lines(away)
	half := w.journal.lines(away, "nothing is mounted on") // it is made in two steps
	if len(lines)-len(half) != 1 || len(half) > 1 || !strings.Contains(lines[0], "level=WARN") {
		t.Errorf("%q", lines)
	}
	if lines := w.journal.lines("level=ERROR"); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
}

// A namespace that has ended since it was found counts if it was asked for by name, and
// is not even mentioned if all namespaces were.
func TestEndedNamespace(t *testing.T) {
	for _, byName := range []bool{false, true} {
		c := &look.Picture{}
		w := hostWorld(t, world.OwnersProc, 1)
		t.Run("brief", func(t *testing.T) {
			socklab.NewNamespace(t, "brief")
			found, err := w.Namespaces.Select(t.Context(), "brief")
			must(t, "select", err)
			c.LookInto(found[0], "brief", byName)
		})
		ns := c.Namespaces[0]
		_, err := w.Network.Interfaces(&ns.Namespace)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%v", err)
		}
		c.NotLookedInto(ns, err)
		if got := len((&report.Report{Errors: c.Errors}).Unopened()) == 1; got != byName || (len(c.Errors) == 1) != byName || c.Incomplete {
			t.Errorf("by name %t: not looked into: %v; errors %v, incomplete %t", byName, (&report.Report{Errors: c.Errors}).Unopened(), c.Errors, c.Incomplete)
		}
	}
}

func listenIn(t *testing.T, n *socklab.Namespace) {
	t.Helper()
	fd, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, "listen", unix.Listen(fd, 1))
}

// A namespace that vanishes between the look and the act takes its sockets with it.
func TestNamespaceVanishes(t *testing.T) {
	l := newLab(t, Options{Live: true})
	var looked *report.Report
	p := l.rules(t, "netns: brief\n"+ruleFile(`state == "LISTEN"`, "{destroy: {listen: true}}"))
	t.Run("brief", func(t *testing.T) {
		n := socklab.NewNamespace(t, "brief")
		listenIn(t, n)
		var err error
		looked, err = l.Look(t.Context(), p)
		must(t, "look", err)
		if len(looked.Findings) != 1 {
			t.Fatalf("found\n%s", describe(looked))
		}
		looked.Findings[0].Decision = report.DecideAct // it is ours, and guarded
	})
	r := l.Act(t.Context(), p, looked)
	expect(t, r.Findings[0], report.DecideAct, "", actions.Changed)
}

// Sockets that were not looked at are counted.
func TestUnseen(t *testing.T) {
	l := newLab(t, Options{})
	_, _ = there(t, socklab.Established)
	p, all := l.rules(t, ruleFile("true", "log")), l.rules(t, "netns: all\n"+ruleFile("true", "log"))
	if r := l.cycle(t, p); r.UnseenNamespaces != 0 {
		t.Skipf("a process is in another namespace already: %d", r.UnseenNamespaces)
	}
	cmd := exec.Command("sleep", "60")
	cmd.Stderr = os.Stderr
	must(t, "start in the peer namespace", socklab.Peer(t).Do(cmd.Start))
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	here := l.cycle(t, p)
	if here.UnseenNamespaces != 1 || here.Unseen < 1 || here.Namespaces != 1 {
		t.Errorf("unseen %d in %d, seen %d namespaces", here.Unseen, here.UnseenNamespaces, here.Namespaces)
	}
	r := l.cycle(t, all)
	if r.UnseenNamespaces != 0 || r.Unseen != 0 || r.Namespaces != 2 {
		t.Errorf("all: unseen %d in %d, seen %d namespaces", r.Unseen, r.UnseenNamespaces, r.Namespaces)
	}
	if r.Summary.SocketsTotal != here.Summary.SocketsTotal+here.Unseen {
		t.Errorf("%d sockets in all, %d here, %d elsewhere", r.Summary.SocketsTotal, here.Summary.SocketsTotal, here.Unseen)
	}
}

// sockets_total also counts what the kernel's filter hides.
func TestSocketsTotal(t *testing.T) {
	l := newLab(t, Options{})
	p := l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "log"))
	before := l.cycle(t, p).Summary
	socklab.Many(t, socklab.Established, socklab.IPv4, 7)
	socklab.Make(t, socklab.Listen, socklab.IPv6)
	socklab.Make(t, socklab.UDPBound, socklab.IPv4)
	socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	after := l.cycle(t, p).Summary
	if got := after.SocketsTotal - before.SocketsTotal; got < 10 || got > 12 {
		t.Errorf("%d more sockets, not 10", got)
	}
	if got := after.Scanned - before.Scanned; got != 1 {
		t.Errorf("%d more records, not 1", got)
	}
}

// A connection is inbound if a listener has its port, family and address, and outbound if
// none has and the port is ephemeral.
func TestDirection(t *testing.T) {
	l := newLab(t, Options{})
	type test struct {
		c         *socklab.Conn
		direction string // "" for unknown
		listener  string // process
	}
	tests := map[string]test{}
	for _, f := range socklab.Families() {
		li := socklab.NewListener(t, f, 0)
		c := li.Make(t, socklab.Established)
		h := []*socklab.Conn{{FD: li.FD}}
		socklab.StartHolder(t, socklab.HolderOptions{Conns: h, Program: "server-" + string(f)})
		tests["specific "+string(f)] = test{c, "inbound", "server-" + string(f)}
		tests["outbound "+string(f)] = test{socklab.Make(t, socklab.Established, f), "outbound", ""}
	}
	// A listener for all addresses of both families.
	wide := listener(t, unix.AF_INET6, &unix.SockaddrInet6{})
	tests["dual-stack, v6"] = test{accepted(t, wide, socklab.IPv6, socklab.IPv6), "inbound", "wide"}
	tests["dual-stack, mapped"] = test{accepted(t, wide, socklab.IPv4, socklab.Mapped), "inbound", "wide"}
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: wide}}, Program: "wide"})
	// A listener for all addresses beside one for a single address: the latter comes
	// first.
	any4 := listener(t, unix.AF_INET, &unix.SockaddrInet4{})
	tests["wildcard v4"] = test{accepted(t, any4, socklab.IPv4, socklab.IPv4), "inbound", "any4"}
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: any4}}, Program: "any4"})
	// The listener is gone, and the port is not ephemeral.
	gone := socklab.NewListener(t, socklab.IPv4, 21118)
	tests["neither"] = test{gone.Make(t, socklab.Established), "", ""}
	must(t, "close", unix.Close(gone.FD))
	// Somebody listens on the port, but not in this family.
	gone6 := socklab.NewListener(t, socklab.IPv6, 21119)
	tests["other family"] = test{gone6.Make(t, socklab.Established), "", ""}
	must(t, "close", unix.Close(gone6.FD))
	listener(t, unix.AF_INET, &unix.SockaddrInet4{Port: 21119})
	tests["listener"] = test{socklab.Make(t, socklab.Listen, socklab.IPv4), "", program()} // it is its own listener
	tests["udp"] = test{socklab.Make(t, socklab.UDPConnected, socklab.IPv4), "", ""}

	p := l.rules(t, ruleFile(`(`+anySocket+`) && (direction == "inbound" || port > 0 || listener_process == "x")`, "log"))
	r := l.cycle(t, p)
	noErrors(t, r)
	for name, test := range tests {
		f := findingOf(t, r, test.c)
		if known := f.Facts.Known.Has(collectors.FieldDirection); f.Facts.Direction != test.direction || known != (test.direction != "") {
			t.Errorf("%s: direction %q, known %t", name, f.Facts.Direction, known)
		}
		if f.Facts.ListenerProcess() != test.listener || !f.Facts.Known.Has(collectors.FieldListenerProcess) {
			t.Errorf("%s: listener %q, known %t", name, f.Facts.ListenerProcess(), f.Facts.Known.Has(collectors.FieldListenerProcess))
		}
	}
	// Conditions on what is unknown do not hold.
	for cond, want := range map[string]int{`direction == "inbound"`: 0, `direction != "inbound"`: 0, `direction == "outbound"`: 0, `listener_process == ""`: 1} {
		r := l.cycle(t, l.rules(t, ruleFile(port(tests["neither"].c)+" && "+cond, "log")))
		if n := len(findingsOf(r, tests["neither"].c)); n != want {
			t.Errorf("%s: %d findings", cond, n)
		}
	}
	// Who listens is unknown to those who cannot see it.
	c := tests["wildcard v4"].c
	l = newLab(t, Options{Live: true}) // one that has not loaded a program yet
	p = l.rules(t, ruleFile(port(c)+` && (listener_process == "" || listener_process != "x" || remote_port > 0)`, "log"))
	must(t, "without capabilities", socklab.WithoutCapability(t, func() (err error) {
		r, err = l.Cycle(t.Context(), p)
		return err
	}, blind...))
	if f := findingOf(t, r, c); f.Facts.Known.Has(collectors.FieldListenerProcess) || f.Facts.Direction != "inbound" {
		t.Errorf("blind: %+v", f.Facts)
	}
}

func listener(t *testing.T, domain int, at unix.Sockaddr) int {
	t.Helper()
	fd, err := socklab.Home(t).Socket(domain, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "bind", unix.Bind(fd, at))
	must(t, "listen", unix.Listen(fd, 5))
	return fd
}

// accepted connects from the peer and returns the accepted end.
func accepted(t *testing.T, listener int, from, as socklab.Family) *socklab.Conn {
	t.Helper()
	domain, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: socklab.IPv4.Local().As4(), Port: int(addrPort(name(t, listener)).Port())})
	if from == socklab.IPv6 {
		domain, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: socklab.IPv6.Local().As16(), Port: int(addrPort(name(t, listener)).Port())}
	}
	fd, err := socklab.Peer(t).Socket(domain, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	c := &socklab.Conn{Kind: socklab.Established, Family: as, FD: -1, Peer: fd}
	t.Cleanup(func() { _ = unix.Close(fd); c.CloseFD() })
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	socklab.WaitFor(t, "the connection", func() bool {
		c.FD, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return err == nil
	})
	c.Local, c.Remote = addrPort(name(t, c.FD)), addrPort(name(t, fd))
	return c
}

// If the listeners cannot be listed, nothing is said about directions: this is not the
// same as nobody listening.
func TestDirectionWithoutListeners(t *testing.T) {
	plugin := sockdiag.Plugin()
	real := plugin.New
	plugin.New = func(netns int) collectors.Collector { return noListeners{real(netns)} }
	l := newLab(t, Options{Sources: []collectors.Plugin{plugin}})
	in := socklab.NewListener(t, socklab.IPv4, 0).Make(t, socklab.Established)
	r := l.cycle(t, l.rules(t, ruleFile(port(in)+` && (direction == "outbound" || state == "ESTABLISHED" || listener_process == "x")`, "log")))
	f := findingOf(t, r, in)
	if f.Facts.Known.Has(collectors.FieldDirection) || f.Facts.Known.Has(collectors.FieldListenerProcess) {
		t.Errorf("%+v", f.Facts)
	}
	if len(r.Errors) != 1 || r.Errors[0].Error() != "listeners of namespace host: connection lost" {
		t.Errorf("errors %v", r.Errors)
	}
	for cond, want := range map[string]int{`direction == "outbound"`: 0, `listener_process == ""`: 0} {
		if r := l.cycle(t, l.rules(t, ruleFile(port(in)+" && "+cond, "destroy"))); len(r.Findings) != want {
			t.Errorf("%s takes\n%s", cond, describe(r))
		}
	}
}

type noListeners struct{ collectors.Collector }

func (n noListeners) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	if q.States == collectors.Mask(collectors.Listen) {
		return func(yield func(*collectors.Socket, error) bool) { yield(nil, errFlaky) }
	}
	return n.Collector.Collect(ctx, q)
}

// The interface is the one that a socket is bound to.
func TestInterface(t *testing.T) {
	l := newLab(t, Options{Live: true})
	bound, free := socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv6)
	must(t, "SO_BINDTODEVICE", unix.SetsockoptString(bound.FD, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lab0"))
	holder(t, bound, free)
	for when, want := range map[string][2]int{
		`interface == "lab0"`: {1, 0}, `interface == ""`: {0, 1}, `interface != "eth0"`: {1, 1}, `interface matches "^lab"`: {1, 0},
	} {
		r := l.cycle(t, l.rules(t, ruleFile(when, "log")))
		if got := [2]int{len(findingsOf(r, bound)), len(findingsOf(r, free))}; got != want {
			t.Errorf("%s: %v", when, got)
		}
	}
	r := l.run(t, l.rules(t, ruleFile(`interface == "lab0"`, "destroy")))
	expect(t, findingOf(t, r, bound), report.DecideAct, "", actions.FDStillHeld)
	if !survives(t, free) {
		t.Error("the other one is gone")
	}
}

// refusing is a source that is refused for one protocol.
type refusing struct {
	collectors.Collector
	protocol collectors.Protocol
	err      error
}

func (r refusing) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		for _, p := range q.Protocols {
			if p == r.protocol {
				yield(nil, fmt.Errorf("dump %s: %w", p, r.err))
				return
			}
			one := q
			one.Protocols = []collectors.Protocol{p}
			for s, err := range r.Collector.Collect(ctx, one) {
				if !yield(s, err) {
					return
				}
			}
		}
	}
}

// Where one protocol is refused, /proc/net stands in for it, and for it alone.
func TestFallback(t *testing.T) {
	tcp, udp := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.UDPBound, socklab.IPv4)
	holder(t, tcp, udp)
	for _, test := range []struct {
		protocol collectors.Protocol
		err      error
		errors   int
		tcp, udp string // reasons of the findings
	}{
		{collectors.UDP, collectors.ErrNotSupported, 1, "", "no cookie"},
		{collectors.TCP, collectors.ErrNotPermitted, 1, "no cookie", ""},
	} {
		plugin := sockdiag.Plugin()
		real := plugin.New
		plugin.New = func(netns int) collectors.Collector { return refusing{real(netns), test.protocol, test.err} }
		l := newLab(t, Options{Sources: []collectors.Plugin{plugin, procnet.Plugin()}})
		r := l.cycle(t, l.rules(t, ruleFile(anySocket, destroyAll)))
		for c, reason := range map[*socklab.Conn]string{tcp: test.tcp, udp: test.udp} {
			f := findingOf(t, r, c)
			if !strings.Contains(f.Reason, reason) || (f.Decision == report.DecideAct) != (reason == "") {
				t.Errorf("%s refused: %s", test.protocol, line(f))
			}
		}
		if len(r.Errors) != test.errors || !strings.Contains(r.Errors[0].Error(), "reading /proc/net instead") {
			t.Errorf("%s refused: errors %v", test.protocol, r.Errors)
		}
	}
}

// It is no failure that /proc/net stands in, even if it has nothing to show.
func TestFallbackFindsNothing(t *testing.T) {
	refused := sockdiag.Plugin()
	real := refused.New
	refused.New = func(netns int) collectors.Collector {
		return refusing{real(netns), collectors.TCP, collectors.ErrNotPermitted}
	}
	p := ruleFile(`state == "LAST_ACK" && port == 1`, "destroy")
	l := newLab(t, Options{Sources: []collectors.Plugin{refused, procnet.Plugin()}})
	if r := l.cycle(t, l.rules(t, p)); len(r.Errors) != 1 || r.Summary.Scanned != 0 {
		t.Errorf("errors %v, scanned %d", r.Errors, r.Summary.Scanned)
	}
	// But if nothing stands in, it is a failure.
	l = newLab(t, Options{Sources: []collectors.Plugin{refused}})
	if r, err := l.Cycle(t.Context(), l.rules(t, p)); !errors.Is(err, look.ErrNothingSeen) || !errors.Is(err, collectors.ErrNotPermitted) {
		t.Errorf("%v, %v", r, err)
	}
}

// A live run checks that it has what it needs before it acts.
func TestPreflight(t *testing.T) {
	l := newLab(t, Options{})
	destroys, signals := l.rules(t, ruleFile("true", "destroy")), l.rules(t, ruleFile("true", "{signal: TERM}, log"))
	observes := l.rules(t, ruleFile("true", "destroy", "mode: observe"))
	for _, p := range []*rules.Program{destroys, signals, observes} {
		must(t, "with all capabilities", act.Preflight(t.Context(), p))
	}
	err := socklab.WithoutCapability(t, func() error {
		if err := errors.Join(act.Preflight(t.Context(), signals), act.Preflight(t.Context(), observes)); err != nil {
			t.Errorf("rules that destroy nothing: %v", err)
		}
		return act.Preflight(t.Context(), destroys)
	}, unix.CAP_NET_ADMIN)
	if !errors.Is(err, collectors.ErrNotPermitted) || !strings.Contains(fmt.Sprint(err), "CAP_NET_ADMIN") {
		t.Errorf("without CAP_NET_ADMIN: %v", err)
	}
}

// Without the capability the kernel refuses, which ends everything, and nobody is
// signalled.
func TestNotPermitted(t *testing.T) {
	l := newLab(t, Options{Live: true})
	conns := []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)}
	h := holder(t, conns...)
	p := l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, `destroy, {signal: KILL, if: result != "gone"}`))
	var r *report.Report
	must(t, "cycle", socklab.WithoutCapability(t, func() (err error) {
		r, err = l.Cycle(stuck.OnThisThread(t.Context()), p)
		return err
	}, unix.CAP_NET_ADMIN))
	if !errors.Is(r.HostError, collectors.ErrNotPermitted) || !h.Running() || !survives(t, conns[0]) || !survives(t, conns[1]) {
		t.Errorf("host error %v, process %t", r.HostError, h.Running())
	}
	for _, c := range conns {
		expect(t, findingOf(t, r, c), report.DecideAct, "", actions.NotPermitted)
	}
	if r.Summary.Failed != 2 {
		t.Errorf("summary %+v", r.Summary)
	}
}
