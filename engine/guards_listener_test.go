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

// waiting returns the connections in the queues of the port's listeners, by cookie.
func waiting(t testing.TB, port uint16) map[uint64]collectors.Socket {
	t.Helper()
	queued := map[uint64]collectors.Socket{}
	for cookie, s := range sockets(t) {
		if s.LocalPort == port && collectors.Unaccepted(&s) {
			queued[cookie] = s
		}
	}
	return queued
}

// listenOn makes a listener on a port and, unless device is "", on a device.
func listenOn(t testing.TB, domain int, at unix.Sockaddr, device string, options ...int) *socklab.Conn {
	t.Helper()
	fd, err := socklab.Home(t).Socket(domain, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	c := &socklab.Conn{Kind: socklab.Listen, FD: fd}
	t.Cleanup(c.CloseFD)
	for _, o := range options {
		level := unix.SOL_SOCKET
		if o == unix.IPV6_V6ONLY {
			level = unix.IPPROTO_IPV6
		}
		must(t, "option", unix.SetsockoptInt(fd, level, o, 1))
	}
	if device != "" {
		must(t, "SO_BINDTODEVICE", unix.BindToDevice(fd, device))
	}
	must(t, "bind", unix.Bind(fd, at))
	must(t, "listen", unix.Listen(fd, 100))
	return c
}

// come makes connections that nobody accepts, from a namespace to an address.
func come(t testing.TB, from *socklab.Namespace, to netip.AddrPort, n int) {
	t.Helper()
	before := len(waiting(t, to.Port()))
	domain, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())})
	if to.Addr().Is4() {
		domain, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	}
	for range n {
		fd, err := from.Socket(domain, unix.SOCK_STREAM, 0)
		must(t, "socket", err)
		t.Cleanup(func() {
			_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			_ = unix.Close(fd)
		})
		if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
			t.Fatalf("connect to %s: %v", to, err)
		}
	}
	socklab.WaitFor(t, "the connections", func() bool { return len(waiting(t, to.Port())) == before+n })
}

// give hands a listener to a process.
func give(t testing.TB, c *socklab.Conn, program string) {
	t.Helper()
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: program})
}

// Nothing in a queue is touched if a protected process has any of the listeners that it
// can belong to: the kernel does not tell which of them it is.
func TestGuardEveryListener(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd00:9::1")
	for name, test := range map[string]struct {
		web, sshd func(t *testing.T) *socklab.Conn
		port      uint16
		to        []netip.Addr
	}{
		"reuseport": {
			port: 7001, to: []netip.Addr{v4},
			web: func(t *testing.T) *socklab.Conn {
				return listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7001}, "", unix.SO_REUSEPORT)
			},
			sshd: func(t *testing.T) *socklab.Conn {
				return listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7001}, "", unix.SO_REUSEPORT)
			},
		},
		"both families": {
			port: 7002, to: []netip.Addr{v4, v6},
			web: func(t *testing.T) *socklab.Conn {
				return listenOn(t, unix.AF_INET6, &unix.SockaddrInet6{Port: 7002}, "", unix.SO_REUSEPORT)
			},
			sshd: func(t *testing.T) *socklab.Conn {
				return listenOn(t, unix.AF_INET6, &unix.SockaddrInet6{Port: 7002}, "", unix.SO_REUSEPORT)
			},
		},
		"one for all": {
			port: 7003, to: []netip.Addr{v4},
			web: func(t *testing.T) *socklab.Conn {
				return listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7003, Addr: v4.As4()}, "", unix.SO_REUSEPORT)
			},
			sshd: func(t *testing.T) *socklab.Conn {
				return listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7003}, "", unix.SO_REUSEPORT)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			web, sshd := test.web(t), test.sshd(t)
			for _, to := range test.to {
				come(t, socklab.Peer(t), netip.AddrPortFrom(to, test.port), 40)
			}
			queued := waiting(t, test.port)
			if n := backlog(t, sshd.FD); n == 0 && name != "one for all" {
				t.Fatal("none of them waits for sshd")
			}
			give(t, web, "web")
			give(t, sshd, "sshd")
			l := newLab(t, Options{Live: true})
			for _, then := range []string{destroyAll, killAll} {
				p := l.rules(t, ruleFile(fmt.Sprintf("port == %d && unaccepted", test.port), then, "limits: {per_cycle: 1000, cooldown: 0}"))
				r := l.run(t, p)
				noErrors(t, r)
				if len(r.Findings) != len(queued) {
					t.Fatalf("%d findings, not %d", len(r.Findings), len(queued))
				}
				for _, f := range r.Findings {
					expect(t, f, report.DecideGuarded, "waits to be accepted: protected process sshd")
					if f.Facts.ListenerProcess() != "" || f.Facts.Known.Has(collectors.FieldListenerProcess) {
						t.Errorf("listener is %q", f.Facts.ListenerProcess())
					}
				}
			}
			if left := waiting(t, test.port); len(left) != len(queued) {
				t.Errorf("%d of %d are left", len(left), len(queued))
			}
		})
	}
}

// backlog returns how many connections wait for a listener.
func backlog(t testing.TB, fd int) int {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
	must(t, "TCP_INFO", err)
	return int(info.Unacked)
}

