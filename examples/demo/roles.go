package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ready is what a process says when its sockets are as they should be.
const ready = "READY\n"

// server is a process that listens, and what it does with a connection.
type server struct {
	name    string
	port    int
	clients int
	handle  func(net.Conn)
	// client does the other end's part.
	client func(net.Conn) error
}

var servers = []server{
	{"leaky", 8080, 5, silence, net.Conn.Close},
	{"database", 5432, 1, silence, vanish},
	{"relay", 21117, 1, flood, func(net.Conn) error { return nil }},
	{"web", 8443, 3, echo, talk},
}

// serve accepts connections for ever, and closes none.
func serve(ctx context.Context, name string) error {
	for _, s := range servers {
		if s.name != name {
			continue
		}
		lc := net.ListenConfig{KeepAlive: -1} // replies would renew the stamps that prove ages
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		fmt.Print(ready)
		for {
			c, err := l.Accept()
			if err != nil {
				return fmt.Errorf("accept: %w", err)
			}
			go s.handle(c)
		}
	}
	return fmt.Errorf("no server is named %q", name)
}

// connect makes all clients, and keeps their ends open.
func connect(ctx context.Context) error {
	var kept []net.Conn
	d := net.Dialer{KeepAlive: -1}
	d.SetMultipathTCP(false)
	for _, s := range servers {
		for range s.clients {
			c, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
			if err != nil {
				return fmt.Errorf("connect to %s: %w", s.name, err)
			}
			if err := s.client(c); err != nil {
				return fmt.Errorf("client of %s: %w", s.name, err)
			}
			kept = append(kept, c)
		}
	}
	fmt.Print(ready)
	<-ctx.Done()
	for _, c := range kept {
		_ = c.Close()
	}
	return nil
}

// silence keeps a connection and does nothing with it.
func silence(c net.Conn) {
	for { // a reference, so that it is not closed as garbage
		time.Sleep(time.Hour)
		_ = c.LocalAddr()
	}
}

// flood writes until the peer's window and our buffer are full, and goes on trying.
func flood(c net.Conn) {
	_, _ = io.Copy(c, zeros{})
	silence(c)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// echo answers.
func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// talk says something every second, and reads the answer.
func talk(c net.Conn) error {
	go func() {
		b := make([]byte, 1)
		for range time.Tick(time.Second) {
			if _, err := c.Write(b); err != nil {
				fmt.Fprintln(os.Stderr, "demo: a healthy connection is gone:", err)
				return
			}
			_, _ = io.ReadFull(c, b)
		}
	}()
	return nil
}

// vanish ends a client without a word, as a host that loses its power: a socket under
// repair sends nothing when it is closed.
func vanish(c net.Conn) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return errors.New("no descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return fmt.Errorf("vanish: %w", err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) }); err != nil || set != nil {
		return errors.Join(err, set)
	}
	return c.Close() //nolint:wrapcheck // said by the caller
}
