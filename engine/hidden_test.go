package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/bpf"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// nobody is the user of a process that may not look at other users' processes.
const nobody = 65534

// readableRules writes a rules file that every user can read.
func readableRules(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, "chmod", os.Chmod(filepath.Dir(dir), 0o755))
	must(t, "chmod", os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "rules.yaml")
	must(t, "write", os.WriteFile(path, []byte(text), 0o644))
	return path
}

// share hands sockets to another user's process that does nothing with them.
func share(t *testing.T, as *syscall.SysProcAttr, conns ...*socklab.Conn) {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = as
	for _, c := range conns {
		fd, err := unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, 3)
		must(t, "duplicate", err)
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(fd), "socket"))
	}
	in, err := cmd.StdinPipe()
	must(t, "stdin", err)
	must(t, "start cat", cmd.Start())
	for _, f := range cmd.ExtraFiles {
		must(t, "hand over", f.Close())
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
}

// A process that hidepid hides may hold a socket, too: here sshd does.
func TestHidePID(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for option, hides := range map[string]string{
		"":                                 "[1] and 1 more cannot be examined (EACCES): run as root, or with CAP_SYS_PTRACE", // as everywhere: the process is listed
		"hidepid=1":                        "cannot be examined",
		"hidepid=2":                        "/proc hides processes (hidepid=",
		"hidepid=4":                        "/proc hides processes (hidepid=",
		"hidepid=2,gid=65534":              "cannot be examined",
		"hidepid=4,gid=65534":              "/proc hides processes (hidepid=",
		"hidepid=2,gid=65534,subset=pid":   "cannot be examined",
		"hidepid=invisible,subset=pid":     "/proc hides processes (hidepid=invisible): run as root, or with CAP_SYS_PTRACE, or --allow-unknown-owner",
		"hidepid=ptraceable,gid=0":         "/proc hides processes (hidepid=ptraceable)",
		"subset=pid,hidepid=off,gid=65534": "cannot be examined (EACCES)",
	} {
		t.Run(option, func(t *testing.T) {
			if !socklab.HasUsers() {
				socklab.Lacks(t, unix.EINVAL)
			}
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			waits := socklab.Make(t, socklab.EstablishedUnaccepted, socklab.IPv4)
			as := &syscall.Credential{Uid: nobody, Gid: nobody}
			share(t, &syscall.SysProcAttr{Credential: as}, c)
			socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "sshd"})
			must(t, "mount /proc", unix.Mount("proc", "/proc", "proc", 0, option))
			t.Cleanup(func() { must(t, "unmount /proc", unix.Unmount("/proc", unix.MNT_DETACH)) })
			for _, allow := range []bool{false, true} {
				o := orders{Life: "engine", Allow: allow, Rules: readableRules(t, ruleFile(port(c), "destroy"))}
				cmd, err := childCommand(o)
				must(t, "child", err)
				cmd.Path = "/proc/self/exe" // the way to the binary is closed to others
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, AmbientCaps: []uintptr{unix.CAP_NET_ADMIN}}
				got := runCommand(t, cmd, "").rest(t)
				want := "guarded \"other owners may not be visible: "
				if allow {
					want = "act "
				} else if !strings.Contains(got, hides) {
					t.Errorf("the reason is not %s: %s", hides, got)
				}
				if !strings.Contains(got, want) || alive(c) == allow {
					t.Errorf("allowed %t: not %q but %s", allow, want, got)
				}
			}
			// hidepid does not hinder those who may examine all processes.
			l := newLab(t, Options{})
			expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(port(waits)+" && unaccepted", "destroy"))), waits), report.DecideGuarded, "sockwarden's own")
			if cover := l.world.Owners.Coverage(); cover.HidePID != "" || cover.Foreign || !cover.Inside {
				t.Errorf("%+v", cover)
			}
		})
	}
}

