package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// life says what a program with sockets does. All its ports are its own choice,
// as its namespace is.
type life struct {
	Comm       string // what it calls itself, "" for the kernel's choice
	IgnoreTerm bool   // SIGTERM has no effect
	DieOfTerm  bool   // SIGTERM ends it; otherwise it outlives and counts every signal
	Serve      []string
	UDP        []string
	Leaks      []leak
	Traffic    traffic
	// Expendable says that established connections may die and are then counted.
	Expendable bool
}

// leak is sockets in CLOSE_WAIT, accepted by one of the addresses of Serve.
type leak struct {
	Addr string
	// Count is how many there are. Named ones are made again when they are
	// destroyed; the death of others is an error.
	Count int
	Named bool
	// KeepFD keeps the descriptors of destroyed ones until SIGUSR1.
	KeepFD bool
}

// traffic is connections with data whose echo is checked, in this process at
// one end and in whatever listens there at the other.
type traffic struct {
	Long    int      // connections that last until the end
	To      []string // where they go
	Churn   int      // how many at a time open and close short-lived ones
	ChurnTo []string
	UDP     []string
}

// stats is what a life came to.
type stats struct {
	Opened, Closed int // connections
	Leaked         int // CLOSE_WAIT made
	Destroyed      int // of those
	Named          int // of those that should be destroyed, are not yet
	Survived       int // long-lived connections and CLOSE_WAIT nobody named, at the end
	Died           int // connections that were expendable
	RoundTrips     int
	Bytes          int
	Datagrams      int
	Signals        map[string]int
	Errors         []string
}

const envLife = "SOCKWARDEN_TEST_LIFE"

// A life has to begin before TestMain makes namespaces of its own.
func init() {
	text, is := os.LookupEnv(envLife)
	if !is {
		return
	}
	var l life
	err := json.Unmarshal([]byte(text), &l)
	if err == nil {
		err = l.live()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "life:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// world is a life that is lived.
type world struct {
	life
	enter func(func() error) error // runs what makes sockets, in the right namespace

	mu      sync.Mutex
	stats   stats
	servers map[string]*listening
	leaks   []*leaking
	long    []*longLived
	stop    chan struct{} // no more churn, no more leaks
	end     chan struct{}
	busy    sync.WaitGroup // those that end by stop
	all     sync.WaitGroup
	freed   chan struct{} // SIGUSR1: kept descriptors are to be closed
}

func newWorld(l life, enter func(func() error) error) *world {
	return &world{
		life: l, enter: enter, servers: map[string]*listening{}, stats: stats{Signals: map[string]int{}},
		stop: make(chan struct{}), end: make(chan struct{}), freed: make(chan struct{}, 100),
	}
}

// live does what it is told on standard input, until that ends.
func (l life) live() error {
	if l.Comm != "" {
		if err := os.WriteFile("/proc/self/comm", []byte(l.Comm), 0); err != nil {
			return err
		}
	}
	w := newWorld(l, func(f func() error) error { return f() })
	w.listenToSignals()
	if err := w.begin(); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(w.report()); err != nil {
		return err
	}
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		word, arg, _ := strings.Cut(orders.Text(), " ")
		switch word {
		case "report":
		case "more":
			n, _ := strconv.Atoi(arg)
			w.more(n)
		case "quiet":
			w.quiet()
		case "finish":
			w.finish()
		}
		if err := out.Encode(w.report()); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) listenToSignals() {
	ch := make(chan os.Signal, 1000)
	signal.Notify(ch)
	signal.Reset(unix.SIGURG, unix.SIGCHLD, unix.SIGPIPE)
	if w.DieOfTerm {
		signal.Reset(unix.SIGTERM)
	}
	if w.IgnoreTerm {
		signal.Ignore(unix.SIGTERM)
	}
	go func() {
		for s := range ch {
			w.count(func(st *stats) { st.Signals[unix.SignalName(s.(syscall.Signal))]++ })
			if s == unix.SIGUSR1 {
				w.freed <- struct{}{}
			}
		}
	}()
}

func (w *world) count(f func(*stats)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.stats)
}

func (w *world) errorf(format string, args ...any) {
	w.count(func(s *stats) {
		if len(s.Errors) < 20 {
			s.Errors = append(s.Errors, fmt.Sprintf(format, args...))
		}
	})
}

func (w *world) report() stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Signals, s.Errors = maps.Clone(s.Signals), slices.Clone(s.Errors)
	return s
}

