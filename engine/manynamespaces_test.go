package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// asked is sock_diag that notes which namespaces it was asked about what.
type asked struct {
	mu  sync.Mutex
	all map[uint64][]collectors.Query // by the inode of the namespace
}

func (a *asked) source() collectors.Plugin {
	plugin := sockdiag.Plugin()
	real := plugin.New
	plugin.New = func(fd int) collectors.Collector {
		inode := uint64(0) // our own
		if fd >= 0 {
			var st unix.Stat_t
			_ = unix.Fstat(fd, &st)
			inode = st.Ino
		}
		return noting{real(fd), a, inode}
	}
	return plugin
}

type noting struct {
	collectors.Collector
	in    *asked
	inode uint64
}

func (n noting) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	n.in.mu.Lock()
	defer n.in.mu.Unlock()
	n.in.all[n.inode] = append(n.in.all[n.inode], q)
	return n.Collector.Collect(ctx, q)
}

// of says how often a namespace was asked, and forgets it.
func (a *asked) of(n *socklab.Namespace) int {
	inode := inodeOf(n)
	times := len(a.all[inode])
	delete(a.all, inode)
	return times
}

func inodeOf(n *socklab.Namespace) uint64 {
	var st unix.Stat_t
	_ = unix.Fstat(n.FD(), &st)
	return st.Ino
}

// pairIn makes a connection within a namespace, with its listener closed.
func pairIn(t testing.TB, n *socklab.Namespace) (client, server int) {
	t.Helper()
	l, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	defer unix.Close(l)
	must(t, "bind", unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, "listen", unix.Listen(l, 1))
	client, err = n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	if err := unix.Connect(client, name(t, l)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	socklab.WaitFor(t, "the connection", func() bool {
		server, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return err == nil
	})
	return client, server
}

// A namespace is dumped unless the kernel's counters prove that nothing is in it that a
// rule could take.
func TestEmptyNamespaces(t *testing.T) {
	a := &asked{all: map[uint64][]collectors.Query{}}
	l := newLab(t, Options{Sources: []collectors.Plugin{a.source()}})
	n := socklab.NewNamespace(t, "alone")
	program := func(when string) *rules.Program {
		return l.rules(t, "netns: all\n"+ruleFile(when, "log"))
	}
	connected := program(`state in ["ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "LAST_ACK", "CLOSING", "SYN_SENT", "LISTEN"]`)
	udp, synRecv, bound, any := program(`protocol == "udp"`), program(`state == "SYN_RECV"`), program(`state == "CLOSE"`), program("recv_queue > 1000000")
	look := func(what string, p *rules.Program, dumped bool, findings int) {
		t.Helper()
		r := l.cycle(t, p)
		noErrors(t, r)
		found := 0
		for _, f := range r.Findings {
			if f.NS.Inode == inodeOf(n) {
				found++
			}
		}
		if got := a.of(n); (got > 0) != dumped || found != findings {
			t.Errorf("%s: %d dumps with %d findings, not %d\n%s", what, got, found, findings, describe(r))
		}
		if own := len(a.all[0]); own == 0 {
			t.Errorf("%s: our own is not asked", what)
		}
	}
	look("empty", connected, false, 0)
	look("empty, UDP", udp, false, 0)
	look("empty, SYN_RECV, which is not counted", synRecv, true, 0)
	look("empty, CLOSE, which is not counted", bound, true, 0)
	look("empty, any state", any, true, 0)

	only := func(domain, typ int) (fd int) {
		t.Helper()
		fd, err := n.Socket(domain, typ, 0)
		must(t, "socket", err)
		return fd
	}
	for _, domain := range []int{unix.AF_INET, unix.AF_INET6} {
		var at unix.Sockaddr = &unix.SockaddrInet4{Port: 8080}
		if domain == unix.AF_INET6 {
			at = &unix.SockaddrInet6{Port: 8080}
		}
		fd := only(domain, unix.SOCK_STREAM)
		must(t, "bind", unix.Bind(fd, at))
		look("bound", connected, false, 0)
		must(t, "listen", unix.Listen(fd, 1))
		look("LISTEN alone", connected, true, 1)
		look("LISTEN, but no UDP", udp, false, 0)
		must(t, "close", unix.Close(fd))
		look("closed", connected, false, 0)
		fd = only(domain, unix.SOCK_DGRAM)
		must(t, "bind", unix.Bind(fd, at))
		look("UDP alone", udp, true, 1)
		look("UDP, but no TCP", connected, false, 0)
		must(t, "close", unix.Close(fd))
	}
	client, server := pairIn(t, n)
	look("ESTABLISHED without a listener", connected, true, 2)
	must(t, "shutdown", unix.Shutdown(client, unix.SHUT_WR))
	look("FIN_WAIT2 and CLOSE_WAIT", connected, true, 2)
	must(t, "close", unix.Close(client))
	look("an orphan, or its mini-socket, and CLOSE_WAIT", connected, true, 2)
	must(t, "close", unix.Close(server))
	look("TIME_WAIT alone", connected, true, 1)
	// Nobody answers: SYN_SENT alone.
	n = socklab.NewNamespace(t, "calling")
	look("another empty one", connected, false, 0)
	var said []byte
	err := n.Do(func() (err error) {
		said, err = exec.Command("sh", "-ec", `ip link add a0 type veth peer name a1; ip link set a0 up; ip link set a1 up
			ip addr add 192.0.2.1/24 dev a0; ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev a0`).CombinedOutput()
		return err
	})
	must(t, "links: "+string(said), err)
	fd := only(unix.AF_INET, unix.SOCK_STREAM)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 2}, Port: 80}); !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	look("SYN_SENT alone", connected, true, 1)
	must(t, "close", unix.Close(fd))
	look("closed", connected, false, 0)
}

