package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// asked is sock_diag that notes which namespaces it was asked about, and what.
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

// of returns how often a namespace was asked about, and forgets it.
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

// emptied looks at one namespace, and knows whether that took a dump.
type emptied struct {
	*lab
	asked *asked
	in    *socklab.Namespace
}

func newEmptied(t *testing.T) *emptied {
	a := &asked{all: map[uint64][]collectors.Query{}}
	return &emptied{newLab(t, Options{Sources: []collectors.Plugin{a.source()}}), a, socklab.NewNamespace(t, "alone")}
}

func (e *emptied) program(t *testing.T, when string) *rules.Program {
	t.Helper()
	return e.rules(t, "netns: all\n"+ruleFile(when, "log"))
}

// counted matches every TCP state that the kernel counts.
const counted = `state in ["ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "LAST_ACK", "CLOSING", "SYN_SENT", "LISTEN"]`

func (e *emptied) look(t *testing.T, what string, p *rules.Program, dumped bool, findings int) {
	t.Helper()
	r := e.cycle(t, p)
	noErrors(t, r)
	found := 0
	for _, f := range r.Findings {
		if f.NS.Inode == inodeOf(e.in) {
			found++
		}
	}
	if got := e.asked.of(e.in); (got > 0) != dumped || found != findings {
		t.Errorf("%s: %d dumps with %d findings, not %d\n%s", what, got, found, findings, describe(r))
	}
	if own := len(e.asked.all[0]); own == 0 {
		t.Errorf("%s: our own is not asked", what)
	}
}

// A namespace is dumped unless the kernel's counters prove that it contains nothing that
// a rule could take.
func TestEmptyNamespaces(t *testing.T) {
	e := newEmptied(t)
	tcp, udp := e.program(t, counted), e.program(t, `protocol == "udp"`)
	e.look(t, "empty", tcp, false, 0)
	e.look(t, "empty, UDP", udp, false, 0)
	e.look(t, "empty, SYN_RECV, which is not counted", e.program(t, `state == "SYN_RECV"`), true, 0)
	e.look(t, "empty, CLOSE, which is not counted", e.program(t, `state == "CLOSE"`), true, 0)
	e.look(t, "empty, any state", e.program(t, "recv_queue > 1000000"), true, 0)
	for domain, at := range map[int]unix.Sockaddr{unix.AF_INET: &unix.SockaddrInet4{Port: 8080}, unix.AF_INET6: &unix.SockaddrInet6{Port: 8080}} {
		fd, err := e.in.Socket(domain, unix.SOCK_STREAM, 0)
		must(t, "socket", err)
		must(t, "bind", unix.Bind(fd, at))
		e.look(t, "bound", tcp, false, 0)
		must(t, "listen", unix.Listen(fd, 1))
		e.look(t, "LISTEN alone", tcp, true, 1)
		e.look(t, "LISTEN, but no UDP", udp, false, 0)
		must(t, "close", unix.Close(fd))
		e.look(t, "closed", tcp, false, 0)
		fd, err = e.in.Socket(domain, unix.SOCK_DGRAM, 0)
		must(t, "socket", err)
		must(t, "bind", unix.Bind(fd, at))
		e.look(t, "UDP alone", udp, true, 1)
		e.look(t, "UDP, but no TCP", tcp, false, 0)
		must(t, "close", unix.Close(fd))
	}
}

// A connection without a listener is counted in every state.
func TestConnectionAlone(t *testing.T) {
	e := newEmptied(t)
	p := e.program(t, counted)
	client, server := pairIn(t, e.in)
	e.look(t, "ESTABLISHED", p, true, 2)
	must(t, "shutdown", unix.Shutdown(client, unix.SHUT_WR))
	e.look(t, "FIN_WAIT2 and CLOSE_WAIT", p, true, 2)
	must(t, "close", unix.Close(client))
	e.look(t, "an orphan, or its mini-socket, and CLOSE_WAIT", p, true, 2)
	must(t, "close", unix.Close(server))
	e.look(t, "TIME_WAIT alone", p, true, 1)

	e.in = socklab.NewNamespace(t, "calling")
	e.look(t, "another empty one", p, false, 0)
	var said []byte
	err := e.in.Do(func() (err error) {
		said, err = exec.Command("sh", "-ec", `ip link add a0 type veth peer name a1; ip link set a0 up; ip link set a1 up
			ip addr add 192.0.2.1/24 dev a0; ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev a0`).CombinedOutput()
		return err
	})
	must(t, "links: "+string(said), err)
	fd, err := e.in.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 2}, Port: 80}); !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	e.look(t, "SYN_SENT alone", p, true, 1) // nobody answers
	must(t, "close", unix.Close(fd))
	e.look(t, "closed", p, false, 0)
}

// One cycle finds what is in each of 200 namespaces, and dumps only those that contain
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

// A rule is about the namespaces that its names, patterns and paths refer to, whatever
// other names these have.
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
		"second":  {"zwei", "other"}, // it goes by the first name
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
