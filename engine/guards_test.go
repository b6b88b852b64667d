package engine

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

const (
	destroyAll = `{destroy: {listen: true, udp: true}}`
	cutAll     = `{destroy: {listen: true, udp: true, protected: true}}`
	killAll    = `{signal: {signal: KILL, owners: all}}`
	anySocket  = `protocol == "tcp" || protocol == "udp"`
)

// mustSpare runs a live cycle of a rule with every opt-in, by destroy, by signal and by a
// later rung of a ladder, and checks that each spares the socket for the reason. The rule
// is as wide as the language allows. The opt-in for protected processes opens only what
// is guarded as theirs.
func mustSpare(t *testing.T, l *lab, c *socklab.Conn, reason string) {
	t.Helper()
	before := sockets(t)
	for _, then := range []string{destroyAll, killAll, cutAll} {
		if then == cutAll && strings.HasPrefix(reason, "protected process") {
			continue
		}
		r := l.run(t, l.rules(t, ruleFile(anySocket, then, "limits: {per_cycle: 10000, cooldown: 0}")))
		expect(t, findingOf(t, r, c), report.DecideGuarded, reason)
		noErrors(t, r)
	}
	after := sockets(t)
	for cookie, s := range before {
		if now, ok := after[cookie]; localOf(&s) == c.Local && (!ok || now.State != s.State) {
			t.Errorf("%s %s is gone or %s", s.State, c.Local, now.State)
		}
	}
	if !alive(c) {
		t.Errorf("%s %s did not survive", c.Kind, c.Local)
	}
}

func localOf(s *collectors.Socket) netip.AddrPort {
	local, _ := ends(s)
	return local
}

// A rule without an opt-in takes neither listeners nor UDP, and a rung that opts in to
// one does not opt in to the other.
func TestGuardOptIn(t *testing.T) {
	for _, test := range []struct {
		kind         socklab.Kind
		then, reason string
	}{
		{socklab.Listen, "destroy", "listener: needs {destroy: {listen: true}}"},
		{socklab.Listen, "{destroy: {udp: true}}", "listener: needs {destroy: {listen: true}}"},
		{socklab.Listen, "{signal: KILL}", "listener: needs {signal: KILL, listener: true}"},
		{socklab.Listen, "{signal: {signal: KILL, owners: all}}", "listener: needs {signal: KILL, listener: true}"},
		{socklab.Listen, "abort", "listener: needs an action that can be told so; abort cannot"},
		{socklab.UDPBound, "destroy", "UDP socket: needs {destroy: {udp: true}}"},
		{socklab.UDPConnected, "{destroy: {listen: true}}", "UDP socket: needs {destroy: {udp: true}}"},
		{socklab.UDPBound, "{signal: KILL}", "UDP socket: needs an action that can be told so"},
	} {
		t.Run(test.kind.String()+test.then, func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			c := socklab.Make(t, test.kind, socklab.IPv4)
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}})
			r := l.run(t, l.rules(t, ruleFile(anySocket, test.then)))
			expect(t, findingOf(t, r, c), report.DecideGuarded, test.reason)
			if !alive(c) || !h.Running() {
				t.Error("it did not survive")
			}
		})
	}
}

// With the opt-in they are destroyed: the cure that the guard names works.
func TestOptIn(t *testing.T) {
	for _, k := range []socklab.Kind{socklab.Listen, socklab.UDPBound, socklab.UDPConnected} {
		t.Run(k.String(), func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			c := socklab.Make(t, k, socklab.IPv6)
			socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}})
			f := findingOf(t, l.run(t, l.rules(t, ruleFile(anySocket, destroyAll))), c)
			expect(t, f, report.DecideAct, "", actions.FDStillHeld)
		})
	}
}

func TestGuardOwnProcess(t *testing.T) {
	l := newLab(t, Options{Live: true})
	mustSpare(t, l, socklab.Make(t, socklab.CloseWait, socklab.IPv4), "sockwarden's own")
}