func (w *world) begin() error {
	for _, addr := range w.Serve {
		if err := w.serve(addr); err != nil {
			return err
		}
	}
	for _, addr := range w.UDP {
		if err := w.serveUDP(addr); err != nil {
			return err
		}
	}
	for _, l := range w.Leaks {
		k := &leaking{leak: l, world: w, server: w.servers[l.Addr]}
		w.leaks = append(w.leaks, k)
		if err := k.fill(l.Count); err != nil {
			return err
		}
		w.all.Go(k.run)
	}
	for i := range w.Traffic.Long {
		c := &longLived{world: w, addr: w.Traffic.To[i%len(w.Traffic.To)]}
		if err := c.open(); err != nil {
			return err
		}
		w.long = append(w.long, c)
		w.all.Go(c.run)
	}
	for range w.Traffic.Churn {
		w.busy.Go(w.churn)
	}
	for _, addr := range w.Traffic.UDP {
		w.all.Go(func() { w.askUDP(addr) })
	}
	return nil
}

// quiet ends whatever opens connections.
func (w *world) quiet() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.busy.Wait()
}

// finish ends all traffic and looks at what is left.
func (w *world) finish() {
	w.quiet()
	close(w.end)
	w.all.Wait()
	for _, k := range w.leaks {
		k.check()
		if !k.Named {
			w.count(func(s *stats) { s.Survived += len(k.open) })
		}
	}
	for _, c := range w.long {
		if !c.dead {
			w.count(func(s *stats) { s.Survived++ })
		}
		_ = c.conn.Close()
	}
	for addr := range w.servers {
		c, err := w.dial(addr, 'E')
		if err == nil {
			err = w.roundTrip(c, rand.New(rand.NewPCG(1, 1)))
			_ = c.Close()
		}
		if err != nil {
			w.errorf("listener %s at the end: %v", addr, err)
		}
	}
}

// close closes what a world in this process still has.
func (w *world) close() {
	for _, s := range w.servers {
		_ = s.l.Close()
	}
	for _, k := range w.leaks {
		for _, p := range k.open {
			_, _ = p.client.Close(), p.server.Close()
		}
	}
}

// listening is a listener. The first byte of a connection says what becomes of it:
// E is echoed and closed after its end, L is never closed.
type listening struct {
	world  *world
	l      net.Listener
	leaked chan *net.TCPConn
}

func (w *world) serve(addr string) error {
	s := &listening{world: w, leaked: make(chan *net.TCPConn, 1)}
	err := w.enter(func() error {
		lc := net.ListenConfig{KeepAlive: -1}
		lc.SetMultipathTCP(false)
		var err error
		s.l, err = lc.Listen(context.Background(), "tcp", addr)
		return err
	})
	if err != nil {
		return err
	}
	w.servers[addr] = s
	go func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					w.errorf("accept at %s: %v", addr, err)
				}
				return
			}
			go s.handle(c.(*net.TCPConn))
		}
	}()
	return nil
}

func (s *listening) handle(c *net.TCPConn) {
	kind := make([]byte, 1)
	if _, err := io.ReadFull(c, kind); err != nil {
		_ = c.Close()
		return
	}
	if kind[0] == 'L' {
		s.leaked <- c
		return
	}
	_, _ = io.Copy(c, struct{ io.Reader }{c}) // its client says what is wrong
	_ = c.Close()
}

func (w *world) dial(addr string, kind byte) (*net.TCPConn, error) {
	var c net.Conn
	err := w.enter(func() (err error) {
		c, err = (&net.Dialer{KeepAlive: -1, Timeout: 10 * time.Second}).Dial("tcp", addr)
		return err
	})
	if err != nil {
		return nil, err
	}
	_, err = c.Write([]byte{kind})
	return c.(*net.TCPConn), err
}

// roundTrip sends something random and wants it back.
func (w *world) roundTrip(c net.Conn, r *rand.Rand) error {
	sent := make([]byte, 1+r.IntN(2048))
	for i := range sent {
		sent[i] = byte(r.Uint32())
	}
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(sent); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		return fmt.Errorf("%d bytes came back changed", len(sent))
	}
	w.count(func(s *stats) { s.RoundTrips++; s.Bytes += len(sent) })
	return nil
}

