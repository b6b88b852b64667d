// Command leaky is a leaking server to practise on: it never closes the connections that
// its clients have closed, and so collects CLOSE_WAIT sockets on the loopback interface.
//
//	go run ./examples/leaky
//
// In another terminal, a minute later, or at once with a shorter timeout:
//
//	sudo sockwarden audit
//	sudo sockwarden audit --var close_wait_timeout=2
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	port := flag.Int("port", 0, "port to listen on, 0 for a free one")
	count := flag.Int("n", 5, "connections to leak")
	lifetime := flag.Duration("for", 10*time.Minute, "how long to stay")
	flag.Parse()
	if err := run(*port, *count, *lifetime); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run leaks until its time is up or somebody ends it.
func run(port, count int, lifetime time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, lifetime)
	defer cancel()
	return leak(ctx, port, count)
}

// leak opens count connections to itself, closes the clients' ends, and keeps the
// server's ends until ctx ends.
func leak(ctx context.Context, port, count int) error {
	// Keepalive replies would renew the stamp that proves an age.
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer func() { _ = l.Close() }()
	var kept []net.Conn
	defer func() {
		for _, c := range kept {
			_ = c.Close()
		}
	}()
	d := net.Dialer{KeepAlive: -1}
	for range count {
		client, err := d.DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		server, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		kept = append(kept, server)
		if err := client.Close(); err != nil {
			return fmt.Errorf("close: %w", err)
		}
	}
	fmt.Printf("pid %d leaks %d CLOSE_WAIT connections on port %d; Ctrl-C ends it\n", os.Getpid(), count, l.Addr().(*net.TCPAddr).Port)
	<-ctx.Done()
	return nil
}
