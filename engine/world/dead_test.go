package world

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/procfs"
)

// A socket that was never connected, listens or lives is not dead; one that the peer has
// reset is, for as long as its descriptor is open.
func TestDead(t *testing.T) {
	own := func() int {
		t.Helper()
		all, _, err := deadSockets(t.Context(), procfs.New(""))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			if d.Owner.PID == os.Getpid() {
				return d.Sockets
			}
		}
		return 0
	}
	before := own()
	fresh, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fresh) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if n := own() - before; n != 0 {
		t.Errorf("%d dead while all live", n)
	}
	if err := server.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = server.Close() // resets it, at once on loopback
	if n := own() - before; n != 1 {
		t.Errorf("%d dead, not the one that was reset", n)
	}
	_ = client.Close()
	if n := own() - before; n != 0 {
		t.Errorf("%d dead when it is closed", n)
	}
}