// longLived is a connection with traffic that lasts until the end.
type longLived struct {
	world *world
	addr  string
	conn  *net.TCPConn
	dead  bool
}

func (c *longLived) open() (err error) {
	if c.conn, err = c.world.dial(c.addr, 'E'); err == nil {
		c.world.count(func(s *stats) { s.Opened++ })
	}
	return err
}

func (c *longLived) run() {
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for {
		if err := c.world.roundTrip(c.conn, r); err != nil {
			c.dead = true
			if c.world.Expendable {
				c.world.count(func(s *stats) { s.Died++ })
			} else {
				c.world.errorf("connection with %s: %v", c.addr, err)
			}
			return
		}
		select {
		case <-c.world.end:
			return
		case <-time.After(time.Duration(20+r.IntN(100)) * time.Millisecond):
		}
	}
}

// churn opens and closes connections in all the ways that programs do.
func (w *world) churn() {
	r := rand.New(rand.NewPCG(rand.Uint64(), 2))
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(time.Duration(r.IntN(5)) * time.Millisecond):
		}
		addr := w.Traffic.ChurnTo[r.IntN(len(w.Traffic.ChurnTo))]
		c, err := w.dial(addr, 'E')
		if err != nil {
			w.errorf("short-lived connection with %s: %v", addr, err)
			continue
		}
		w.count(func(s *stats) { s.Opened++ })
		for range r.IntN(3) {
			if err = errors.Join(err, w.roundTrip(c, r)); err != nil {
				break
			}
		}
		switch r.IntN(4) {
		case 0: // RST
			err = errors.Join(err, c.SetLinger(0))
		case 1: // the other end is in CLOSE_WAIT for a moment
			err = errors.Join(err, c.CloseWrite())
			_, readErr := io.Copy(io.Discard, c)
			err = errors.Join(err, readErr)
		}
		if err = errors.Join(err, c.Close()); err != nil {
			w.errorf("short-lived connection with %s: %v", addr, err)
		}
		w.count(func(s *stats) { s.Closed++ })
	}
}

// leaking keeps sockets in CLOSE_WAIT.
type leaking struct {
	leak
	world  *world
	server *listening
	open   []pair
	kept   []*net.TCPConn // destroyed, with their descriptors
	turn   int
}

// pair is a connection whose client has closed. Where nothing is to happen to it
// the client has only shut it down, and still hears what the server says.
type pair struct{ server, client *net.TCPConn }

func (p pair) state() collectors.State {
	state := collectors.Close
	if raw, err := p.server.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO); err == nil {
				state = collectors.State(info.State)
			}
		})
	}
	return state
}

func (k *leaking) fill(n int) error {
	for range n {
		c, err := k.world.dial(k.Addr, 'L')
		if err != nil {
			return err
		}
		p := pair{<-k.server.leaked, c}
		if k.Named {
			err = c.Close()
		} else {
			err = c.CloseWrite()
		}
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, p.server); err != nil && !k.Named {
			return err // a named one can be destroyed at once
		}
		k.open = append(k.open, p)
		k.world.count(func(s *stats) {
			s.Opened++
			s.Leaked++
			if k.Named {
				s.Named++
			}
		})
	}
	return nil
}

func (k *leaking) run() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var freed chan struct{}
	if k.KeepFD {
		freed = k.world.freed
	}
	for {
		select {
		case <-k.world.end:
			return
		case <-freed:
			for _, c := range k.kept {
				_ = c.Close()
			}
			k.kept = nil
		case <-tick.C:
			k.check()
			k.refill()
			k.talk()
		}
	}
}

// refill makes as many as were destroyed, unless nothing is to be opened any more.
func (k *leaking) refill() {
	k.world.mu.Lock()
	missing := min(k.Count-len(k.open)-len(k.kept), 10)
	k.world.mu.Unlock()
	select {
	case <-k.world.stop:
		return
	default:
	}
	if missing > 0 {
		if err := k.fill(missing); err != nil {
			k.world.errorf("leak at %s: %v", k.Addr, err)
		}
	}
}

