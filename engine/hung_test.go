package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/catalog"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// hungAfter is the timeout of the built-in rules in these tests: far longer than a
// transfer rests on a busy machine.
const hungAfter = 3 * time.Second

// builtin is the text of the built-in rules with that timeout, for every namespace.
func builtin(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../rules/default.yaml")
	must(t, "built-in rules", err)
	text := string(b)
	for _, was := range []string{
		"close_wait_timeout: 60", "fin_wait_timeout: 120", "closing_timeout: 60", "last_ack_timeout: 60",
	} {
		name, _, _ := strings.Cut(was, ":")
		if !strings.Contains(text, was) {
			t.Fatalf("no %q in the built-in rules", was)
		}
		text = strings.Replace(text, was, fmt.Sprintf("%s: %v", name, hungAfter.Seconds()), 1)
	}
	return strings.Replace(text, "version: 1\n", "version: 1\nnetns: all\n", 1)
}

// transfer is a connection that is closed in one direction and continues in the other,
// between two descriptors of the child; from is -1 where only the kernel still sends.
type transfer struct {
	*socklab.Conn
	name     string
	from, to int
}

// pumped is what the child reports about a transfer.
type pumped struct {
	Moved int    // bytes that have arrived
	Cut   string // why no more arrive
}

// transfers makes half-closed connections for each family: in one the lab's end is in
// CLOSE_WAIT and sends, in one it is in FIN_WAIT2 and receives, and in two a process has
// written everything and closed while the kernel still delivers, in FIN_WAIT1 and
// LAST_ACK. The other ends are in CLOSE_WAIT, FIN_WAIT2 or ESTABLISHED. A child has them
// all and moves a little data until it is told to "stop".
func transfers(t *testing.T, families ...socklab.Family) ([]transfer, *child) {
	t.Helper()
	var all []transfer
	var held []*socklab.Conn
	hold := func(fd *int) int {
		held = append(held, &socklab.Conn{FD: *fd})
		*fd = -1
		return 2 + len(held)
	}
	for _, f := range families {
		sends := socklab.Make(t, socklab.CloseWait, f)
		all = append(all, transfer{sends, "CLOSE_WAIT " + string(f), hold(&sends.FD), hold(&sends.Peer)})
		receives := socklab.Make(t, socklab.FinWait2, f)
		all = append(all, transfer{receives, "FIN_WAIT2 " + string(f), hold(&receives.Peer), hold(&receives.FD)})
		for _, k := range []socklab.Kind{socklab.Established, socklab.CloseWait} {
			c := socklab.Make(t, k, f)
			fill(t, c)
			c.CloseFD()
			all = append(all, transfer{c, "closed in " + k.String() + " " + string(f), -1, hold(&c.Peer)})
		}
	}
	var o orders
	o.Life = "pumps"
	for _, x := range all {
		o.Pumps = append(o.Pumps, [2]int{x.from, x.to})
	}
	return all, startChild(t, o, held...)
}

// fill writes until nothing more fits. The other end has little room: the kernel frees
// the room of a whole segment at a time, which can be 64 kB.
func fill(t *testing.T, c *socklab.Conn) {
	t.Helper()
	must(t, "SO_RCVBUF", unix.SetsockoptInt(c.Peer, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<10))
	must(t, "SO_SNDBUF", unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20))
	for {
		if _, err := unix.Write(c.FD, make([]byte, 4096)); errors.Is(err, unix.EAGAIN) {
			return
		} else if err != nil {
			t.Fatalf("write: %v", err)
		}
	}
}

// pumpsLife moves a little data again and again until it is told to stop. When told to
// report, it says how far it got.
func pumpsLife(o orders) error {
	told := make(chan string)
	go func() {
		defer close(told)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			told <- in.Text()
		}
	}()
	done := make([]pumped, len(o.Pumps))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	fmt.Println("READY")
	for {
		select {
		case order, more := <-told:
			switch {
			case !more:
				return nil
			case order == "stop":
				tick.Stop()
			}
			if err := json.NewEncoder(os.Stdout).Encode(done); err != nil {
				return err
			}
		case <-tick.C:
			for i, p := range o.Pumps {
				done[i].pump(p[0], p[1])
			}
		}
	}
}