// PID 1 is guarded as the machine's init, and in a container by its name; otherwise it is
// the application there.
func TestGuardPID1(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	if os.Getpid() != 1 {
		t.Fatalf("the tests do not run as PID 1 but %d", os.Getpid())
	}
	t.Run("of the machine", func(t *testing.T) {
		mustSpare(t, newLab(t, Options{Live: true}).stranger().onHost(), socklab.Make(t, socklab.CloseWait, socklab.IPv4), "held by PID 1")
	})
	was, err := os.ReadFile("/proc/1/comm")
	must(t, "comm", err)
	defer func() { must(t, "comm", os.WriteFile("/proc/1/comm", bytes.TrimSpace(was), 0)) }()
	for _, name := range []string{"tini", "dumb-init", "s6-svscan", "openrc-init"} {
		t.Run(name, func(t *testing.T) {
			must(t, "comm", os.WriteFile("/proc/1/comm", []byte(name), 0))
			mustSpare(t, newLab(t, Options{Live: true}).stranger(), socklab.Make(t, socklab.CloseWait, socklab.IPv4), "held by PID 1")
		})
	}
	t.Run("application", func(t *testing.T) {
		must(t, "comm", os.WriteFile("/proc/1/comm", []byte("node"), 0))
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		l := newLab(t, Options{Live: true}).stranger()
		expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(port(c), "destroy"))), c), report.DecideAct, "", actions.FDStillHeld)
	})
}

// A socket that PID 1 holds counts as PID 1's even if its other holder is nobody special.
func TestGuardAnyOwner(t *testing.T) {
	l := newLab(t, Options{Live: true}).stranger().onHost()
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
	mustSpare(t, l, c, "held by PID 1")
	if !h.Running() {
		t.Error("the other owner did not survive")
	}
}

// An engine that is not PID 1 spares itself, its parent and grandparents.
func TestGuardAncestors(t *testing.T) {
	socklab.Need(t)
	l := newLab(t, Options{})
	for life, reason := range map[string]string{"engine": "sockwarden's own", "ancestor": "your own session"} {
		for _, then := range []string{destroyAll, killAll, cutAll} {
			t.Run(life+then, func(t *testing.T) {
				c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
				path := filepath.Join(t.TempDir(), "rules.yaml")
				text := ruleFile(fmt.Sprintf("port == %d", c.Local.Port()), then)
				l.rules(t, text)
				must(t, "write", os.WriteFile(path, []byte(text), 0o600))
				got := startChild(t, orders{Life: life, Rules: path}, c).rest(t)
				if !strings.Contains(got, `guarded "`+reason) || strings.Count(got, "guarded") != 1 {
					t.Errorf("the child says %q, not guarded: %s", got, reason)
				}
			})
		}
	}
}

// The connection that SSH_CONNECTION names is spared at both ends, whoever holds it, and
// no other is.
func TestGuardSSHConnection(t *testing.T) {
	for _, f := range socklab.Families() {
		t.Run(string(f), func(t *testing.T) {
			conns := []*socklab.Conn{socklab.Make(t, socklab.Established, f), socklab.Make(t, socklab.Established, f), socklab.Make(t, socklab.Established, f)}
			socklab.StartHolder(t, socklab.HolderOptions{Conns: conns})
			t.Setenv("SSH_CONNECTION", fmt.Sprintf("%s %d %s %d", conns[0].Remote.Addr(), conns[0].Remote.Port(), conns[0].Local.Addr(), conns[0].Local.Port()))
			t.Setenv("SSH_CLIENT", fmt.Sprintf("::ffff:%s %d 22", conns[1].Local.Addr(), conns[1].Local.Port()))
			if f == socklab.IPv6 {
				t.Setenv("SSH_CLIENT", fmt.Sprintf("%s%%lab0 %d 22", conns[1].Local.Addr(), conns[1].Local.Port()))
			}
			l := newLab(t, Options{Live: true})
			mustSpare(t, l, conns[0], "your own session")
			mustSpare(t, l, conns[1], "your own session")
			if alive(conns[2]) {
				t.Error("a connection of somebody else was spared")
			}
		})
	}
}

