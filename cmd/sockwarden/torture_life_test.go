package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// life says what a program with sockets does. All its ports are its own choice, as is its
// namespace.
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
	// Count is how many there are. Named ones are made again when they are destroyed;
	// the death of others is an error.
	Count int
	Named bool
	// KeepFD keeps the descriptors of destroyed ones until SIGUSR1.
	KeepFD bool
}

// traffic is connections with data whose echo is checked: one end is in this process, the
// other in whatever listens there.
type traffic struct {
	Long    int      // connections that last until the end
	To      []string // where they go
	Churn   int      // how many at a time open and close short-lived ones
	ChurnTo []string
	UDP     []string
}

// stats are the figures of a life.
type stats struct {
	Opened, Closed int // connections
	Leaked         int // CLOSE_WAIT made
	Destroyed      int // of those
	Named          int // of those that should be destroyed, but are not yet
	Survived       int // long-lived connections and unnamed CLOSE_WAIT, at the end
	Died           int // expendable connections
	RoundTrips     int
	Bytes          int
	Datagrams      int
	Signals        map[string]int
	Errors         []string
}

const envLife = "SOCKWARDEN_TEST_LIFE"

// A life must begin before TestMain makes its own namespaces.
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

// living is a life in progress.
type living struct {
	life
	enter func(func() error) error // runs what makes sockets, in the right namespace

	mu      sync.Mutex
	stats   stats
	servers map[string]*listening
	leaks   []*leaking
	long    []*longLived
	stop    chan struct{} // no more churn, no more leaks
	end     chan struct{}
	busy    sync.WaitGroup // those that end at stop
	all     sync.WaitGroup
	freed   chan struct{} // SIGUSR1: close the kept descriptors
}

func newWorld(l life, enter func(func() error) error) *living {
	return &living{
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

func (w *living) listenToSignals() {
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

func (w *living) count(f func(*stats)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.stats)
}

func (w *living) errorf(format string, args ...any) {
	w.count(func(s *stats) {
		if len(s.Errors) < 20 {
			s.Errors = append(s.Errors, fmt.Sprintf(format, args...))
		}
	})
}

func (w *living) report() stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Signals, s.Errors = maps.Clone(s.Signals), slices.Clone(s.Errors)
	return s
}

func (w *living) begin() error {
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
func (w *living) quiet() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.busy.Wait()
}

// finish ends all traffic and looks at what is left.
func (w *living) finish() {
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
func (w *living) close() {
	for _, s := range w.servers {
		_ = s.l.Close()
	}
	for _, k := range w.leaks {
		for _, p := range k.open {
			_, _ = p.client.Close(), p.server.Close()
		}
	}
}