func (p *pumped) pump(from, to int) {
	var err error
	if from >= 0 {
		_, err = unix.Write(from, make([]byte, 512))
	}
	n, readErr := unix.Read(to, make([]byte, 512))
	if p.Moved += max(n, 0); err == nil && !errors.Is(readErr, unix.EAGAIN) {
		err = readErr
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	if err != nil && p.Cut == "" {
		p.Cut = err.Error()
	}
}

// spared fails if either end of a transfer was touched.
func spared(t *testing.T, all []transfer, c *child, order string) {
	t.Helper()
	_, err := fmt.Fprintln(c.in, order)
	must(t, "order", err)
	var done []pumped
	must(t, "report of the child", json.Unmarshal([]byte(c.line(t)), &done))
	for i, d := range done {
		if d.Cut != "" || d.Moved == 0 {
			t.Errorf("%s: cut after %d bytes: %s", all[i].name, d.Moved, d.Cut)
		}
	}
}

// stateOf returns the state of a lab connection, Close if it is gone.
func stateOf(t *testing.T, c *socklab.Conn) collectors.State {
	t.Helper()
	for _, s := range sockets(t) {
		if l, r := ends(&s); l == c.Local && r == c.Remote && s.Protocol == collectors.TCP {
			return s.State
		}
	}
	return collectors.Close
}

// A client sends its request, shuts down its sending side and downloads, slowly and for
// longer than any timeout: neither end is touched, even where the server has written
// everything and closed. Meanwhile a plain leak is destroyed, and so is each transfer
// once it rests.
func TestHalfClosedTransfers(t *testing.T) {
	t.Parallel()
	for _, events := range []look.EventSource{look.EventsOn, look.EventsOff} {
		t.Run(string(events), func(t *testing.T) {
			if socklab.Apart(t) {
				return
			}
			socklab.LeakCheck(t)
			w := &watched{lab: newLab(t, Options{Live: true, Events: events}), dir: t.TempDir(), done: make(chan error, 1)}
			w.write(t, "rules.yaml", builtin(t))
			opts := rules.Options{Paths: []string{w.dir}, Catalog: catalog.New(w.actions)}
			w.start(t, 200*time.Millisecond, func() (*rules.Program, []string, error) { return rules.Load(opts) })
			w.logged(t, 1, "watching live")

			all, pumps := transfers(t, socklab.IPv4, socklab.IPv6)
			begin := time.Now()
			leak := socklab.Make(t, socklab.CloseWaitFIN, socklab.IPv4)
			idle := socklab.Make(t, socklab.FinWait2, socklab.IPv6)
			holder(t, leak, idle)
			for _, c := range []*socklab.Conn{leak, idle} {
				socklab.WaitFor(t, c.Kind.String()+" to be destroyed", func() bool { return stateOf(t, c) == collectors.Close })
				if age := time.Since(c.StartedBefore); age < hungAfter {
					t.Errorf("%s destroyed at the age of %s", c.Kind, age)
				}
			}
			socklab.WaitFor(t, "twice the timeout", func() bool { return time.Since(begin) > 2*hungAfter+time.Second })
			states := map[collectors.State]int{}
			for _, x := range all {
				states[stateOf(t, x.Conn)]++
			}
			want := map[collectors.State]int{collectors.CloseWait: 2, collectors.FinWait2: 2, collectors.FinWait1: 2, collectors.LastAck: 2}
			if fmt.Sprint(states) != fmt.Sprint(want) {
				t.Errorf("%v, not %v\n%s", states, want, strings.Join(w.journal.lines("msg=acted"), "\n"))
			}
			spared(t, all, pumps, "stop")
			for _, x := range all {
				socklab.WaitFor(t, x.name+" to be destroyed when it rests", func() bool { return stateOf(t, x.Conn) == collectors.Close })
			}
		})
	}
}

// The same with single runs, as from cron.
func TestHalfClosedTransfersAndRun(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	socklab.LeakCheck(t)
	l := newLab(t, Options{Live: true})
	p := l.rules(t, builtin(t))
	all, pumps := transfers(t, socklab.IPv4)
	leak := socklab.Make(t, socklab.CloseWait, socklab.IPv6)
	holder(t, leak)
	begin := time.Now()
	socklab.WaitFor(t, "the leak to be destroyed, and twice the timeout", func() bool {
		l.run(t, p)
		return stateOf(t, leak) == collectors.Close && time.Since(begin) > 2*hungAfter
	})
	spared(t, all, pumps, "report")
}

// The time in the state is noted even while data moves: a later look that finds the
// connection still needs no third one.
func TestRememberedWhileItMoves(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	const limit = time.Second
	l := newLab(t, Options{}).stranger()
	p := l.rules(t, ruleFile(`state == "CLOSE_WAIT" && age > 1 && idle > 1`, "log"))
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	send := func() {
		_, err := unix.Write(c.FD, []byte("x"))
		must(t, "write", err)
	}
	socklab.WaitFor(t, "time to pass", func() bool { return time.Since(c.SeenAfter) > limit/2 })
	send()
	first := world.Mono()
	if r := l.cycle(t, p); len(r.Findings) != 0 {
		t.Fatalf("taken while it moves:\n%s", describe(r))
	}
	socklab.WaitFor(t, "more time to pass", func() bool { return world.Mono()-first > limit.Seconds()/2 })
	send() // renews the stamps that a single look has
	last := world.Mono()
	var f *report.Finding
	socklab.WaitFor(t, "the rule to match", func() bool {
		if r := l.cycle(t, p); len(r.Findings) > 0 {
			f = findingOf(t, r, c)
		}
		return f != nil
	})
	age := f.Facts.Age
	if age.Source != collectors.AgeObserved || age.Min < last-first {
		t.Errorf("age %+v, seen %.3f s before the last data", age, last-first)
	}
}

// However long the interval, a connection that stops moving is acted on in time.
func TestStillInTime(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	acted := make(chan time.Time, 1)
	note := &script{name: "note", harmless: true}
	note.apply = func(actions.Target) actions.Outcome {
		select {
		case acted <- time.Now():
		default: // again
		}
		return actions.Outcome{Result: actions.Gone}
	}
	note.verify = func(actions.Target) actions.Outcome { return actions.Outcome{Result: actions.Gone} }
	rule := ruleFile(`state == "CLOSE_WAIT" && age > 1 && idle > 1`, "note")
	w := &watched{lab: newLab(t, Options{Live: true, Events: look.EventsOn}, note).stranger(), dir: t.TempDir(), done: make(chan error, 1)}
	w.write(t, "a.yaml", rule)
	opts := rules.Options{Paths: []string{w.dir}, Catalog: catalog.New(w.actions)}
	w.start(t, time.Hour, func() (*rules.Program, []string, error) { return rules.Load(opts) })
	socklab.WaitFor(t, "the first cycle", func() bool { return w.cycles() > 0 })
	for end := time.Now().Add(2 * time.Minute); ; {
		c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		socklab.WaitFor(t, "half of the time", func() bool { return time.Since(c.SeenAfter) > 500*time.Millisecond })
		before := time.Now()
		_, err := unix.Write(c.FD, []byte("the last"))
		must(t, "write", err)
		rested := time.Now()
		select {
		case at := <-acted:
			if rested.Sub(c.StartedBefore) > time.Second && at.Before(rested) && time.Now().Before(end) {
				continue // on a busy machine it has rested before
			}
			if took := at.Sub(before); took < time.Second {
				t.Errorf("acted %s after the last data", took)
			}
		case <-time.After(2 * time.Minute):
			t.Errorf("nothing was done; %d cycles", w.cycles())
		}
		return
	}
}
