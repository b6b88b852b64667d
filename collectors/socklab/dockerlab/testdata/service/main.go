// Program service is what the containers of the tests run: it listens, keeps every
// connection and reads none, and ends when it is asked to. Its arguments are ports, as
// 21117/tcp and 21116/udp; without any it is 8080/tcp, or 8081/tcp if that is taken. As hbbs
// or hbbr it has the ports of that program.
package main

import (
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// rustDesk has the ports of RustDesk's programs.
var rustDesk = map[string][]string{
	"hbbs": {"21115/tcp", "21116/tcp", "21116/udp", "21118/tcp"},
	"hbbr": {"21117/tcp", "21119/tcp"},
}

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	ports := os.Args[1:]
	if of := rustDesk[filepath.Base(os.Args[0])]; of != nil {
		ports = of
	}
	if len(ports) > 0 {
		for _, arg := range ports {
			port, network, _ := strings.Cut(arg, "/")
			if err := listen(network, port); err != nil {
				panic(err)
			}
		}
	} else if listen("tcp", "8080") != nil { // another one in the namespace has it
		_ = listen("tcp", "8081")
	}
	<-stop
}

func listen(network, port string) error {
	if network == "udp" {
		c, err := net.ListenPacket(network, ":"+port)
		if err == nil {
			kept = append(kept, c)
		}
		return err
	}
	l, err := net.Listen(network, ":"+port)
	if err == nil {
		go keep(l)
	}
	return err
}

var kept []net.PacketConn // what is not referred to is closed

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
