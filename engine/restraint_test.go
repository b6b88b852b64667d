package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
)

// keeper is an action that leaves everything as it is.
func keeper() *script { return outcomes("keep", actions.Outcome{Result: actions.Refused}) }

// tally counts the decisions of a report.
func tally(r *report.Report) map[report.Decision]int {
	n := map[report.Decision]int{}
	for _, f := range r.Findings {
		n[f.Decision]++
	}
	return n
}

func expectTally(t testing.TB, r *report.Report, want map[report.Decision]int) {
	t.Helper()
	if got := tally(r); !maps.Equal(got, want) {
		t.Errorf("decisions %v, want %v; errors %v\n%s", got, want, r.Errors, describe(r))
	}
}

// document is a report as decoded from its JSON.
func document(t testing.TB, r *report.Report) (doc struct {
	Errors   []string
	Findings []map[string]any
},
) {
	t.Helper()
	b, err := json.Marshal(r)
	must(t, "marshal", err)
	must(t, "unmarshal", json.Unmarshal(b, &doc))
	return doc
}

// among is a condition that matches some sockets of the lab.
func among(conns ...*socklab.Conn) string {
	var all []string
	for _, c := range conns {
		all = append(all, fmt.Sprint(c.Local.Port()))
	}
	return "port in [" + strings.Join(all, ", ") + "]"
}

// faulty is sock_diag with some queries that the kernel fails to answer.
func faulty(fails func(collectors.Query) bool) collectors.Plugin {
	plugin := sockdiag.Plugin()
	real := plugin.New
	plugin.New = func(netns int) collectors.Collector { return faultyCollector{real(netns), fails} }
	return plugin
}

type faultyCollector struct {
	collectors.Collector
	fails func(collectors.Query) bool
}

var errOutOfBuffers = errors.New("out of buffers")

func (f faultyCollector) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	if f.fails(q) {
		return func(yield func(*collectors.Socket, error) bool) { yield(nil, errOutOfBuffers) }
	}
	return f.Collector.Collect(ctx, q)
}

// The same port in two namespaces is two listeners: calm in one does not reset the other.
func TestShareOfNamespaces(t *testing.T) {
	here := socklab.NewListener(t, socklab.IPv4, twicePort)
	calm := []*socklab.Conn{here.Make(t, socklab.CloseWait), here.Make(t, socklab.Established), here.Make(t, socklab.Established)}
	holder(t, calm...)
	hung := hungAtPeer(t, here.Addr.Port())
	l := newLab(t, Options{Live: true}, keeper())
	p := l.rules(t, "netns: [host, peer]\n"+ruleFile(fmt.Sprintf(`state == "CLOSE_WAIT" && port == %d`, here.Addr.Port()), "keep", "limits: {share: 50%, cooldown: 0}"))
	for range 4 {
		r := l.run(t, p)
		expect(t, findingOf(t, r, hung), report.DecideBreaker, "more than share 50% of port ")
		expect(t, findingOf(t, r, calm[0]), report.DecideAct, "", actions.Refused)
	}
}

// twicePort is a port that no connection has by chance, for a listener here and one in
// the peer namespace.
const twicePort = 7117

// hungAtPeer is a CLOSE_WAIT socket in the peer namespace that came in through a listener
// on that port there.
func hungAtPeer(t *testing.T, port uint16) *socklab.Conn {
	t.Helper()
	n := socklab.Peer(t)
	listener, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(listener) })
	must(t, "reuse", unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	must(t, "bind", unix.Bind(listener, &unix.SockaddrInet4{Port: int(port)}))
	must(t, "listen", unix.Listen(listener, 1))
	client, err := socklab.Home(t).Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	t.Cleanup(func() { _ = unix.Close(client) })
	if err := unix.Connect(client, &unix.SockaddrInet4{Addr: socklab.IPv4.Remote().As4(), Port: int(port)}); !errors.Is(err, unix.EINPROGRESS) {
		must(t, "connect", err)
	}
	fd := -1
	socklab.WaitFor(t, "the connection", func() bool { fd, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC); return err == nil })
	must(t, "shutdown", unix.Shutdown(client, unix.SHUT_WR))
	var c *socklab.Conn
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.CloseWait)}
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
		for s, err := range sockdiag.Plugin().New(n.FD()).Collect(t.Context(), q) {
			must(t, "dump", err)
			if s.LocalPort == port {
				c = &socklab.Conn{Kind: socklab.CloseWait, Family: socklab.IPv4, FD: fd, Peer: -1}
				c.Local, c.Remote = ends(s)
			}
		}
		return c != nil
	})
	holder(t, c)
	return c
}

