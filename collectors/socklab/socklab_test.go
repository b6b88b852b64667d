package socklab

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

func TestMain(m *testing.M) { Main(m) }

// /proc/net shows every kind of socket as what it claims to be, and so what a listener
// accepts.
func TestMake(t *testing.T) {
	LeakCheck(t)
	for _, k := range Kinds() {
		for _, f := range Families() {
			t.Run(fmt.Sprintf("%s/%s", k, f), func(t *testing.T) {
				check(t, Make(t, k, f))
				if !k.alone() && k != SynSent {
					check(t, NewListener(t, f, 0).Make(t, k))
				}
			})
		}
	}
}

func check(t *testing.T, c *Conn) {
	t.Helper()
	if c.Kind != Bound { // /proc/net/tcp does not show bound sockets
		if got, ok := procState(c.Kind.Protocol(), c.Local, c.Remote); !ok || got != c.Kind.State() {
			t.Errorf("state is %s (%t)", got, ok)
		}
	}
	if owned := c.FD >= 0; owned != c.Kind.Owned() {
		t.Errorf("this process has the socket: %t", owned)
	}
	if c.SeenAfter.Before(c.StartedBefore) || time.Since(c.SeenAfter) > waitLimit {
		t.Errorf("the state began between %s and %s", c.StartedBefore, c.SeenAfter)
	}
	if c.Local.Addr() != c.Family.Local() || c.Local.Port() == 0 {
		t.Errorf("local end is %s", c.Local)
	}
}

// The reset at cleanup also ends sockets that no process has.
func TestCleanupEndsOrphans(t *testing.T) {
	Need(t)
	for _, k := range []Kind{FinWait1Orphan, FinWait2Orphan, ClosingOrphan, LastAckOrphan, CloseWaitUnaccepted} {
		var c *Conn
		t.Run(k.String(), func(t *testing.T) { c = Make(t, k, IPv4) })
		WaitFor(t, k.String()+" to end", func() bool {
			_, ok := procState(collectors.TCP, c.Local, c.Remote)
			return !ok
		})
	}
}

func TestMany(t *testing.T) {
	for k, n := range map[Kind]int{Established: 20, CloseWait: batch + 20, CloseWaitUnread: 20, FinWait2: 20} {
		t.Run(k.String(), func(t *testing.T) {
			LeakCheck(t)
			for _, c := range Many(t, k, IPv6, n) {
				if s, ok := c.Now(); !ok || s != k.State() || c.Peer != -1 {
					t.Fatalf("%s: state %s, peer %d", c.Local, s, c.Peer)
				}
			}
		})
	}
}

// From inside, no process and no namespace of the host is visible.
func TestIsolation(t *testing.T) {
	Need(t)
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(processes) == 0 || len(processes) > 5 {
		t.Errorf("processes: %v (%v)", processes, err)
	}
	for _, s := range []string{"tcp", "tcp6", "udp", "udp6"} {
		table, err := os.ReadFile("/proc/net/" + s)
		if err != nil || strings.Count(string(table), "\n") > 1 && !strings.Contains(string(table), " 06 ") {
			t.Errorf("%s: %v\n%s", s, err, table)
		}
	}
}

func TestNamespace(t *testing.T) {
	LeakCheck(t)
	n := NewNamespace(t, "other")
	if _, err := os.Stat("/run/netns/other"); err != nil {
		t.Error(err)
	}
	n.Sysctl(t, "net/ipv4/tcp_fin_timeout", "17")
	cookies := map[uint64]bool{}
	for _, n := range []*Namespace{n, Home(t), Peer(t)} {
		fd, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		if err != nil || cookies[cookie] {
			t.Errorf("%s: cookie %d (%v)", n.Name, cookie, err)
		}
		cookies[cookie] = true
	}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_fin_timeout"); err != nil || string(b) == "17\n" {
		t.Errorf("the sysctl of the other namespace is ours: %s (%v)", b, err)
	}
}

