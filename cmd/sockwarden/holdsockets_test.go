package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// kept keeps the sockets of holdSockets from being closed as garbage.
var (
	keptMu sync.Mutex
	kept   []any
)

func keep(what ...any) {
	keptMu.Lock()
	defer keptMu.Unlock()
	kept = append(kept, what...)
}

// holdSockets is a process with sockets on loopback. Its arguments are words:
//
//	host=ADDR      where the next port listens (127.0.0.1); at :: the clients
//	               speak IPv4, so its connections have mapped addresses
//	port=N         listen here (0: anywhere), for what follows
//	close_wait=N   N connections whose clients have closed
//	established=N  N open connections, their clients in this process
//	udp=N          a UDP socket on this port
//	ignore_term    outlive SIGTERM
//	name=COMM      call itself that
//	child=COMM     a process of that name that has all connections, too
func holdSockets() {
	var listener net.Listener
	port, host := 0, "127.0.0.1"
	for _, arg := range os.Args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "host":
			host = value
		case "port":
			port = n
			listener = mustListen(host, port)
			keep(listener)
		case "close_wait", "established":
			for range n {
				client, err := (&net.Dialer{KeepAlive: -1}).Dial("tcp", strings.Replace(listener.Addr().String(), "[::]", "127.0.0.1", 1))
				must(err)
				conn, err := listener.Accept()
				must(err)
				keep(conn, client)
				if key == "close_wait" {
					must(client.Close())
				}
			}
		case "udp":
			c, err := net.ListenPacket("udp", "127.0.0.1:"+value)
			must(err)
			keep(c)
		case "ignore_term":
			signal.Ignore(syscall.SIGTERM)
		case "child":
			runtime.LockOSThread() // the child dies with this thread
			must(startSharer(value))
		case "name":
			must(os.WriteFile("/proc/self/comm", []byte(value), 0o644))
		default:
			must(fmt.Errorf("unknown word %q", arg))
		}
	}
	fmt.Println("READY")
	runtime.KeepAlive(kept)
	select {}
}

// startSharer starts a process that also has the server's ends of all connections, until
// this one ends.
func startSharer(comm string) error {
	cmd := exec.Command("holdsockets", "name="+comm)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	for _, k := range kept {
		if c, ok := k.(*net.TCPConn); ok && c.LocalAddr().String() == kept[0].(net.Listener).Addr().String() {
			f, err := c.File()
			if err != nil {
				return err
			}
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, f := range cmd.ExtraFiles {
		_ = f.Close()
	}
	kept = append(kept, cmd)
	_, err = bufio.NewReader(out).ReadString('\n')
	return err
}

func mustListen(host string, port int) net.Listener {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	must(err)
	return l
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}
