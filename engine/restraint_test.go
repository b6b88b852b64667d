package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
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

// document is a report as its JSON says.
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

// among is a condition for some sockets of the lab.
func among(conns ...*socklab.Conn) string {
	var all []string
	for _, c := range conns {
		all = append(all, fmt.Sprint(c.Local.Port()))
	}
	return "port in [" + strings.Join(all, ", ") + "]"
}

// faulty is sock_diag with a query that the kernel fails to answer.
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

// A rule observes for its soak after it appeared and after it changed, not
// after a reload that leaves it as it is.
func TestSoak(t *testing.T) {
	const soak = 400 * time.Millisecond
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, c)
	keep := keeper()
	l := newLab(t, Options{Live: true}, keep)
	text := func(more string) string {
		return ruleFile(port(c)+more, "keep", "soak: 400ms", "limits: {cooldown: 0}")
	}
	for _, more := range []string{"", " && port > 0", ""} { // back to the first text is a change, too
		start := time.Now()
		r := l.run(t, l.rules(t, text(more)))
		f := findingOf(t, r, c)
		expect(t, f, report.DecideSoak, "soak of r, ")
		if r.Summary.Observed != 1 || len(keep.prepared) != 0 {
			t.Errorf("%d prepared, summary %+v", len(keep.prepared), r.Summary)
		}
		socklab.WaitFor(t, "the end of the soak", func() bool {
			f = findingOf(t, l.run(t, l.rules(t, text(more))), c)
			return f.Decision != report.DecideSoak
		})
		expect(t, f, report.DecideAct, "", actions.Refused)
		if took := time.Since(start); took < soak {
			t.Errorf("it acted after %s", took)
		}
		keep.prepared = nil
	}
	// A rule that was gone for one generation is new.
	l.run(t, l.rules(t, strings.Replace(text(""), "name: r", "name: other", 1)))
	expect(t, findingOf(t, l.run(t, l.rules(t, text(""))), c), report.DecideSoak, "soak of r")
}

// The soak goes on in the next engine, whatever a dry run with other rules
// thought in between.
func TestSoakSurvives(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, c)
	path := filepath.Join(t.TempDir(), "state.json")
	text := ruleFile(port(c), "keep", "soak: 1h")
	live := func() *lab { return newLab(t, Options{Live: true, StateFile: path}, keeper()) }
	first := live()
	expect(t, findingOf(t, first.run(t, first.rules(t, text)), c), report.DecideSoak, "soak of r, 1h")
	since := first.memory.Rules["r"]
	first.Close()
	if since.Since <= 0 {
		t.Fatalf("since %+v", since)
	}

	dry := newLab(t, Options{StateFile: path}, keeper())
	for _, other := range []string{ruleFile("port > 1", "keep", "soak: 1h"), strings.Replace(text, "name: r", "name: other", 1)} {
		noErrors(t, dry.run(t, dry.rules(t, other)))
	}
	dry.Close()

	second := live()
	expect(t, findingOf(t, second.run(t, second.rules(t, text)), c), report.DecideSoak, "soak of r")
	if now := second.memory.Rules["r"]; now != since {
		t.Errorf("since %+v, was %+v", now, since)
	}
	// It is over an hour after that time, not after this engine began.
	second.memory.Rules["r"] = memory.RuleSince{Fingerprint: since.Fingerprint, Since: since.Since - 3600}
	expect(t, findingOf(t, second.run(t, second.rules(t, text)), c), report.DecideAct, "", actions.Refused)
	second.Close()
	// Back in time is no soak that was.
	third := newLab(t, Options{StateFile: path}, keeper())
	if now := third.memory.Rules["r"]; since.Since < 3600 && now.Since > 0 {
		t.Errorf("a time before the boot was believed: %+v", now)
	}
}