// A tripped breaker lets actions through only in the second calm cycle, in whichever
// engine, and no dry run or incomplete look counts as calm.
func TestBreakerStaysTripped(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 3)
	h := holder(t, conns...)
	one := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, one)
	path := filepath.Join(t.TempDir(), "state.json")
	broken := false
	source := faulty(func(q collectors.Query) bool { return broken && slices.Contains(q.Protocols, collectors.UDP) })
	const text = `
version: 1
defaults: {breaker: {count: 3}, limits: {cooldown: 0}}
rules:
  - name: r
    when: state == "CLOSE_WAIT" && protocol in ["tcp", "udp"]
    then: [keep]
`
	live := func() *lab {
		return newLab(t, Options{Live: true, StateFile: path, Sources: []collectors.Plugin{source}}, keeper())
	}
	l := live()
	// Like a watcher, it saves what it saw only now and then.
	l.store.Every = time.Hour
	noErrors(t, l.run(t, l.rules(t, ruleFile("port == 1", "keep"))))
	r := l.run(t, l.rules(t, text))
	expectTally(t, r, map[report.Decision]int{report.DecideBreaker: 4})
	if len(r.Errors) != 1 || !strings.HasPrefix(r.Errors[0].Error(), "breaker: would act on 4 living targets (4 for rule r) of ") {
		t.Errorf("errors %v", r.Errors)
	}
	// It is in the file although nothing was closed properly.
	if kept := keptState(t, path); kept.Tripped["breaker 3/30%"] != memory.CalmCycles {
		t.Errorf("kept %+v", kept.Tripped)
	}
	l.Close()
	h.CloseSockets(t)

	dry := newLab(t, Options{StateFile: path}, keeper())
	for range 3 {
		dry.run(t, dry.rules(t, ruleFile("port == 1", "keep")))
	}
	dry.Close()

	l = live()
	expect(t, findingOf(t, l.run(t, l.rules(t, text)), one), report.DecideBreaker, "breaker: tripped before (limit 3/30%), 1 calm cycle to go")
	l.Close()
	l = live()
	broken = true
	r = l.run(t, l.rules(t, text))
	expect(t, findingOf(t, r, one), report.DecideBreaker, "breaker: tripped before (limit 3/30%), 1 calm cycle to go")
	broken = false
	r = l.run(t, l.rules(t, text))
	expect(t, findingOf(t, r, one), report.DecideAct, "", actions.Refused)
	noErrors(t, r)
	if len(l.journal.lines("breaker reset")) != 1 {
		t.Error("the reset is not logged")
	}
	if kept := keptState(t, path); len(kept.Tripped) != 0 {
		t.Errorf("kept %+v", kept.Tripped)
	}
}

func keptState(t testing.TB, path string) (doc memory.StateDoc) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, "read state", err)
	must(t, "state", json.Unmarshal(b, &doc))
	return doc
}