// Names are protected by comm and by the executable, even where comm is cut at 15 bytes.
// Names that only resemble them are not.
func TestGuardProtectedProcess(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for _, test := range []struct {
		name      string
		holder    socklab.HolderOptions
		protected string // "" if not
	}{
		{"sshd by exe", socklab.HolderOptions{Program: "sshd", Comm: "innocent"}, "innocent"},
		{"sshd by comm", socklab.HolderOptions{Comm: "sshd"}, "sshd"},
		{"sshd-session", socklab.HolderOptions{Program: "sshd-session"}, "sshd-session"},
		{"shim, comm cut", socklab.HolderOptions{Program: "containerd-shim-runc-v2"}, "containerd-shim-runc-v2"},
		{"shim by comm only", socklab.HolderOptions{Comm: "containerd-shim"}, "containerd-shim"},
		{"dockerd", socklab.HolderOptions{Program: "dockerd"}, "dockerd"},
		{"k3s", socklab.HolderOptions{Program: "k3s-server"}, "k3s-server"},
		{"systemd", socklab.HolderOptions{Program: "systemd"}, "systemd"},
		{"tailscaled", socklab.HolderOptions{Program: "tailscaled"}, "tailscaled"},
		{"systemd-resolved", socklab.HolderOptions{Program: "systemd-resolved"}, ""},
		{"not an init", socklab.HolderOptions{Program: "initial"}, ""},
		{"my-sshd", socklab.HolderOptions{Program: "my-sshd"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			test.holder.Conns = []*socklab.Conn{c}
			h := socklab.StartHolder(t, test.holder)
			if test.protected == "" {
				expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile("true", destroyAll))), c), report.DecideAct, "", actions.FDStillHeld)
				return
			}
			mustSpare(t, l, c, "protected process "+test.protected)
			if !h.Running() {
				t.Error("the process did not survive")
			}
		})
	}
}

// What waits to be accepted counts as the listener's: it is spared with the listener and
// is never a reason to signal anybody.
func TestGuardUnaccepted(t *testing.T) {
	for _, k := range []socklab.Kind{socklab.EstablishedUnaccepted, socklab.CloseWaitUnaccepted} {
		for _, program := range []string{"sshd", "hbbs"} {
			t.Run(k.String()+" "+program, func(t *testing.T) {
				l := newLab(t, Options{Live: true})
				listener := socklab.NewListener(t, socklab.IPv4, 0)
				c := listener.Make(t, k)
				h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: listener.FD}}, Program: program})
				when := `state != "LISTEN"`
				if program == "sshd" {
					for _, then := range []string{destroyAll, killAll} {
						expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(when, then))), c), report.DecideGuarded, "waits to be accepted: protected process sshd")
					}
					if !alive(c) {
						t.Error("it did not survive")
					}
					return
				}
				expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(when, killAll))), c), report.DecideGuarded, "waits to be accepted: no process has it yet")
				if !h.Running() || !alive(c) {
					t.Error("it did not survive")
				}
				f := findingOf(t, l.run(t, l.rules(t, ruleFile(when, destroyAll))), c)
				expect(t, f, report.DecideAct, "", actions.Gone)
				if f.Facts.ListenerProcess() != "hbbs" {
					t.Errorf("listener is %q", f.Facts.ListenerProcess())
				}
			})
		}
	}
}