// Of many sockets a canary takes about its share, the same ones in every cycle.
func TestCanary(t *testing.T) {
	conns := socklab.Many(t, socklab.Established, socklab.IPv4, 400)
	holder(t, conns...)
	taken := func(l *lab, share, name string) map[uint64]bool {
		p := l.rules(t, strings.Replace(ruleFile(`state == "ESTABLISHED"`, "keep", "canary: "+share, "limits: {per_cycle: 1000}"), "name: r", "name: "+name, 1))
		cookies := map[uint64]bool{}
		for _, f := range l.run(t, p).Findings {
			switch f.Decision {
			case report.DecideAct:
				cookies[f.Socket.Cookie] = true
			case report.DecideCanary:
				if want := "not in the canary part (" + share + ") of " + name; f.Reason != want {
					t.Fatalf("reason %q, want %q", f.Reason, want)
				}
			default:
				t.Fatal(line(f))
			}
		}
		return cookies
	}
	l := newLab(t, Options{NoBreaker: true}, keeper())
	fifth := taken(l, "20%", "a")
	// 80 are to be expected, and 5 times the standard deviation is 40.
	if n := len(fifth); n < 40 || n > 120 {
		t.Errorf("20%% are %d of 400", n)
	}
	if again := taken(l, "20%", "a"); !maps.Equal(again, fifth) {
		t.Error("the next cycle takes others")
	}
	if again := taken(newLab(t, Options{NoBreaker: true}, keeper()), "20%", "a"); !maps.Equal(again, fifth) {
		t.Error("another engine takes others")
	}
	if other := taken(l, "20%", "b"); maps.Equal(other, fifth) {
		t.Error("another rule takes the same")
	}
	more := taken(l, "60%", "a")
	for cookie := range fifth {
		if !more[cookie] {
			t.Error("a larger part leaves some of the smaller one out")
			break
		}
	}
	if n := len(taken(l, "100%", "a")); n != 400 {
		t.Errorf("100%% are %d of 400", n)
	}
}

// The canary of an action on processes is about processes: each of many sockets
// would otherwise draw a lot for its process.
func TestCanaryOfProcesses(t *testing.T) {
	const holders, each = 12, 6
	var all [][]*socklab.Conn
	for range holders {
		conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, each)
		holder(t, conns...)
		all = append(all, conns)
	}
	l := newLab(t, Options{NoBreaker: true})
	r := l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "{signal: TERM}", "canary: 50%")))
	n := map[report.Decision]int{}
	for _, conns := range all {
		first := findingOf(t, r, conns[0]).Decision
		n[first]++
		for _, c := range conns[1:] {
			if d := findingOf(t, r, c).Decision; d != first {
				t.Errorf("sockets of one process: %s and %s", first, d)
			}
		}
	}
	if n[report.DecideAct]+n[report.DecideCanary] != holders {
		t.Errorf("decisions on processes: %v", n)
	}
}

// Outside of its windows a rule only says what it would take, and protection
// holds only in its windows.
func TestWindows(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, c)
	l := newLab(t, Options{Live: true}, keeper())
	now := time.Now().UTC()
	window := func(from, to time.Duration) string {
		return fmt.Sprintf("during: [%q]", now.Add(from).Format("15:04")+"-"+now.Add(to).Format("15:04"))
	}
	in, out := window(-2*time.Hour, 2*time.Hour), window(2*time.Hour, 4*time.Hour)
	const zone = "timezone: UTC\n"
	f := func(text string) *report.Finding { return findingOf(t, l.run(t, l.rules(t, zone+text)), c) }
	expect(t, f(ruleFile(port(c), "keep", out, "limits: {cooldown: 0}")), report.DecideWindow,
		"outside of the windows of r: "+strings.Trim(strings.TrimPrefix(out, "during: "), `["]`)+" UTC")
	expect(t, f(ruleFile(port(c), "keep", in, "limits: {cooldown: 0}")), report.DecideAct, "", actions.Refused)
	for _, when := range []string{"", "when: port > 0, "} {
		expect(t, f("protect: [{name: night, "+when+in+"}]\n"+ruleFile(port(c), "keep", "limits: {cooldown: 0}")), report.DecideProtect, "protect night")
		expect(t, f("protect: [{name: night, "+when+out+"}]\n"+ruleFile(port(c), "keep", "limits: {cooldown: 0}")), report.DecideAct, "", actions.Refused)
	}
	// The owner is the first rule also outside of its windows: no later one gets round them.
	p := l.rules(t, zone+ruleFile(port(c), "keep", out)+"  - {name: later, when: "+port(c)+", then: [keep]}\n")
	if got := decisions(l.run(t, p), c); got != "r window, later shadowed" {
		t.Error(got)
	}
}