// The kernel tells those who may ask what /proc hides of a process: guards and conditions
// go by that, but no process is signalled because of it.
func TestKernelTellsOwners(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	if !socklab.HasUsers() {
		socklab.Lacks(t, unix.EINVAL)
	}
	by, err := bpf.OpenOwners()
	if err != nil {
		socklab.Lacks(t, err)
	}
	must(t, "close", by.Close())
	for _, test := range []struct {
		name, then, when, want string
		sshd                   bool
	}{
		{name: "guard by name", then: "destroy", sshd: true, want: `guarded "protected process sshd`},
		{name: "nobody special", then: "destroy", want: `act "" [destroy fd_still_held`},
		{name: "its executable is unknown", then: "destroy", when: ` && exe != "x"`},
		{name: "its name is known", then: "destroy", when: ` && process != "x" && owners == 2`, want: `act "" [destroy fd_still_held`},
		{name: "signal", then: "{signal: KILL, owners: all}", want: "cannot be examined: that it still has the socket could not be proven before signal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, owners := range []world.OwnerSource{world.OwnersAuto, world.OwnersProc, world.OwnersBPF} {
				c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
				as := &syscall.Credential{Uid: nobody, Gid: nobody}
				share(t, &syscall.SysProcAttr{Credential: as}, c)
				other := socklab.HolderOptions{Conns: []*socklab.Conn{c}} // root's
				if test.sshd {
					other.Program = "sshd"
				}
				socklab.StartHolder(t, other)
				cmd, err := childCommand(orders{Life: "engine", Owners: owners, Rules: readableRules(t, ruleFile(port(c)+test.when, test.then))})
				must(t, "child", err)
				cmd.Path = "/proc/self/exe" // the way to the binary is closed to others
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON}}
				got := strings.TrimSpace(runCommand(t, cmd, "").rest(t))
				if !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
					t.Errorf("--owners=%s: not %s but %s", owners, test.want, got)
				}
			}
		})
	}
}

// inPIDNamespace starts an engine in its own PID namespace, with a process in it that
// holds the socket; the network is ours.
func inPIDNamespace(t *testing.T, o orders, c *socklab.Conn) string {
	t.Helper()
	o.Life = "engine"
	cmd, err := childCommand(o, c)
	must(t, "child", err)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	return runCommand(t, cmd, "", c).rest(t)
}

// A PID namespace does not show who outside it holds a socket. A listener that no visible
// process has shows that somebody is there.
func TestHiddenByPIDNamespace(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	const reason = `guarded "other owners may not be visible: processes that this PID namespace does not show listen in its network: run with --pid=host, or --allow-unknown-owner"`
	for _, test := range []struct {
		name   string
		listen bool // whether sshd listens, too
		holds  bool // and whether it has the socket
		allow  bool
		owners world.OwnerSource
		want   string
	}{
		{"hidden sshd", true, true, false, world.OwnersAuto, reason},
		{"hidden sshd, by BPF", true, true, false, world.OwnersBPF, reason},
		{"hidden sshd, allowed", true, true, true, world.OwnersAuto, "r CLOSE_WAIT"},
		{"nobody is known to be outside", false, true, false, world.OwnersAuto, "r CLOSE_WAIT"},
		{"sshd has only a listener", true, false, false, world.OwnersAuto, "r CLOSE_WAIT"},
		{"sshd has only a listener, through /proc", true, false, false, world.OwnersProc, "r CLOSE_WAIT"},
		{"sshd has only a listener, by BPF", true, false, false, world.OwnersBPF, "r CLOSE_WAIT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			var conns []*socklab.Conn
			if test.holds {
				conns = append(conns, c)
			}
			var listener *socklab.Conn
			if test.listen {
				listener = socklab.Make(t, socklab.Listen, socklab.IPv4)
				conns = append(conns, listener)
			}
			socklab.StartHolder(t, socklab.HolderOptions{Conns: conns, Program: "sshd", Keep: true})
			if test.listen {
				listener.CloseFD()
			}
			got := inPIDNamespace(t, orders{Proc: true, Share: true, Allow: test.allow, Owners: test.owners, Rules: readableRules(t, ruleFile(port(c), "destroy"))}, c)
			if !strings.Contains(got, test.want) || strings.Contains(got, "guarded") != (test.want == reason) {
				t.Errorf("not %s but %s", test.want, got)
			}
		})
	}
}

// Where /proc belongs to another PID namespace, its PIDs are not those of system calls:
// they are not used to signal a process, and the engine still knows its own process.
func TestForeignProc(t *testing.T) {
	for then, want := range map[string]string{
		"{signal: KILL}": "/proc shows another PID namespace",
		"destroy":        string(actions.FDStillHeld),
	} {
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		got := inPIDNamespace(t, orders{Share: true, Rules: readableRules(t, ruleFile(port(c), then))}, c)
		if !strings.Contains(got, want) {
			t.Errorf("%s: not %s but %s", then, want, got)
		}
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	o := orders{Rules: readableRules(t, ruleFile(port(c), "destroy"))}
	if got := inPIDNamespace(t, o, c); !strings.Contains(got, "sockwarden's own") {
		t.Errorf("its own: %s", got)
	}
}