// more adds to the first leak and returns when that is done.
func (w *world) more(n int) {
	w.mu.Lock()
	w.leaks[0].Count += n
	want := w.stats.Leaked + n
	w.mu.Unlock()
	for until := time.Now().Add(10 * time.Second); w.report().Leaked < want; {
		if time.Now().After(until) {
			w.errorf("no more leaks after 10 s")
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (k *leaking) check() {
	var open []pair
	for _, p := range k.open {
		state := p.state()
		if state == collectors.CloseWait {
			open = append(open, p)
			continue
		}
		if !k.Named {
			k.world.errorf("CLOSE_WAIT at %s is %s", k.Addr, state)
		}
		k.world.count(func(s *stats) {
			s.Destroyed++
			if k.Named {
				s.Named--
			}
		})
		if k.KeepFD {
			k.kept = append(k.kept, p.server)
		} else {
			_ = p.server.Close()
		}
	}
	k.open = open
}

// talk sends something from a server in CLOSE_WAIT to its client.
func (k *leaking) talk() {
	if k.Named || len(k.open) == 0 {
		return
	}
	p := k.open[k.turn%len(k.open)]
	k.turn++
	text := fmt.Appendf(nil, "still here %8d\n", k.turn)
	got := make([]byte, len(text))
	_ = p.client.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := p.server.Write(text)
	if err == nil {
		_, err = io.ReadFull(p.client, got)
	}
	if err == nil && !bytes.Equal(got, text) {
		err = fmt.Errorf("%q became %q", text, got)
	}
	if err != nil {
		k.world.errorf("data of CLOSE_WAIT at %s: %v", k.Addr, err)
		return
	}
	k.world.count(func(s *stats) { s.RoundTrips++; s.Bytes += len(text) })
}

func (w *world) serveUDP(addr string) error {
	var c net.PacketConn
	err := w.enter(func() (err error) {
		c, err = net.ListenPacket("udp", addr)
		return err
	})
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err == nil {
				_, err = c.WriteTo(buf[:n], from)
			}
			if err != nil {
				w.errorf("UDP server %s: %v", addr, err)
				return
			}
		}
	}()
	return nil
}

func (w *world) askUDP(addr string) {
	var c net.Conn
	err := w.enter(func() (err error) {
		c, err = net.Dial("udp", addr)
		return err
	})
	for n := 0; err == nil; n++ {
		sent, got := fmt.Appendf(nil, "%s %d", addr, n), make([]byte, 2048)
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err = c.Write(sent); err != nil {
			break
		}
		var size int
		if size, err = c.Read(got); err == nil && !bytes.Equal(got[:size], sent) {
			err = fmt.Errorf("%q became %q", sent, got[:size])
		}
		w.count(func(s *stats) { s.Datagrams++ })
		select {
		case <-w.end:
			_ = c.Close()
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	w.errorf("UDP client of %s: %v", addr, err)
}

// program is a life in a process of its own.
type program struct {
	*exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	done chan struct{}
}

// start starts a life in a namespace and returns when all its sockets are there.
// It is killed at the end of the test.
func (l life) start(t *testing.T, ns *socklab.Namespace) *program {
	t.Helper()
	orders, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{Cmd: exec.Command(exe), done: make(chan struct{})}
	p.Env = append(os.Environ(), envLife+"="+string(orders))
	p.Stderr = os.Stderr
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe() // of our own: Wait must not close it before it is read
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout, p.out = w, bufio.NewReader(out)
	err = ns.Do(p.Start)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Wait(); close(p.done) }()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
		_ = p.in.Close()
		_ = out.Close()
	})
	p.read(t)
	return p
}

// ask gives an order and returns the figures after it.
func (p *program) ask(t *testing.T, order string) stats {
	t.Helper()
	if _, err := io.WriteString(p.in, order+"\n"); err != nil {
		t.Fatalf("program %d: %v", p.Process.Pid, err)
	}
	return p.read(t)
}

func (p *program) read(t *testing.T) (s stats) {
	t.Helper()
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		t.Fatalf("program %d: %v", p.Process.Pid, err)
	}
	return s
}

// ended returns how the process ended, false if it has not.
func (p *program) ended() (syscall.WaitStatus, bool) {
	select {
	case <-p.done:
		ws, _ := p.ProcessState.Sys().(syscall.WaitStatus)
		return ws, true
	default:
		return 0, false
	}
}