// Of 200 namespaces one cycle finds what is in each, and dumps only those in which there is
// something.
func TestManyNamespaces(t *testing.T) {
	a := &asked{all: map[uint64][]collectors.Query{}}
	l := newLab(t, Options{Sources: []collectors.Plugin{a.source()}})
	want := map[string]bool{}
	for i := range 200 {
		n := socklab.NewNamespace(t, fmt.Sprintf("many-%03d", i))
		if i%4 == 0 {
			listenIn(t, n)
			want[n.Name] = true
		}
	}
	r := l.cycle(t, l.rules(t, "netns: 'many-*'\n"+ruleFile(`state == "LISTEN"`, "log")))
	noErrors(t, r)
	for _, f := range r.Findings {
		if !want[f.Namespace()] {
			t.Errorf("found in %s, or twice", f.Namespace())
		}
		delete(want, f.Namespace())
	}
	if len(want) > 0 || r.Namespaces != 200 || len(a.all) != 50 {
		t.Errorf("not found in %v; %d namespaces, %d of them dumped", want, r.Namespaces, len(a.all))
	}
}

// A rule is about the namespaces that its names, patterns and paths mean, whatever else
// these are called.
func TestSelectedNamespaces(t *testing.T) {
	l := newLab(t, Options{})
	for _, name := range []string{"docker-a", "docker-b", "other"} {
		listenIn(t, socklab.NewNamespace(t, name))
	}
	second := "/run/netns/zwei"
	must(t, "file", os.WriteFile(second, nil, 0o600))
	must(t, "bind", unix.Mount("/run/netns/other", second, "", unix.MS_BIND, ""))
	defer func() { _, _ = unix.Unmount(second, unix.MNT_DETACH), os.Remove(second) }()
	dir := t.TempDir()
	tests := map[string]struct{ spec, want string }{
		"first":   {"other", "other"},
		"second":  {"zwei", "other"}, // it bears the first
		"pattern": {"docker-*", "docker-a docker-b"},
		"list":    {"[docker-b, 'z*']", "docker-b other"},
		"path":    {"/run/netns/docker-a", "docker-a"},
		"all":     {"all", "docker-a docker-b other"},
		"none":    {"docker-*c", ""},
		"host":    {"host", ""},
	}
	for rule, c := range tests {
		text := "netns: " + c.spec + "\n" + strings.Replace(ruleFile(`state == "LISTEN"`, "log", "mode: observe"), "name: r", "name: "+rule, 1)
		must(t, "write", os.WriteFile(filepath.Join(dir, rule+".yaml"), []byte(text), 0o600))
	}
	p, _, err := rules.Load(rules.Options{Paths: []string{dir}, Catalog: catalog.New(l.actions)})
	must(t, "load", err)
	r := l.cycle(t, p)
	if len(r.Errors) != 1 || r.Errors[0].Error() != `no network namespace matches "docker-*c"` || len(r.Unopened()) > 0 || r.Incomplete {
		t.Errorf("errors %v, incomplete %t", r.Errors, r.Incomplete)
	}
	got := map[string][]string{}
	for _, f := range r.Findings {
		if !f.NS.IsOwn() {
			got[f.Rule.Name] = append(got[f.Rule.Name], f.Namespace())
		}
	}
	for rule, c := range tests {
		slices.Sort(got[rule])
		if strings.Join(got[rule], " ") != c.want {
			t.Errorf("netns: %s: %s, not %s", c.spec, got[rule], c.want)
		}
	}
}