// A breaker that trips again before it is calm starts counting anew.
func TestBreakerTripsAgain(t *testing.T) {
	l := newLab(t, Options{})
	c := &judge.Cycle{Picture: &look.Picture{}, Report: &report.Report{}}
	for i, over := range []bool{true, false, true, false, false} {
		f := &judge.Case{Finding: &report.Finding{Decision: report.DecideAct}}
		l.judge.Breaker.Trip(c, &report.TrippedError{Name: "x"}, over, []*judge.Case{f})
		if want := i == 4; (f.Decision == report.DecideAct) != want {
			t.Errorf("cycle %d: %s %s", i, f.Decision, f.Reason)
		}
	}
	// What has never tripped changes nothing.
	l.judge.Breaker.Trip(c, &report.TrippedError{Name: "y"}, false, nil)
	if len(l.memory.Tripped) != 0 || len(c.Report.Errors) != 4 {
		t.Errorf("tripped %v, errors %v", l.memory.Tripped, c.Report.Errors)
	}
}

// crowd is a process with one hung and some healthy connections.
func crowd(t *testing.T, healthy int) (*socklab.Holder, *socklab.Conn, []*socklab.Conn) {
	t.Helper()
	hung := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	var others []*socklab.Conn
	for range healthy {
		others = append(others, socklab.Make(t, socklab.Established, socklab.IPv6))
	}
	return holder(t, append(slices.Clone(others), hung)...), hung, others
}

// A process that serves more connections than the rule allows is spared, and the reason
// gives the number.
func TestMaxCollateral(t *testing.T) {
	busy, hung, healthy := crowd(t, 2)
	idle, alone, _ := crowd(t, 0)
	const when = `state == "CLOSE_WAIT"`
	name := fmt.Sprintf("%s[%d]", program(), busy.PID)
	for _, live := range []bool{false, true} {
		l := newLab(t, Options{Live: live})
		r := l.run(t, l.rules(t, ruleFile(when, "{signal: TERM, wait: 1m}", "limits: {max_collateral: 0}")))
		f := findingOf(t, r, hung)
		expect(t, f, report.DecideLimited, "max_collateral 0: 2 established connections would die with "+name)
		if live {
			expect(t, findingOf(t, r, alone), report.DecideAct, "", actions.Ended)
			idle.Wait(t)
		} else {
			expect(t, findingOf(t, r, alone), report.DecideAct, "", actions.Would)
		}
		for _, doc := range document(t, r).Findings {
			pid := doc["socket"].(map[string]any)["pid"]
			if n, ok := doc["collateral"]; pid == float64(busy.PID) && n != float64(2) || pid != float64(busy.PID) && ok {
				t.Errorf("process %v: collateral %v", pid, n)
			}
		}
	}
	for _, c := range append(healthy, hung) {
		if !busy.Running() || !survives(t, c) {
			t.Errorf("process %t, %s %t", busy.Running(), c.Kind, survives(t, c))
		}
	}
	// Destroying a socket harms no other.
	l := newLab(t, Options{})
	expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(when, "destroy", "limits: {max_collateral: 0}"))), hung), report.DecideAct, "", actions.Would)
}

// A connection with two descriptors counts once, and each process has its own count.
func TestCollateralCounts(t *testing.T) {
	hung, healthy := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	small := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{hung}, Keep: true})
	large := holder(t, hung, healthy, healthy)
	l := newLab(t, Options{Live: true})
	text := ruleFile(`state == "CLOSE_WAIT"`, "{signal: TERM, owners: all, wait: 1m}", "limits: {max_collateral: 0}")
	f := findingOf(t, l.run(t, l.rules(t, text)), hung)
	expect(t, f, report.DecideLimited, fmt.Sprintf("max_collateral 0: 1 established connection would die with %s[%d]", program(), large.PID))
	f = findingOf(t, l.run(t, l.rules(t, strings.Replace(text, "collateral: 0", "collateral: 1", 1))), hung)
	expect(t, f, report.DecideAct, "", actions.Ended, actions.Ended)
	details := map[string]int{}
	for _, a := range f.Actions {
		details[a.Detail]++
	}
	if f.Collateral != 1 || details[""] != 1 || details["1 established connection died with it"] != 1 {
		t.Errorf("collateral %d: %s", f.Collateral, line(f))
	}
	small.Wait(t)
	large.Wait(t)
}
