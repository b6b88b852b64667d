package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/netns"
	"sockwarden/collectors/socklab"
)

// runIP runs ip(8), which holds nothing open afterwards.
func runIP(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}

// pins returns the descriptors of this process that keep a namespace alive: namespace
// files, and sockets in it.
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

// marked makes a namespace in which this process holds nothing, and one end of a pair of
// links into it, which disappears as soon as the kernel has freed the namespace.
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

// Between cycles a live engine keeps no namespace alive, neither with a file nor with a
// netlink socket, even after it has acted there; so the kernel frees the namespace when
// its name is gone.
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

// A watcher that keeps looking holds a namespace for moments at most, and says nothing
// when one disappears.
func TestWatchedNamespaceIsFreed(t *testing.T) {
	w := watchRules(t, Options{}, 50*time.Millisecond, map[string]string{"a.yaml": "netns: all\n" + ruleFile(`port == 7000 && state == "LISTEN"`, "log", "mode: observe")})
	for range 2 {
		inode, del := marked(t, "freed")
		before := w.count()
		l := listens(t, "freed")
		socklab.WaitFor(t, "the finding", func() bool { return w.count() > before })
		if held := pins(inode); len(held) == 0 {
			t.Error("the listener does not show") // then nothing would show
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

// listens makes a listener on port 7000 in a namespace; it returns -1 if it cannot.
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

// Namespaces that come and go while a cycle looks cause no errors and leave no gap.
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
				if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
					t.Errorf("add %s: %v\n%s", name, err, out)
					return
				}
				l := listens(t, name)
				// One process that ends by itself, and one that leaves its own namespace
				// behind.
				if out, err := exec.Command("ip", "netns", "exec", name, "unshare", "-n", "true").CombinedOutput(); err != nil {
					t.Errorf("unshare in %s: %v\n%s", name, err, out)
				}
				_ = unix.Close(l)
				if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
					t.Errorf("del %s: %v\n%s", name, err, out)
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
