package control

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxOfOne is how many connections one user has at a time, and maxClients how many all
	// have. One more ends the oldest: clients that neither write nor read keep nobody out.
	maxOfOne   = 32
	maxClients = 256
)

// client is a connection, with who has made it.
type client struct {
	net.Conn
	peer    unix.Ucred
	clients *clients
	once    sync.Once
}

// Close ends the connection and makes room for another.
func (c *client) Close() error {
	c.once.Do(func() { c.clients.forget(c) })
	return c.Conn.Close() //nolint:wrapcheck // a net.Conn
}

// clients is a listener that knows its open connections, oldest first.
type clients struct {
	net.Listener
	mu   sync.Mutex
	open []*client
}

// Accept waits for a connection. It never fails because of what a client does.
func (l *clients) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // a net.Listener
		}
		peer, err := peerOf(conn)
		if err != nil {
			_ = conn.Close()
			continue
		}
		c := &client{Conn: conn, peer: *peer, clients: l}
		if old := l.add(c); old != nil {
			_ = old.Close()
		}
		return c, nil
	}
}

// add notes a connection. It returns the one that has to end for it, nil for none: the
// oldest of the same user if that has too many, else of the user who has most.
func (l *clients) add(c *client) (ends *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, c)
	of := map[uint32]int{}
	for _, o := range l.open {
		of[o.peer.Uid]++
	}
	most := c.peer.Uid
	for uid, n := range of {
		if n > of[most] && len(l.open) > maxClients {
			most = uid
		}
	}
	if len(l.open) <= maxClients && of[most] <= maxOfOne {
		return nil
	}
	for _, o := range l.open {
		if o.peer.Uid == most {
			return o
		}
	}
	return nil
}

func (l *clients) forget(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, o := range l.open {
		if o == c {
			l.open = append(l.open[:i:i], l.open[i+1:]...)
			return
		}
	}
}

// peerOf asks the kernel who has made a connection.
func peerOf(conn net.Conn) (*unix.Ucred, error) {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%T is no Unix socket", conn) //nolint:err113 // never
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller closes it
	}
	var peer *unix.Ucred
	if ctl := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); ctl != nil {
		return nil, ctl //nolint:wrapcheck // the caller closes it
	}
	return peer, err //nolint:wrapcheck // the caller closes it
}

// mayChange reports whether a user may change what the watcher does: root and the user
// that it runs as. The overflow uid never may: that is everybody from another user
// namespace, whom we cannot tell apart.
func mayChange(uid uint32) bool {
	return uid != overflow() && (uid == 0 || int(uid) == os.Geteuid())
}

// overflow is the uid that stands for users without one here.
func overflow() uint32 {
	const usual = 65534
	b, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return usual
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return usual
	}
	return uint32(n)
}
