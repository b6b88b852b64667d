package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// What a client of behave asks for with its first byte.
const (
	asksNothing = 'n' // the server waits for more
	asksMuch    = 'm' // it sends as fast as it can, for ever
	asksBursts  = 'b' // it sends 8 MiB for each further byte
)

// behave is a server in its own process that treats each client as the client asks, and
// keeps what clients have closed. Its arguments are words:
//
//	listen=ADDR[,IDLE,INTERVAL,COUNT]  a listener; its connections have that
//	                                   keepalive, in seconds, or none
//	share=ADDR                         a listener that shares its port (SO_REUSEPORT)
//	udp=ADDR                           a UDP socket that reads nothing
//	name=COMM                          call itself that
//	nofile=N                           limit itself to N descriptors
func behave() {
	for _, arg := range os.Args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "listen":
			words := strings.Split(value, ",")
			host, port, err := net.SplitHostPort(words[0])
			must(err)
			n, err := strconv.Atoi(port)
			must(err)
			go behaveAt(mustListen(host, n), words[1:])
		case "share":
			fd, err := sharing(netip.MustParseAddrPort(value), queueOfMany)
			must(err)
			l, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
			must(err)
			go behaveAt(l, nil)
		case "udp":
			c, err := net.ListenPacket("udp", value)
			must(err)
			defer func() { _ = c.Close() }() // until the test ends
		case "name":
			must(os.WriteFile("/proc/self/comm", []byte(value), 0))
		case "nofile":
			n, err := strconv.ParseUint(value, 10, 64)
			must(err)
			must(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}))
		default:
			must(fmt.Errorf("unknown word %q", arg))
		}
	}
	fmt.Println("READY")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
}

const queueOfMany = 128

// sharing listens on a port that others can share, with a queue of the given length.
func sharing(at netip.AddrPort, queue int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}), unix.Listen(fd, queue))
}

func behaveAt(l net.Listener, keepalive []string) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		must(err)
		c, _ := conn.(*net.TCPConn)
		keep(c)
		if len(keepalive) > 0 {
			must(c.SetKeepAlive(true))
			for i, option := range []int{unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT} {
				n, err := strconv.Atoi(keepalive[i])
				must(err)
				must(onFD(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, n) }))
			}
		}
		go behaveTo(c)
	}
}

func behaveTo(c *net.TCPConn) {
	ask := make([]byte, 1)
	if _, err := io.ReadFull(c, ask); err != nil {
		return
	}
	much := make([]byte, 8<<20)
	for what := ask[0]; ; {
		if what != asksMuch {
			if _, err := io.ReadFull(c, ask); err != nil {
				return // and c stays open
			}
		}
		if what != asksNothing {
			if _, err := c.Write(much); err != nil {
				return
			}
		}
	}
}

func onFD(c *net.TCPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Control(func(fd uintptr) { err = f(int(fd)) }), err)
}

// startServer starts behave and returns its process, which ends with the test.
func startServer(t *testing.T, args ...string) *os.Process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Args = append([]string{"behave"}, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "READY\n" {
		t.Fatalf("behave %v: %q %v", args, line, err)
	}
	return cmd.Process
}

// client is a connection from the peer namespace.
type client struct {
	*net.TCPConn
	t    *testing.T
	name string
}

// dial connects to a server and asks for something.
func dial(t *testing.T, name, addr string, ask byte) *client {
	t.Helper()
	c := &client{t: t, name: name}
	err := socklab.Peer(t).Do(func() error {
		conn, err := (&net.Dialer{KeepAlive: -1, Timeout: patience}).Dial("tcp", addr)
		if err == nil {
			c.TCPConn = conn.(*net.TCPConn)
			_, err = c.Write([]byte{ask})
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() { _ = c.SetLinger(0); _ = c.Close() })
	return c
}

func (c *client) port() uint16 { return c.LocalAddr().(*net.TCPAddr).AddrPort().Port() }

func (c *client) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", c.name, err)
	}
}

// vanish makes the client lose whatever comes in, as if it were switched off; comeBack
// ends that.
func (c *client) vanish() {
	c.t.Helper()
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	c.must(onFD(c.TCPConn, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	}))
}

func (c *client) comeBack() {
	c.t.Helper()
	c.must(onFD(c.TCPConn, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) }))
}