// per_minute counts what a rule acted on in earlier cycles, and over a restart.
func TestPerMinute(t *testing.T) {
	var conns []*socklab.Conn
	for range 5 {
		conns = append(conns, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
	}
	holder(t, conns...)
	path := filepath.Join(t.TempDir(), "state.json")
	for _, then := range []string{"keep", `log, {keep: {udp: true}, if: result == "done"}`, "keep, {keep: {udp: true}}"} {
		t.Run(then, func(t *testing.T) {
			must(t, "remove", os.RemoveAll(path))
			text := ruleFile(among(conns...), then, "limits: {per_minute: 3, cooldown: 0}")
			dry := newLab(t, Options{}, keeper())
			for range 2 { // what is not done does not count
				expectTally(t, dry.run(t, dry.rules(t, text)), map[report.Decision]int{report.DecideAct: 3, report.DecideLimited: 2})
			}
			l := newLab(t, Options{Live: true, StateFile: path}, keeper())
			r := l.run(t, l.rules(t, text))
			expectTally(t, r, map[report.Decision]int{report.DecideAct: 3, report.DecideLimited: 2})
			oldestFirst(t, r)
			if n := len(l.memory.Acts["r"]); n != 3 {
				t.Fatalf("%d targets count, not 3", n) // not their rungs
			}
			for _, f := range r.Findings[3:] {
				expect(t, f, report.DecideLimited, "per_minute 3 reached")
			}
			l.Close()
			l = newLab(t, Options{Live: true, StateFile: path}, keeper())
			expectTally(t, l.run(t, l.rules(t, text)), map[report.Decision]int{report.DecideLimited: 5})
			// As though two of them were a minute ago.
			for i := range 2 {
				l.memory.Acts["r"][i] -= 60
			}
			expectTally(t, l.run(t, l.rules(t, text)), map[report.Decision]int{report.DecideAct: 2, report.DecideLimited: 3})
			// Another rule has a count of its own.
			other := strings.Replace(text, "name: r", "name: other", 1)
			expectTally(t, l.run(t, l.rules(t, other)), map[report.Decision]int{report.DecideAct: 3, report.DecideLimited: 2})
		})
	}
}

// oldestFirst checks that what is acted on is older than what is spared, as far
// as whole seconds tell.
func oldestFirst(t *testing.T, r *report.Report) {
	t.Helper()
	for i, f := range r.Findings {
		if i > 0 && math.Floor(f.Facts.Age.Min) > math.Floor(r.Findings[i-1].Facts.Age.Min) {
			t.Errorf("%s is behind a younger one", line(f))
		}
		if i > 0 && f.Decision == report.DecideAct && r.Findings[i-1].Decision == report.DecideLimited {
			t.Errorf("%s, and an older one was spared", line(f))
		}
	}
}

// What a rule would do to more than its share of one listener's connections is
// not done; other listeners, and connections that have none, do not suffer.
func TestShare(t *testing.T) {
	a, b := socklab.NewListener(t, socklab.IPv4, 0), socklab.NewListener(t, socklab.IPv4, 0)
	var many, few []*socklab.Conn
	for range 3 {
		many = append(many, a.Make(t, socklab.CloseWait))
	}
	few = append(few, b.Make(t, socklab.CloseWait))
	var healthy []*socklab.Conn
	for range 4 {
		healthy = append(healthy, a.Make(t, socklab.Established), b.Make(t, socklab.Established))
	}
	out := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	manyHolder := holder(t, many...)
	holder(t, slices.Concat(few, healthy, []*socklab.Conn{out})...)
	keep := keeper()
	l := newLab(t, Options{Live: true}, keep)
	p := l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "keep", "limits: {share: 40%, cooldown: 0}"))
	reason := fmt.Sprintf("breaker: more than share 40%% of port %d", a.Addr.Port())
	said := fmt.Sprintf("breaker: would act on 3 of 7 connections of port %[1]d by rule r: more than share 40%% of port %[1]d; acted on none. "+
		"If that is right: raise share in the limits of the rule, or sockwarden kill for what you choose", a.Addr.Port())
	for range 2 {
		keep.applied = nil
		r := l.run(t, p)
		for _, c := range many {
			expect(t, findingOf(t, r, c), report.DecideBreaker, reason)
		}
		for _, c := range []*socklab.Conn{few[0], out} {
			expect(t, findingOf(t, r, c), report.DecideAct, "", actions.Refused)
		}
		if len(r.Errors) != 1 || r.Errors[0].Error() != said || len(keep.applied) != 2 {
			t.Errorf("applied %d times, errors %v", len(keep.applied), r.Errors)
		}
	}
	// At the share it does not trip, and two calm cycles are needed, with or without findings.
	manyHolder.CloseSockets(t)
	one := a.Make(t, socklab.CloseWait)
	holder(t, one)
	expect(t, findingOf(t, l.run(t, p), one), report.DecideBreaker, "breaker: tripped before (share 40% of port ")
	expect(t, findingOf(t, l.run(t, p), one), report.DecideAct, "", actions.Refused)
	if len(l.memory.Tripped) != 0 {
		t.Errorf("tripped %v", l.memory.Tripped)
	}
}