// ip runs ip(8), which holds nothing open afterwards.
func runIP(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}

// pins returns the descriptors of this process that keep a namespace alive: files of it,
// and sockets in it.
func pins(inode uint64) (all []string) {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue
		}
		if target == fmt.Sprintf("net:[%d]", inode) {
			all = append(all, target)
		}
		if !strings.HasPrefix(target, "socket:") {
			continue
		}
		if found, err := netns.Select(fmt.Sprintf("/proc/%d/fd/%s", os.Getpid(), filepath.Base(link))); err == nil && found[0].Inode == inode {
			all = append(all, target)
		}
	}
	return all
}

// marked makes a namespace in which this process holds nothing, and an end of a pair of
// links to it, which is gone as soon as the kernel has freed it.
func marked(t *testing.T, name string) (inode uint64, del func()) {
	t.Helper()
	socklab.Need(t)
	runIP(t, "netns", "add", name)
	gone := false
	del = func() {
		if !gone {
			gone = true
			runIP(t, "netns", "del", name)
		}
	}
	t.Cleanup(del)
	runIP(t, "-n", name, "link", "set", "lo", "up")
	runIP(t, "link", "add", "mark0", "type", "veth", "peer", "name", "mark1", "netns", name)
	var st unix.Stat_t
	must(t, "stat", unix.Stat("/run/netns/"+name, &st))
	return st.Ino, del
}

func freed(t *testing.T) {
	t.Helper()
	socklab.WaitFor(t, "the end of the namespace", func() bool {
		_, err := net.InterfaceByName("mark0")
		return err != nil
	})
}

// inNamed runs f in a namespace, and holds nothing of it afterwards.
func inNamed(t *testing.T, name string, f func() error) {
	t.Helper()
	file, err := os.Open("/run/netns/" + name)
	must(t, "open", err)
	defer file.Close()
	must(t, "in "+name, netns.Do(file, f))
}

// Between cycles nothing of a live engine keeps a namespace alive, neither a file nor a
// netlink socket, also after it has acted there; and so the kernel frees it when its name
// is gone.
func TestNothingIsHeldBetweenCycles(t *testing.T) {
	for _, action := range []string{"destroy", "abort"} {
		t.Run(action, func(t *testing.T) {
			inode, del := marked(t, "freed")
			l := newLab(t, Options{Live: true})
			var client, server int
			inNamed(t, "freed", func() (err error) {
				client, server, err = connectHere()
				return err
			})
			h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{{FD: client}, {FD: server}}})
			p := l.rules(t, "netns: all\n"+ruleFile(`port == 7000 && state == "ESTABLISHED" && listener_process != "x"`, action))
			r := l.cycle(t, p)
			noErrors(t, r)
			if r.Summary.Acted != 1 {
				t.Fatalf("it acted %d times:\n%s", r.Summary.Acted, describe(r))
			}
			noErrors(t, l.cycle(t, p))
			if held := pins(inode); len(held) > 0 {
				t.Errorf("it is held by %s", held)
			}
			h.Kill(t)
			del()
			freed(t)
			noErrors(t, l.cycle(t, p))
		})
	}
}

