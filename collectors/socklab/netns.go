package socklab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	netnsDir = "/run/netns" // private to the lab
	// kept is what of sockwarden's own outlives a reboot; if the host has it, tests get an
	// empty one.
	kept     = "/var/lib/sockwarden"
	peerName = "peer"
)

// home is the namespace of the tests, peer that of the other ends; peerErr says why they
// are not linked.
var (
	home, peer *Namespace
	peerErr    error
)

// Namespace is a network namespace, kept alive by an open descriptor.
type Namespace struct {
	Name string // as under /run/netns; "home" for the tests' own
	file *os.File
}

// Home is the network namespace that the tests run in.
func Home(t testing.TB) *Namespace {
	t.Helper()
	Need(t)
	return home
}

// Peer is the namespace of the other ends. It is called "peer" under /run/netns and
// linked to the tests' namespace by a veth pair. Here is lab0 with 10.9.0.1/24,
// fd00:9::1/64 and fe80::9:1/64; there is peer0, whose addresses end in 2.
func Peer(t testing.TB) *Namespace {
	t.Helper()
	Need(t)
	if peerErr != nil {
		Lacks(t, peerErr)
	}
	return peer
}

// NewNamespace creates a network namespace under that name in /run/netns, with its
// loopback up, until the end of the test.
func NewNamespace(t testing.TB, name string) *Namespace {
	t.Helper()
	Need(t)
	n, err := addNamespace(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.file.Close()
		path := filepath.Join(netnsDir, name)
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
	return n
}

// NewNamelessNamespace creates a network namespace with its loopback up. No name and no
// process leads to it, only what is open in it.
func NewNamelessNamespace(t testing.TB) *Namespace {
	t.Helper()
	Need(t)
	var n *Namespace
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		if err := linkUp("lo"); err != nil {
			return err
		}
		n, err = openNamespace("nameless", "/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.file.Close() })
	return n
}

// FD is an open nsfs descriptor of the namespace; it belongs to n.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Do runs f on a thread in the namespace. What f opens there stays in the namespace. f
// must not end the goroutine, as t.Fatal does.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// Socket is socket(2) in the namespace, close-on-exec and non-blocking.
func (n *Namespace) Socket(domain, typ, proto int) (int, error) {
	fd := -1
	err := n.Do(func() (err error) {
		fd, err = unix.Socket(domain, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
		return err
	})
	return fd, err
}

// Sysctl sets a sysctl of the namespace, such as net/ipv4/tcp_fin_timeout, until the end
// of the test.
func (n *Namespace) Sysctl(t testing.TB, name, value string) {
	t.Helper()
	path := filepath.Join("/proc/sys", name)
	var old []byte
	err := n.Do(func() (err error) {
		if old, err = os.ReadFile(path); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(value), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Do(func() error { return os.WriteFile(path, old, 0) }); err != nil {
			t.Error(err)
		}
	})
}

// onThread runs f on its own thread and brings the thread back home. A thread that cannot
// come back dies with its goroutine.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := f()
		if back := unix.Setns(home.FD(), unix.CLONE_NEWNET); back != nil {
			result <- fmt.Errorf("return from a namespace: %w", back)
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

// addNamespace creates a namespace and binds it to a name, as ip netns add does.
func addNamespace(name string) (*Namespace, error) {
	path := filepath.Join(netnsDir, name)
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return nil, err
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", path, err)
		}
		return linkUp("lo")
	})
	if err != nil {
		return nil, err
	}
	return openNamespace(name, path)
}

func openNamespace(name, path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &Namespace{Name: name, file: f}, nil
}

// openNamespaces opens the namespaces that an ancestor has set up.
func openNamespaces() (err error) {
	if home, err = openNamespace("home", "/proc/thread-self/ns/net"); err != nil {
		return err
	}
	peer, err = openNamespace(peerName, filepath.Join(netnsDir, peerName))
	return err
}