// What has tripped for one listener is calm also in cycles that find nothing
// there.
func TestShareCalmWithoutFindings(t *testing.T) {
	a := socklab.NewListener(t, socklab.IPv4, 0)
	first := a.Make(t, socklab.CloseWait)
	h := holder(t, first)
	l := newLab(t, Options{Live: true}, keeper())
	p := l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "keep", "limits: {share: 50%, cooldown: 0}"))
	expect(t, findingOf(t, l.run(t, p), first), report.DecideBreaker, "more than share 50% of port ")
	h.CloseSockets(t)
	for range memory.CalmCycles {
		if len(l.memory.Tripped) == 0 {
			t.Error("reset too early")
		}
		if r := l.run(t, p); len(r.Findings) != 0 || len(r.Errors) != 0 {
			t.Errorf("%s, errors %v", describe(r), r.Errors)
		}
	}
	next := []*socklab.Conn{a.Make(t, socklab.CloseWait), a.Make(t, socklab.Established)}
	holder(t, next...)
	expect(t, findingOf(t, l.run(t, p), next[0]), report.DecideAct, "", actions.Refused)
}

// Ports of two namespaces are two listeners: what is calm in one does not reset
// the other.
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

// twicePort is a port that no connection has by chance, for a listener here and
// one in the peer namespace.
const twicePort = 7117

// hungAtPeer is a CLOSE_WAIT socket in the peer namespace that came in by a
// listener on that port there.
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

// If the connections of a listener cannot be counted, its share cannot be kept:
// nothing is done.
func TestShareUnknown(t *testing.T) {
	a := socklab.NewListener(t, socklab.IPv4, 0)
	c, other := a.Make(t, socklab.CloseWait), a.Make(t, socklab.Established)
	holder(t, c, other)
	source := faulty(func(q collectors.Query) bool { return q.States.Has(collectors.TimeWait) }) // only then all states are asked for
	l := newLab(t, Options{Live: true, Sources: []collectors.Plugin{source}}, keeper())
	r := l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "keep", "limits: {share: 90%}")))
	expect(t, findingOf(t, r, c), report.DecideLimited, "share 90%: connections of listeners: out of buffers")
	if len(r.Errors) != 1 || !errors.Is(r.Errors[0], errOutOfBuffers) {
		t.Errorf("errors %v", r.Errors)
	}
}

// What has tripped acts again only in the second calm cycle, in whatever engine,
// and no dry run or incomplete look counts as calm.
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
	// As a watcher does, it keeps what it saw only now and then.
	l.store.Every = time.Hour
	noErrors(t, l.run(t, l.rules(t, ruleFile("port == 1", "keep"))))
	r := l.run(t, l.rules(t, text))
	expectTally(t, r, map[report.Decision]int{report.DecideBreaker: 4})
	if len(r.Errors) != 1 || !strings.HasPrefix(r.Errors[0].Error(), "breaker: would act on 4 living targets (4 for rule r) of ") {
		t.Errorf("errors %v", r.Errors)
	}
	// It is in the file though nothing was closed in order.
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