func TestHolder(t *testing.T) {
	LeakCheck(t)
	conns := Many(t, CloseWait, IPv4, 20)
	const comm = "a) R (b\nx"
	o := HolderOptions{Conns: conns, Comm: comm, Program: "nginx", Args: []string{"worker process"}, IgnoreTerm: true, NoFile: 100}
	if HasUsers() {
		o.UID = 65534
	}
	h := StartHolder(t, o)
	dir := fmt.Sprintf("/proc/%d/", h.PID)
	if b, _ := os.ReadFile(dir + "comm"); string(b) != comm+"\n" {
		t.Errorf("comm is %q", b)
	}
	if b, _ := os.ReadFile(dir + "cmdline"); string(b) != "nginx\x00worker process\x00" {
		t.Errorf("cmdline is %q", b)
	}
	if exe, _ := os.Readlink(dir + "exe"); filepath.Base(exe) != "nginx" {
		t.Errorf("exe is %q", exe)
	}
	if b, _ := os.ReadFile(dir + "limits"); !strings.Contains(string(b), "Max open files            100                  100 ") {
		t.Errorf("limits:\n%s", b)
	}
	if n := sockets(h.PID); n != len(conns) {
		t.Errorf("it holds %d sockets", n)
	}
	h.CloseSockets(t)
	if n := sockets(h.PID); n != 0 {
		t.Errorf("it still holds %d sockets", n)
	}
	if err := unix.Kill(h.PID, unix.SIGTERM); err != nil || !h.Running() {
		t.Errorf("SIGTERM: %v, running: %t", err, h.Running())
	}
	if err := unix.Kill(h.PID, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if ws := h.Wait(t); ws.Signal() != unix.SIGKILL {
		t.Errorf("it ended by %v", ws)
	}
}

// Without IgnoreTerm a holder obeys, and the sockets live on in another holder.
func TestTwoHolders(t *testing.T) {
	c := Make(t, CloseWaitFIN, IPv6)
	first := StartHolder(t, HolderOptions{Conns: []*Conn{c}, Keep: true})
	second := StartHolder(t, HolderOptions{Conns: []*Conn{c}})
	if err := unix.Kill(first.PID, unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if ws := first.Wait(t); ws.Signal() != unix.SIGTERM {
		t.Errorf("it ended by %v", ws)
	}
	if s, _ := c.Now(); s != collectors.CloseWait || sockets(second.PID) != 1 {
		t.Errorf("state %s, second holder has %d sockets", s, sockets(second.PID))
	}
	if err := unix.Kill(second.PID, unix.SIGTERM); err != nil {
		t.Error(err)
	}
	second.Wait(t)
	WaitFor(t, "the socket to leave CLOSE_WAIT", func() bool {
		s, _ := c.Now()
		return s != collectors.CloseWait
	})
}

func sockets(pid int) int {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	n := 0
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

func TestWithoutCapability(t *testing.T) {
	Need(t)
	repair := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR, 1)
	}
	if err := WithoutCapability(t, repair, unix.CAP_NET_ADMIN); !errors.Is(err, unix.EPERM) {
		t.Errorf("without CAP_NET_ADMIN: %v", err)
	}
	if err := WithoutCapability(t, repair); err != nil {
		t.Errorf("with all capabilities: %v", err)
	}
}

// A leak is noticed; what was there before is not a leak.
func TestLeakCheck(t *testing.T) {
	before := openFDs()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if after := openFDs(); len(after) < len(before)+2 {
		t.Errorf("%d descriptors after %d", len(after), len(before))
	}
	known, stop := goroutines(), make(chan struct{})
	go func() { <-stop }()
	now := goroutines()
	maps.DeleteFunc(now, func(id, _ string) bool { _, was := known[id]; return was })
	if len(now) != 1 {
		t.Errorf("%d new goroutines: %v", len(now), now)
	}
	close(stop)
	_, _ = r.Close(), w.Close()
}
