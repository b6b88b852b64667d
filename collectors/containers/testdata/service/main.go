// Program service is what the containers of the tests run: it listens and ends
// when it is asked to.
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
	if l, err := net.Listen("tcp", ":8080"); err == nil { // another one in the namespace may have it
		defer l.Close()
	}
	<-stop
}