// Trip again before it is calm, and it begins to count anew.
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
	// Something that has never tripped does nothing.
	l.judge.Breaker.Trip(c, &report.TrippedError{Name: "y"}, false, nil)
	if len(l.memory.Tripped) != 0 || len(c.Report.Errors) != 4 {
		t.Errorf("tripped %v, errors %v", l.memory.Tripped, c.Report.Errors)
	}
}

// After something was done to one connection of a peer, its others are left
// alone for a while, if the rule says so.
func TestPeerCooldown(t *testing.T) {
	first := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, first)
	for _, limits := range []string{"{cooldown: {target: 0, peer: 5m}}", "{cooldown: 0}"} {
		t.Run(limits, func(t *testing.T) {
			keep := keeper()
			l := newLab(t, Options{Live: true}, keep)
			p := l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "keep", "limits: "+limits))
			expect(t, findingOf(t, l.run(t, p), first), report.DecideAct, "", actions.Refused)
			mapped := socklab.Make(t, socklab.CloseWait, socklab.Mapped) // the same peer
			other := socklab.Make(t, socklab.CloseWait, socklab.IPv6)
			h := holder(t, mapped, other)
			r := l.run(t, p)
			expect(t, findingOf(t, r, other), report.DecideAct, "", actions.Refused)
			for _, c := range []*socklab.Conn{first, mapped} {
				if strings.Contains(limits, "peer") {
					expect(t, findingOf(t, r, c), report.DecideCooldown, "cool-down 5m")
				} else {
					expect(t, findingOf(t, r, c), report.DecideAct, "", actions.Refused)
				}
			}
			h.CloseSockets(t)
		})
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

// A process that serves more than the rule allows is spared, with the number.
func TestMaxCollateral(t *testing.T) {
	busy, hung, healthy := crowd(t, 2)
	idle, alone, _ := crowd(t, 0)
	const when = `state == "CLOSE_WAIT"`
	name := fmt.Sprintf("%s[%d]", program(), busy.PID)
	for _, live := range []bool{false, true} {
		l := newLab(t, Options{Live: live})
		r := l.run(t, l.rules(t, ruleFile(when, "{signal: TERM, wait: 5s}", "limits: {max_collateral: 0}")))
		f := findingOf(t, r, hung)
		expect(t, f, report.DecideLimited, "max_collateral 0: 2 established connection(s) would die with "+name)
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

// Within the limit, and without one, the number is said before and after.
func TestCollateralIsSaid(t *testing.T) {
	for _, limits := range []string{"{max_collateral: 2}", "{cooldown: 5m}"} {
		t.Run(limits, func(t *testing.T) {
			h, hung, _ := crowd(t, 2)
			text := ruleFile(`state == "CLOSE_WAIT"`, "{signal: TERM, wait: 5s}", "limits: "+limits)
			dry := newLab(t, Options{})
			f := findingOf(t, dry.run(t, dry.rules(t, text)), hung)
			expect(t, f, report.DecideAct, "", actions.Would)
			if f.Collateral != 2 || f.Actions[0].Detail != "2 established connection(s) would die with it" {
				t.Errorf("before: %d, %s", f.Collateral, line(f))
			}
			live := newLab(t, Options{Live: true})
			f = findingOf(t, live.run(t, live.rules(t, text)), hung)
			expect(t, f, report.DecideAct, "", actions.Ended)
			if f.Actions[0].Detail != "2 established connection(s) died with it" {
				t.Errorf("after: %s", line(f))
			}
			h.Wait(t)
		})
	}
}

// A connection with two descriptors is one, and each process has its own count.
func TestCollateralCounts(t *testing.T) {
	hung, healthy := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	small := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{hung}, Keep: true})
	large := holder(t, hung, healthy, healthy)
	l := newLab(t, Options{Live: true})
	text := ruleFile(`state == "CLOSE_WAIT"`, "{signal: TERM, owners: all, wait: 5s}", "limits: {max_collateral: 0}")
	f := findingOf(t, l.run(t, l.rules(t, text)), hung)
	expect(t, f, report.DecideLimited, fmt.Sprintf("max_collateral 0: 1 established connection(s) would die with %s[%d]", program(), large.PID))
	f = findingOf(t, l.run(t, l.rules(t, strings.Replace(text, "collateral: 0", "collateral: 1", 1))), hung)
	expect(t, f, report.DecideAct, "", actions.Ended, actions.Ended)
	details := map[string]int{}
	for _, a := range f.Actions {
		details[a.Detail]++
	}
	if f.Collateral != 1 || details[""] != 1 || details["1 established connection(s) died with it"] != 1 {
		t.Errorf("collateral %d: %s", f.Collateral, line(f))
	}
	small.Wait(t)
	large.Wait(t)
}