// Device, family and IPV6_V6ONLY tell listeners on the same port apart: each connection
// is guarded by its own listener.
func TestListenersToldApart(t *testing.T) {
	all4, all6 := &unix.SockaddrInet4{Port: 7010}, &unix.SockaddrInet6{Port: 7011}
	for _, test := range []struct {
		name, spared, taken string // the ends that sshd and web are connected to
		port                uint16
		sshd, web           func() *socklab.Conn
		from                [2]*socklab.Namespace // nil for the peer's
	}{
		{
			"device", "127.0.0.1", "10.9.0.1", 7010,
			func() *socklab.Conn { return listenOn(t, unix.AF_INET, all4, "lo") },
			func() *socklab.Conn { return listenOn(t, unix.AF_INET, all4, "lab0") },
			[2]*socklab.Namespace{socklab.Home(t), nil},
		},
		{
			"family", "10.9.0.1", "fd00:9::1", 7011,
			func() *socklab.Conn { return listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7011}, "") },
			func() *socklab.Conn { return listenOn(t, unix.AF_INET6, all6, "", unix.IPV6_V6ONLY) },
			[2]*socklab.Namespace{},
		},
		{
			"v6only", "fd00:9::1", "10.9.0.1", 7012,
			func() *socklab.Conn {
				return listenOn(t, unix.AF_INET6, &unix.SockaddrInet6{Port: 7012}, "lab0", unix.SO_REUSEPORT, unix.IPV6_V6ONLY)
			},
			func() *socklab.Conn {
				return listenOn(t, unix.AF_INET6, &unix.SockaddrInet6{Port: 7012, Addr: [16]byte{10: 0xff, 11: 0xff}}, "lab0", unix.SO_REUSEPORT)
			},
			[2]*socklab.Namespace{},
		},
		{
			"link-local", "fe80::9:1", "10.9.0.1", 7013,
			func() *socklab.Conn {
				return listenOn(t, unix.AF_INET6, &unix.SockaddrInet6{Port: 7013}, "", unix.IPV6_V6ONLY)
			},
			func() *socklab.Conn { return listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7013}, "lab0") },
			[2]*socklab.Namespace{},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			sshd, web := test.sshd(), test.web()
			for i, to := range []string{test.spared, test.taken} {
				from := test.from[i]
				if from == nil {
					from = socklab.Peer(t)
				}
				if test.name == "link-local" && i == 0 {
					comeLinkLocal(t, test.port)
					continue
				}
				come(t, from, netip.AddrPortFrom(netip.MustParseAddr(to), test.port), 5)
			}
			give(t, sshd, "sshd")
			give(t, web, "web")
			l := newLab(t, Options{Live: true})
			r := l.run(t, l.rules(t, ruleFile(fmt.Sprintf("port == %d && unaccepted", test.port), "destroy")))
			counts := map[string]int{}
			for _, f := range r.Findings {
				what := "taken"
				if local, _ := ends(&f.Socket); local.Addr() == netip.MustParseAddr(test.spared) {
					what = "spared"
					expect(t, f, report.DecideGuarded, "protected process sshd")
				} else {
					expect(t, f, report.DecideAct, "", actions.Gone)
				}
				want := map[string]string{"taken": "web", "spared": "sshd"}[what]
				if f.Facts.ListenerProcess() != want {
					t.Errorf("%s: listener %q", line(f), f.Facts.ListenerProcess())
				}
				counts[what]++
			}
			if counts["taken"] != 5 || counts["spared"] == 0 {
				t.Errorf("%v\n%s", counts, describe(r))
			}
		})
	}
}

// comeLinkLocal makes a connection between link-local addresses: it is bound to its
// device, but its listener is not.
func comeLinkLocal(t *testing.T, port uint16) {
	t.Helper()
	fd, err := socklab.Peer(t).Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "SO_BINDTODEVICE", unix.BindToDevice(fd, "peer0"))
	to := &unix.SockaddrInet6{Port: int(port), Addr: netip.MustParseAddr("fe80::9:1").As16()}
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	socklab.WaitFor(t, "the connection", func() bool { return len(waiting(t, port)) > 0 })
	for _, s := range waiting(t, port) {
		if s.IfIndex == 0 {
			t.Fatal("it is not bound to its device")
		}
	}
}

// A handshake under way belongs to its listener just as a completed one does: by the time
// it is destroyed it can have become a connection.
func TestGuardHandshake(t *testing.T) {
	for program, want := range map[string]string{"sshd": "protected process sshd", "web": ""} {
		listener := socklab.NewListener(t, socklab.IPv4, 0)
		c := listener.Make(t, socklab.SynRecv)
		socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: listener.FD}}, Program: program})
		l := newLab(t, Options{})
		f := findingOf(t, l.run(t, l.rules(t, ruleFile(port(c)+` && state == "SYN_RECV"`, "destroy"))), c)
		if want == "" {
			expect(t, f, report.DecideAct, "", actions.Would)
		} else {
			expect(t, f, report.DecideGuarded, want)
		}
	}
}

// A listener is its own listener, even where others share its port.
func TestListenerProcessOfListener(t *testing.T) {
	for _, program := range []string{"web", "api"} {
		give(t, listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7020}, "", unix.SO_REUSEPORT), program)
	}
	l := newLab(t, Options{})
	r := l.run(t, l.rules(t, ruleFile(`port == 7020 && listener_process == "web"`, "{destroy: {listen: true}}")))
	if len(r.Findings) != 1 || r.Findings[0].Facts.Owners[0].Name != "web" {
		t.Error(describe(r))
	}
	// The servers that a process forks all have the same name.
	c := listenOn(t, unix.AF_INET, &unix.SockaddrInet4{Port: 7021}, "")
	come(t, socklab.Peer(t), netip.MustParseAddrPort("10.9.0.1:7021"), 1)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "web", Keep: true})
	give(t, c, "web")
	r = l.run(t, l.rules(t, ruleFile(`port == 7021 && listener_process == "web" && unaccepted`, "destroy")))
	if len(r.Findings) != 1 || r.Findings[0].Decision != report.DecideAct {
		t.Error(describe(r))
	}
}
