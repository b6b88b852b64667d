// Program service runs in the tests' containers: it listens, keeps every connection,
// reads none, and ends when asked to.
package main

import (
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if l, err := net.Listen("tcp", ":8080"); err == nil { // another container in the namespace may have the port
		go keep(l)
	}
	<-stop
}

func keep(l net.Listener) {
	var kept []net.Conn // the garbage collector closes what nothing refers to
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		kept = append(kept, c)
	}
}