// A connection that another process has, too, lives on: what died is counted.
func TestCollateralIsCountedAfter(t *testing.T) {
	hung, own, shared := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	other := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{shared}, Keep: true})
	h := holder(t, hung, own, shared)
	l := newLab(t, Options{Live: true})
	f := findingOf(t, l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "{signal: TERM, wait: 5s}", "limits: {max_collateral: 2}"))), hung)
	expect(t, f, report.DecideAct, "", actions.Ended)
	if f.Collateral != 2 || f.Actions[0].Detail != "1 of its 2 established connection(s) died with it" {
		t.Error(line(f))
	}
	if !other.Running() || !survives(t, shared) {
		t.Errorf("other process %t, its connection %t", other.Running(), survives(t, shared))
	}
	h.Wait(t)
}

// What cannot be counted is too much.
func TestCollateralUnknown(t *testing.T) {
	h, hung, _ := crowd(t, 0)
	source := faulty(func(q collectors.Query) bool { return q.States == look.Inventoried })
	l := newLab(t, Options{Live: true, Sources: []collectors.Plugin{source}})
	text := ruleFile(`state == "CLOSE_WAIT"`, "{signal: TERM, wait: 5s}", "limits: {max_collateral: 100}")
	expect(t, findingOf(t, l.run(t, l.rules(t, text)), hung), report.DecideLimited, "cannot be told: out of buffers")
	if !h.Running() {
		t.Error("it was ended")
	}
	text = strings.Replace(text, "max_collateral: 100", "cooldown: 5m", 1)
	expect(t, findingOf(t, l.run(t, l.rules(t, text)), hung), report.DecideAct, "", actions.Ended)
}

// A later rung asks anew, as its process is known only then.
func TestCollateralOfLaterRungs(t *testing.T) {
	const then = `destroy, {signal: TERM, wait: 5s, if: result == "fd_still_held"}`
	for most := range 2 {
		h, hung, _ := crowd(t, 1)
		l := newLab(t, Options{Live: true})
		f := findingOf(t, l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, then, fmt.Sprintf("limits: {max_collateral: %d}", most)))), hung)
		if most == 0 {
			// Being spared is no failure of what was done.
			expect(t, f, report.DecideAct, "", actions.FDStillHeld)
			if want := fmt.Sprintf("signal: max_collateral 0: 1 established connection(s) would die with %s[%d]", program(), h.PID); !strings.Contains(f.Last().Detail, want) || !h.Running() {
				t.Errorf("%s, runs %t, want %q", line(f), h.Running(), want)
			}
			continue
		}
		expect(t, f, report.DecideAct, "", actions.FDStillHeld, actions.Ended)
		if f.Last().Detail != "1 established connection(s) died with it" {
			t.Error(line(f))
		}
	}
}

// A finding that is spared by one restraint is not counted by the next: per_cycle
// is for what is really acted on.
func TestSparedDoNotCount(t *testing.T) {
	busy, hung, _ := crowd(t, 1)
	_, alone, _ := crowd(t, 0)
	l := newLab(t, Options{})
	r := l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "{signal: TERM}", "limits: {max_collateral: 0, per_cycle: 1}")))
	expect(t, findingOf(t, r, hung), report.DecideLimited, fmt.Sprint(busy.PID))
	expect(t, findingOf(t, r, alone), report.DecideAct, "", actions.Would)
}