// A listener that this process or PID 1 has, or whose process cannot be seen, protects
// what waits there as if its owner held it.
func TestGuardUnacceptedOwner(t *testing.T) {
	when := `state != "LISTEN"`
	t.Run("own", func(t *testing.T) {
		l := newLab(t, Options{Live: true})
		c := socklab.Make(t, socklab.EstablishedUnaccepted, socklab.IPv4)
		expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(when, destroyAll))), c), report.DecideGuarded, "sockwarden's own")
	})
	t.Run("PID 1", func(t *testing.T) {
		l := newLab(t, Options{Live: true}).stranger().onHost()
		c := socklab.Make(t, socklab.EstablishedUnaccepted, socklab.IPv4)
		expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(when, destroyAll))), c), report.DecideGuarded, "held by PID 1")
	})
	t.Run("second owner protected", func(t *testing.T) {
		l := newLab(t, Options{Live: true})
		listener := socklab.NewListener(t, socklab.IPv4, 0)
		c := listener.Make(t, socklab.EstablishedUnaccepted)
		both := []*socklab.Conn{{FD: listener.FD}}
		socklab.StartHolder(t, socklab.HolderOptions{Conns: both, Keep: true, Program: "hbbs"})
		socklab.StartHolder(t, socklab.HolderOptions{Conns: both, Program: "dockerd"})
		expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(when, destroyAll))), c), report.DecideGuarded, "protected process dockerd")
	})
	t.Run("not visible", func(t *testing.T) {
		listener := socklab.NewListener(t, socklab.IPv4, 0)
		c := listener.Make(t, socklab.EstablishedUnaccepted)
		socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: listener.FD}}})
		for _, allow := range []bool{false, true} {
			l := newLab(t, Options{Live: true, AllowUnknownOwner: allow})
			p := l.rules(t, ruleFile(when, destroyAll))
			var r *report.Report
			must(t, "without capabilities", socklab.WithoutCapability(t, func() (err error) {
				r, err = l.Cycle(t.Context(), p)
				return err
			}, blind...))
			if !allow {
				expect(t, findingOf(t, r, c), report.DecideGuarded, "owner of its listener not visible")
				continue
			}
			expect(t, findingOf(t, r, c), report.DecideAct, "", actions.Gone)
		}
	})
}

// Sockets that no process has are never a reason for a signal.
func TestGuardOwnerless(t *testing.T) {
	l := newLab(t, Options{Live: true, AllowUnknownOwner: true})
	for _, k := range []socklab.Kind{
		socklab.FinWait1Orphan, socklab.FinWait2Orphan, socklab.ClosingOrphan, socklab.LastAckOrphan, socklab.TimeWait, socklab.SynRecv,
	} {
		t.Run(k.String(), func(t *testing.T) {
			c := socklab.Make(t, k, socklab.IPv6)
			r := l.run(t, l.rules(t, ruleFile(fmt.Sprintf("port == %d && state != 'LISTEN'", c.Local.Port()), killAll)))
			reason := "no process has it"
			if k == socklab.SynRecv {
				reason = "its handshake is under way: sockwarden's own" // the listener is ours
			}
			expect(t, findingOf(t, r, c), report.DecideGuarded, reason)
			if !alive(c) {
				t.Error("it did not survive")
			}
		})
	}
}

// What only /proc/net shows has no cookie and is never acted on.
func TestGuardNoCookie(t *testing.T) {
	l := newLab(t, Options{Live: true, AllowUnknownOwner: true, Sources: []collectors.Plugin{procnet.Plugin()}})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}})
	mustSpare(t, l, c, "no cookie")
	if !h.Running() {
		t.Error("the process did not survive")
	}
}

// An MPTCP subflow is recognised whatever the rule reads.
func TestGuardSubflow(t *testing.T) {
	l := newLab(t, Options{Live: true})
	client, server := socklab.ListenMPTCP(t, socklab.Home(t), socklab.IPv4).Dial(t)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{client, server}})
	for _, when := range []string{"true", "port > 0", `age >= 0`, "bytes_sent >= 0"} {
		r := l.run(t, l.rules(t, ruleFile(when, "destroy")))
		for _, c := range []*socklab.Conn{client, server} {
			expect(t, findingOf(t, r, c), report.DecideGuarded, "MPTCP subflow")
		}
	}
}

// name returns the local end of a socket.
func name(t testing.TB, fd int) unix.Sockaddr {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	must(t, "getsockname", err)
	return sa
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func TestGuardBound(t *testing.T) {
	l := newLab(t, Options{Live: true})
	c := socklab.Make(t, socklab.Bound, socklab.IPv4)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}})
	r := l.run(t, l.rules(t, ruleFile("true", destroyAll)))
	if !c.Kind.Shown() {
		if found := findingsOf(r, c); len(found) > 0 {
			t.Errorf("found though the kernel does not show it: %s", line(found[0]))
		}
		return
	}
	expect(t, findingOf(t, r, c), report.DecideGuarded, "bound, not connected")
}