// reads reads on and on until the test ends, size bytes at a time with a rest between.
func (c *client) reads(size int, rest time.Duration) {
	go func() {
		for buf := make([]byte, size); ; time.Sleep(rest) {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}()
}

// lives checks that the server still has the connection.
func (c *client) lives() {
	c.t.Helper()
	if serverSide(c.t)[c.port()].State == "" {
		c.t.Errorf("%s: the server's end is gone", c.name)
	}
}

// end is the server's end of a connection.
type end struct {
	Port     uint16 `json:"remote_port"`
	State    string
	IdleSend float64 `json:"idle_send"`
	AckIdle  float64 `json:"ack_idle"`
}

// serverSide returns the connections there are, by the port of their peers.
func serverSide(t *testing.T) map[uint16]end {
	t.Helper()
	code, out, errs := run(t, "list", "--columns", "remote_port,state,idle_send,ack_idle", "-o", "json")
	var all []end
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 {
		t.Fatalf("list exits %d, %v\n%s%s", code, err, out, errs)
	}
	ends := map[uint16]end{}
	for _, e := range all {
		ends[e.Port] = e
	}
	return ends
}

// verdicts are what a run says of each client: the rule, then the decision or, after
// acting, the result.
type verdicts map[string]string

// judge runs sockwarden with rules and returns what it says of the clients. A finding
// that is about none of them is there under its peer's port.
func judge(t *testing.T, clients []*client, args ...string) verdicts {
	t.Helper()
	code, out, errs := run(t, append(args, "-o", "json")...)
	var report struct {
		Findings []struct {
			Rule, Decision, Reason string
			Actions                []struct{ Result string }
			Socket                 struct {
				Port uint16 `json:"remote_port"`
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
		t.Fatalf("%v exits %d, %v\n%s%s", args, code, err, out, errs)
	}
	v := verdicts{}
	for _, f := range report.Findings {
		name := strconv.Itoa(int(f.Socket.Port))
		if i := slices.IndexFunc(clients, func(c *client) bool { return c.port() == f.Socket.Port }); i >= 0 {
			name = clients[i].name
		}
		what := f.Decision
		if len(f.Actions) > 0 {
			what = f.Actions[len(f.Actions)-1].Result
		}
		v[name] = f.Rule + " " + what
	}
	return v
}

// until judges again and again until the verdicts are the wanted ones.
func until(t *testing.T, clients []*client, want verdicts, args ...string) {
	t.Helper()
	var got verdicts
	eventually(t, func() bool {
		got = judge(t, clients, args...)
		return maps.Equal(got, want)
	}, func() string { return fmt.Sprintf("%v:\n%v, not\n%v", args, got, want) })
}

// untilDone runs again and again until it has seen everything that is wanted, and nothing
// else: what waits or has been done drops out of the picture.
func untilDone(t *testing.T, clients []*client, want verdicts, args ...string) {
	t.Helper()
	seen := verdicts{}
	eventually(t, func() bool {
		for name, what := range judge(t, clients, args...) {
			if !strings.HasSuffix(what, " pending") && !strings.HasSuffix(what, " cooldown") {
				seen[name] = what
			}
		}
		return len(seen) >= len(want)
	}, func() string { return fmt.Sprintf("%v:\n%v, not\n%v", args, seen, want) })
	if !maps.Equal(seen, want) {
		t.Errorf("%v:\n%v, not\n%v", args, seen, want)
	}
}

// eventually polls: what the kernel's timers bring about takes seconds.
func eventually(t *testing.T, cond func() bool, what func() string) {
	t.Helper()
	for began := time.Now(); !cond(); time.Sleep(250 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("waited %s in vain: %s", patience, what())
		}
	}
}

// edited copies the examples and changes one of them, as somebody would who tries it:
// pairs are old and new text. Each old text must be there, once.
func edited(t *testing.T, name string, pairs ...string) (path string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "examples"))); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(text, pairs[i]); n != 1 {
			t.Fatalf("%s: %q is there %d times", name, pairs[i], n)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serverAddr is where servers listen for clients in the peer namespace.
func serverAddr(f socklab.Family, port uint16) string {
	return netip.AddrPortFrom(f.Local(), port).String()
}