// connectHere makes a connection with port 7000 in the namespace of the thread.
func connectHere() (client, server int, err error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(l)
	at := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 7000}
	if err := errors.Join(unix.Bind(l, at), unix.Listen(l, 1)); err != nil {
		return 0, 0, err
	}
	if client, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, err
	}
	if err := unix.Connect(client, at); err != nil {
		return 0, 0, err
	}
	server, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC)
	return client, server, err
}

// A watcher that goes on looking holds a namespace for moments at most, and says nothing
// when one is gone.
func TestWatchedNamespaceIsFreed(t *testing.T) {
	w := watchRules(t, Options{}, 50*time.Millisecond, map[string]string{"a.yaml": "netns: all\n" + ruleFile(`port == 7000 && state == "LISTEN"`, "log", "mode: observe")})
	for range 2 {
		inode, del := marked(t, "freed")
		before := w.count()
		l := listens(t, "freed")
		socklab.WaitFor(t, "the finding", func() bool { return w.count() > before })
		if held := pins(inode); len(held) == 0 {
			t.Error("the listener does not show") // then nothing would
		}
		must(t, "close", unix.Close(l))
		del()
		freed(t)
	}
	w.end(t)
	for _, wrong := range [][]string{{"level=WARN", "msg=cycle "}, {"level=ERROR"}} { // a slow machine stretches the interval
		if lines := w.journal.lines(wrong...); len(lines) > 0 {
			t.Errorf("%q", lines)
		}
	}
}

// listens makes a listener in a namespace with port 7000, -1 if it cannot.
func listens(t *testing.T, name string) (l int) {
	t.Helper()
	file, err := os.Open("/run/netns/" + name)
	if err == nil {
		defer file.Close()
		err = netns.Do(file, func() (err error) {
			if l, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return errors.Join(unix.Bind(l, &unix.SockaddrInet4{Port: 7000}), unix.Listen(l, 1))
		})
	}
	if err != nil {
		t.Errorf("listen in %s: %v", name, err)
		return -1
	}
	return l
}

// Namespaces that come and go while a cycle looks are no errors, and leave no gap.
func TestNamespacesComeAndGo(t *testing.T) {
	l := newLab(t, Options{})
	p := l.rules(t, "netns: all\n"+ruleFile(`state in ["LISTEN", "ESTABLISHED"] && listener_process != "x"`, "log"))
	ctx, stop := context.WithCancel(t.Context())
	var churn sync.WaitGroup
	came := make([]atomic.Int32, 3)
	for i := range came {
		churn.Go(func() {
			for ctx.Err() == nil {
				name := fmt.Sprint("brief", i)
				if err := exec.Command("ip", "netns", "add", name).Run(); err != nil {
					t.Errorf("add %s: %v", name, err)
					return
				}
				l := listens(t, name)
				// One process that ends by itself, and one that leaves its own namespace behind.
				_ = exec.Command("ip", "netns", "exec", name, "unshare", "-n", "true").Run()
				_ = unix.Close(l)
				if err := exec.Command("ip", "netns", "del", name).Run(); err != nil {
					t.Errorf("del %s: %v", name, err)
					return
				}
				came[i].Add(1)
			}
		})
	}
	defer func() { stop(); churn.Wait() }()
	often := func() bool { return came[0].Load() > 2 && came[1].Load() > 2 && came[2].Load() > 2 }
	for cycles := 0; cycles < 100 || !often(); cycles++ {
		r := l.cycle(t, p)
		noErrors(t, r)
		if r.Incomplete || t.Failed() {
			t.Fatalf("cycle %d is incomplete: %t", cycles, r.Incomplete)
		}
	}
}