// The engine does not ask older kernels to do what they get wrong.
func TestQuirks(t *testing.T) {
	l := newLab(t, Options{Live: true})
	orphan, owned, timeWait := socklab.Make(t, socklab.FinWait1Orphan, socklab.IPv4), socklab.Make(t, socklab.FinWait1, socklab.IPv4), socklab.Make(t, socklab.TimeWait, socklab.IPv4)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{owned}})
	dry := newLab(t, Options{})
	for _, test := range []struct {
		release          string
		orphan, timeWait string // why it is spared
	}{
		{"6.18.44-fc", "", ""},
		{"6.11.0", "", ""},
		{"6.10.14-generic", "before Linux 6.11", ""},
		{"6.0", "before Linux 6.11", ""},
		{"5.19.17", "before Linux 6.11", "before 6.0"},
		{"garbage", "before Linux 6.11", "before 6.0"},
		{"", "before Linux 6.11", "before 6.0"},
	} {
		dry.world.Host.Kernel, l.world.Host.Kernel = host.ParseKernel(test.release), host.ParseKernel(test.release)
		for _, of := range []struct {
			c   *socklab.Conn
			why string
		}{{orphan, test.orphan}, {timeWait, test.timeWait}, {owned, ""}} {
			e := dry
			if of.why != "" {
				e = l // live, to be sure
			}
			p := e.rules(t, ruleFile(fmt.Sprintf("port == %d", of.c.Local.Port()), "destroy"))
			f := findingOf(t, e.run(t, p), of.c)
			if of.why == "" {
				expect(t, f, report.DecideAct, "", actions.Would)
			} else {
				expect(t, f, report.DecideGuarded, of.why)
			}
		}
	}
	if !alive(orphan) || !alive(timeWait) {
		t.Error("they did not survive")
	}
}

// A later rung is guarded like the first one, by what the socket is by then.
func TestGuardLaterRung(t *testing.T) {
	first := outcomes("first", actions.Outcome{Result: actions.Refused})
	for _, then := range []string{"destroy", "{signal: KILL}", `{signal: KILL, if: result == "refused"}`, `{destroy: {}, if: result == "refused"}`} {
		t.Run(then, func(t *testing.T) {
			l := newLab(t, Options{Live: true}, first)
			c := socklab.Make(t, socklab.Listen, socklab.IPv4)
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}})
			p := l.rules(t, ruleFile("true", "{first: {listen: true}}, "+strings.ReplaceAll(then, "{}", "{udp: true}")))
			f := findingOf(t, l.run(t, p), c)
			expect(t, f, report.DecideAct, "", actions.Refused, actions.Failed)
			if !strings.Contains(f.Last().Error, "guarded: listener") {
				t.Errorf("error is %q", f.Last().Error)
			}
			if !alive(c) || !h.Running() {
				t.Error("it did not survive")
			}
		})
	}
}

// Guards hold for what a person picked, too.
func TestGuardsOfSelection(t *testing.T) {
	c := socklab.Make(t, socklab.Listen, socklab.IPv4)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}})
	l := newLab(t, Options{Live: true, NoBreaker: true, OptIn: func(p actions.Permissions) string { return "--allow-" + p.String() }})
	p, err := rules.NewSelection(rules.Selection{Name: "kill", Text: "true", Mode: rules.ModeEnforce, Then: []rules.Rung{l.rung(t, "destroy")}})
	must(t, "selection", err)
	looked, err := l.Look(t.Context(), p)
	must(t, "look", err)
	expect(t, findingOf(t, looked, c), report.DecideGuarded, "listener: needs --allow-listen")
	r := l.Act(t.Context(), p, looked)
	expect(t, findingOf(t, r, c), report.DecideGuarded, "listener")
	if !alive(c) {
		t.Error("it did not survive")
	}
}

// blind lists the capabilities needed to see what other processes hold, through /proc and
// by BPF.
var blind = []int{unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH, unix.CAP_DAC_OVERRIDE, unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN}

// hostInit are owners in a PID namespace whose PID 1 is the machine's.
type hostInit struct{ world.Owners }

func (h hostInit) Coverage() world.Coverage {
	c := h.Owners.Coverage()
	c.HostInit = true
	return c
}

// onHost makes the engine believe that its PID 1 is the machine's.
func (l *lab) onHost() *lab {
	l.world.Owners = hostInit{l.world.Owners}
	return l
}
