// Program service is what the containers of the tests run: it listens, keeps every
// connection and reads none, and ends when it is asked to.
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
	l, err := net.Listen("tcp", ":8080")
	if err != nil { // another one in the namespace has it
		l, err = net.Listen("tcp", ":8081")
	}
	if err == nil {
		go keep(l)
	}
	<-stop
}

func keep(l net.Listener) {
	var kept []net.Conn // what is not referred to is closed
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		kept = append(kept, c)
	}
}
