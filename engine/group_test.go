package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// groupRule is a file with a rule about many sockets.
func groupRule(when, group, having, then string, more ...string) string {
	return ruleFile("'"+when+"'", then, append([]string{"group: " + group, "having: " + having}, more...)...)
}

const closeWait = `state == "CLOSE_WAIT"`

// groupsOf are the groups of the findings, as JSON shows them, one for each.
func groupsOf(t testing.TB, r *report.Report) []map[string]any {
	t.Helper()
	var all []map[string]any
	seen := map[string]bool{}
	for _, f := range document(t, r).Findings {
		g, ok := f["group"].(map[string]any)
		if !ok {
			t.Errorf("a finding without its group: %v", f)
			continue
		}
		if key := fmt.Sprint(g["key"]); !seen[key] {
			seen[key] = true
			all = append(all, g)
		}
	}
	return all
}

// More than N hung sockets in one process: that process gets one signal, and no
// other any.
func TestGroupOfProcess(t *testing.T) {
	many, few := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 50), socklab.Many(t, socklab.CloseWait, socklab.IPv4, 5)
	leaking, other := startChild(t, orders{Life: "counter"}, many...), startChild(t, orders{Life: "counter"}, few...)
	l := newLab(t, Options{Live: true})
	r := l.run(t, l.rules(t, groupRule(closeWait, "pid", "count > 5", "{signal: USR1}", "limits: {per_cycle: 1}")))
	noErrors(t, r)
	if len(r.Findings) != 50 || r.Summary.Matched != 50 {
		t.Errorf("%d findings, summary %+v", len(r.Findings), r.Summary)
	}
	for _, c := range many {
		if f := findingOf(t, r, c); f.Decision != report.DecideAct || len(f.Actions) != 1 {
			t.Error(line(f))
		}
	}
	for _, c := range few {
		if n := len(findingsOf(r, c)); n != 0 {
			t.Errorf("%d findings about the other process", n)
		}
	}
	groups := groupsOf(t, r)
	if len(groups) != 1 || groups[0]["count"] != float64(50) || fmt.Sprint(groups[0]["key"]) != fmt.Sprintf("map[pid:%d]", leaking.Process.Pid) {
		t.Errorf("groups %v", groups)
	}
	if fds, _ := groups[0]["fds"].(float64); fds < 53 || fds > 80 {
		t.Errorf("%v descriptors", groups[0]["fds"])
	}
	for who, want := range map[*child]string{leaking: "1", other: "0"} {
		if got := strings.TrimSpace(who.rest(t)); got != want {
			t.Errorf("%s signals, not %s", got, want)
		}
	}
}

// sweep destroys what the kernel still has in a state that outlives processes,
// now and after the test: others count sockets, too.
func sweep(t *testing.T, state collectors.State) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(state)}
	all := func() {
		c, err := sockdiag.Dial(-1)
		must(t, "dial", err)
		defer c.Close()
		for s, err := range sockdiag.Plugin().New(-1).Collect(ctx, q) {
			must(t, "dump", err)
			if err := c.Destroy(ctx, s); err != nil && !errors.Is(err, collectors.ErrGone) {
				t.Errorf("sweep: %v", err)
			}
		}
	}
	all()
	t.Cleanup(all)
}

// More than N on this host: each socket is acted on, the oldest first, up to the
// limit.
func TestGroupOfHost(t *testing.T) {
	sweep(t, collectors.FinWait2)
	conns := socklab.Many(t, socklab.FinWait2, socklab.IPv4, 6)
	holder(t, conns[:3]...)
	holder(t, conns[3:]...)
	l := newLab(t, Options{Live: true})
	text := groupRule(`state == "FIN_WAIT2"`, "host", "count > LEAST", "destroy", "limits: {per_cycle: 4}")
	if r := l.run(t, l.rules(t, strings.Replace(text, "LEAST", "6", 1))); len(r.Findings) != 0 {
		t.Errorf("6 are not more than 6:\n%s", describe(r))
	}
	r := l.run(t, l.rules(t, strings.Replace(text, "LEAST", "5", 1)))
	expectTally(t, r, map[report.Decision]int{report.DecideAct: 4, report.DecideLimited: 2})
	oldestFirst(t, r)
	if groups := groupsOf(t, r); len(groups) != 1 || fmt.Sprint(groups[0]["key"]) != "map[host:"+l.world.Host.Name+"]" || groups[0]["count"] != float64(6) {
		t.Errorf("groups %v", groups)
	}
	gone := 0
	for _, c := range conns {
		if !survives(t, c) {
			gone++
		}
	}
	if gone != 4 {
		t.Errorf("%d are gone", gone)
	}
}

// bell is an action that also works without a socket.
func bell(l *lab, t testing.TB, s *script) {
	t.Helper()
	plugin := s.plugin()
	plugin.WithoutSocket = true
	l.actions = registry(t, append(realActions(l.journal.logger()), plugin, keeper().plugin())...)
}

// That nothing listens is one finding without a socket, until something does.
func TestNothingListens(t *testing.T) {
	probe := socklab.NewListener(t, socklab.IPv4, 0)
	port := probe.Addr.Port()
	must(t, "close", unix.Shutdown(probe.FD, unix.SHUT_RDWR)) // it listens no more
	when := fmt.Sprintf(`state == "LISTEN" && port == %d`, port)
	const having = "count == 0"
	l := newLab(t, Options{Live: true})
	rings := outcomes("ring", actions.Outcome{Result: actions.Done})
	bell(l, t, rings)
	for then, want := range map[string]struct {
		decision report.Decision
		reason   string
		results  []actions.Result
	}{
		"log":                            {report.DecideAct, "", []actions.Result{actions.Done}},
		"destroy":                        {report.DecideGuarded, "there is no socket that destroy could be for", nil},
		"{destroy: {listen: true}}":      {report.DecideGuarded, "there is no socket that destroy could be for", nil},
		"{signal: KILL}":                 {report.DecideGuarded, "there is no socket that signal could be for", nil},
		"log, {signal: KILL}":            {report.DecideGuarded, "there is no socket that signal could be for", nil},
		"ring":                           {report.DecideAct, "", []actions.Result{actions.Done}},
		`{ring: {udp: true}, if: owned}`: {report.DecideUnless, "if of r", nil},
		`ring, {destroy: {listen: true, udp: true}, if: result == "done"}`: {report.DecideAct, "", []actions.Result{actions.Done}},
	} {
		t.Run(then, func(t *testing.T) {
			rings.applied = nil
			clear(l.memory.Cooldowns)
			p := l.rules(t, groupRule(when, "host", having, then))
			r := l.run(t, p)
			noErrors(t, r)
			if len(r.Findings) != 1 {
				t.Fatalf("%d findings\n%s", len(r.Findings), describe(r))
			}
			f := r.Findings[0]
			expect(t, f, want.decision, want.reason, want.results...)
			doc := document(t, r).Findings[0]
			if s, ok := doc["socket"].(map[string]any); !ok || len(s) != 0 {
				t.Errorf("socket %v", doc["socket"])
			}
			if g := doc["group"].(map[string]any); g["count"] != float64(0) || fmt.Sprint(g["key"]) != "map[host:"+l.world.Host.Name+"]" {
				t.Errorf("group %v", g)
			}
			if rang := strings.HasPrefix(then, "ring") && want.decision == report.DecideAct; rang != (len(rings.applied) == 1) || rang && len(rings.applied[0].Sockets) != 0 {
				t.Errorf("applied to %+v", rings.applied)
			}
		})
	}
	p := l.rules(t, groupRule(when, "host", having, "ring"))
	clear(l.memory.Cooldowns)
	expect(t, l.run(t, p).Findings[0], report.DecideAct, "", actions.Done)
	expect(t, l.run(t, p).Findings[0], report.DecideCooldown, "cool-down 5m")
	// Other rules that find nobody have a cool-down of their own.
	other := l.rules(t, strings.Replace(groupRule(when, "host", having, "ring"), "name: r", "name: other", 1))
	expect(t, l.run(t, other).Findings[0], report.DecideAct, "", actions.Done)

	socklab.NewListener(t, socklab.IPv4, port)
	if r := l.run(t, p); len(r.Findings) != 0 {
		t.Errorf("it listens again:\n%s", describe(r))
	}
}

// What restrains a rule restrains it also where there is no socket.
func TestNothingListensIsRestrained(t *testing.T) {
	now := time.Now().UTC()
	window := fmt.Sprintf("during: [%q]", now.Add(2*time.Hour).Format("15:04")+"-"+now.Add(4*time.Hour).Format("15:04"))
	for more, want := range map[string]report.Decision{
		"for: 1h": report.DecidePending, "soak: 1h": report.DecideSoak, window: report.DecideWindow, "mode: observe": report.DecideObserve, "canary: 1%": report.DecideAct,
		"limits: {share: 1%}": report.DecideAct, // no connection of a listener
	} {
		t.Run(more, func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			rings := outcomes("ring", actions.Outcome{Result: actions.Done})
			bell(l, t, rings)
			r := l.run(t, l.rules(t, "timezone: UTC\ndefaults: {breaker: {count: 1, share: 1%}}\n"+groupRule("port == 1", "host", "count == 0", "ring", more)))
			noErrors(t, r)
			if len(r.Findings) != 1 || r.Findings[0].Decision != want || len(rings.applied) != map[bool]int{true: 1}[want == report.DecideAct] {
				t.Errorf("applied %d times:\n%s", len(rings.applied), describe(r))
			}
		})
	}
	// Nor is it for rules that do not ask about the host alone.
	l := newLab(t, Options{})
	for _, group := range []string{"pid", "port", "netns", "[host, port]", "process"} {
		if r := l.run(t, l.rules(t, groupRule("port == 1", group, "count == 0", "log"))); len(r.Findings) != 0 {
			t.Errorf("%s:\n%s", group, describe(r))
		}
	}
}

// Sockets of which the key is not known, or that have none, are in no group.
func TestGroupNeedsKey(t *testing.T) {
	owned := []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)}
	holder(t, owned...)
	sweep(t, collectors.TimeWait)
	for range 2 { // without owner
		socklab.Make(t, socklab.TimeWait, socklab.IPv4)
	}
	l := newLab(t, Options{})
	counts := func(when, group string) []float64 {
		var r *report.Report
		p := l.rules(t, groupRule(when, group, "count > 0", "log"))
		must(t, "without capabilities", socklab.WithoutCapability(t, func() (err error) {
			r, err = l.Cycle(t.Context(), p)
			return err
		}, blind...))
		blindly := len(r.Findings)
		r = l.cycle(t, p)
		n := []float64{float64(blindly)}
		for _, g := range groupsOf(t, r) {
			n = append(n, g["count"].(float64))
		}
		return n
	}
	timeWait := `state == "TIME_WAIT"`
	for _, test := range []struct {
		when, group string
		want        []float64 // findings where owners are hidden, then the counts of groups
	}{
		{closeWait, "pid", []float64{0, 2}},
		{closeWait, "process", []float64{0, 2}},
		{closeWait, "[process, pid]", []float64{0, 2}},
		{closeWait, "host", []float64{2, 2}},
		{closeWait, "netns", []float64{2, 2}},
		{closeWait, "remote_addr", []float64{2, 2}},
		{closeWait, "port", []float64{2, 1, 1}},
		{closeWait, "unit", []float64{0}},
		{closeWait, "container", []float64{0}},
		{timeWait, "pid", []float64{0}},
		{timeWait, "process", []float64{0}},
		{timeWait, "host", []float64{2, 2}},
		{timeWait, "[remote_addr, host]", []float64{2, 2}},
	} {
		if got := counts(test.when, test.group); !slices.Equal(got, test.want) {
			t.Errorf("%s by %s: %v, want %v", test.when, test.group, got, test.want)
		}
	}
}

// A picture that is not complete decides about no group.
func TestIncompleteDecidesNoGroup(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 3)
	holder(t, conns...)
	broken := false
	source := faulty(func(q collectors.Query) bool { return broken && slices.Contains(q.Protocols, collectors.UDP) })
	l := newLab(t, Options{Sources: []collectors.Plugin{source}})
	p := l.rules(t, "version: 1\nrules:\n"+`
  - {name: many, when: 'state == "CLOSE_WAIT"', group: pid, having: count > 2, then: [log]}
  - {name: none, when: port == 1, group: host, having: count == 0, then: [log]}
  - {name: plain, when: 'state == "CLOSE_WAIT" && protocol in ["tcp", "udp"]', mode: observe}
`)
	names := func() map[string]int {
		n := map[string]int{}
		for _, f := range l.cycle(t, p).Findings {
			n[f.Rule.Name]++
		}
		return n
	}
	for _, broken = range []bool{false, true, false} {
		want := map[string]int{"many": 3, "none": 1, "plain": 3}
		if broken {
			want = map[string]int{"plain": 3}
		}
		if got := names(); !maps.Equal(got, want) {
			t.Errorf("broken %t: %v, want %v", broken, got, want)
		}
	}
}

// for on a group: having must have held that long without a break.
func TestGroupFor(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 2)
	holder(t, conns...)
	third := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := holder(t, third)
	path := filepath.Join(t.TempDir(), "state.json")
	text := groupRule(closeWait, "host", "count > 2", "log", "for: 300ms")
	decided := func(l *lab) report.Decision {
		r := l.cycle(t, l.rules(t, text))
		if len(r.Findings) == 0 {
			return ""
		}
		return r.Findings[0].Decision
	}
	l := newLab(t, Options{StateFile: path})
	start := time.Now()
	if d := decided(l); d != report.DecidePending {
		t.Fatalf("at once: %s", d)
	}
	l.Close()
	l = newLab(t, Options{StateFile: path}) // the time goes on in the next engine
	key := slices.Collect(maps.Keys(l.memory.Holds))
	if len(key) != 1 {
		t.Fatalf("holds %v", key)
	}
	since := l.memory.Holds[key[0]].Since
	socklab.WaitFor(t, "the group", func() bool { return decided(l) == report.DecideAct })
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("after %s", took)
	}
	if now := l.memory.Holds[key[0]]; now == nil || now.Since != since {
		t.Errorf("it began anew in the second engine: %+v, %f", now, since)
	}
	// Members may come and go; below the number the time ends.
	more := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h2 := holder(t, more)
	if d := decided(l); d != report.DecideAct {
		t.Errorf("with one more: %s", d)
	}
	h.CloseSockets(t)
	if d := decided(l); d != report.DecideAct {
		t.Errorf("with another one: %s", d)
	}
	h2.CloseSockets(t)
	if d := decided(l); d != "" {
		t.Errorf("with too few: %s", d)
	}
	holder(t, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
	if d := decided(l); d != report.DecidePending {
		t.Errorf("after the break: %s", d)
	}
}

// The same port in two namespaces is two groups.
func TestGroupPerNamespace(t *testing.T) {
	here := socklab.NewListener(t, socklab.IPv4, twicePort)
	own := here.Make(t, socklab.CloseWait)
	holder(t, own)
	hungAtPeer(t, here.Addr.Port())
	l := newLab(t, Options{})
	for group, together := range map[string]bool{"port": false, "process": false, "host": true, "[host, port]": false, "netns": false} {
		when := fmt.Sprintf(`state == "CLOSE_WAIT" && port == %d`, here.Addr.Port())
		both := l.run(t, l.rules(t, "netns: [host, peer]\n"+groupRule(when, group, "count > 1", "log")))
		each := l.run(t, l.rules(t, "netns: [host, peer]\n"+groupRule(when, group, "count == 1", "log")))
		noErrors(t, both)
		if want := map[bool][2]int{true: {2, 0}, false: {0, 2}}[together]; len(both.Findings) != want[0] || len(each.Findings) != want[1] {
			t.Errorf("%s: %d together and %d apart, want %v", group, len(both.Findings), len(each.Findings), want)
		}
	}
}

// Sums and ages of a group are those of its sockets.
func TestGroupSums(t *testing.T) {
	conns := []*socklab.Conn{socklab.Make(t, socklab.CloseWaitUnread, socklab.IPv4), socklab.Make(t, socklab.CloseWaitUnread, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)}
	holder(t, conns...)
	l := newLab(t, Options{})
	holds := func(having string) bool {
		return len(l.run(t, l.rules(t, "vars: {limit: 3}\nmacros: {enough: count >= limit}\n"+groupRule(closeWait, "host", having, "log"))).Findings) == 3
	}
	total := 0
	for _, s := range sockets(t) {
		if s.State == collectors.CloseWait {
			total += int(s.RecvQueue)
		}
	}
	if total < 2*socklab.UnreadBytes {
		t.Fatalf("%d bytes are unread", total)
	}
	for having, want := range map[string]bool{
		fmt.Sprint("sum_recv_queue == ", total): true, fmt.Sprint("sum_recv_queue > ", total): false, "sum_send_queue == 0": true,
		"enough": true, "not enough": false, "count == limit and enough": true,
		"max_age > 1h": false, "max_age < 1h": true, // by the evidence of the kernel
		"fds > 0": false, "fds < 1000000": false, "fd_limit > 0": false, // of which process?
	} {
		if got := holds(strings.ReplaceAll(having, "1h", `"1h"`)); got != want {
			t.Errorf("%s: %t", having, got)
		}
	}
	// An age grows while it is watched.
	p := l.rules(t, groupRule(closeWait, "host", "max_age > 0.3", "log"))
	start := time.Now()
	socklab.WaitFor(t, "the age", func() bool { return len(l.run(t, p).Findings) == 3 })
	if oldest := time.Since(conns[0].StartedBefore); oldest < 300*time.Millisecond {
		t.Errorf("the oldest is only %s", oldest)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

// A group rule owns its sockets like any other, but only if its group is one;
// exceptions do not count as members.
func TestGroupOwnership(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 4)
	holder(t, conns...)
	c := conns[0]
	group := func(having, more string) string {
		return "  - {name: g, when: 'state == \"CLOSE_WAIT\"', group: pid, having: '" + having + "', then: [destroy]" + more + "}\n"
	}
	const plain = "  - {name: p, when: 'state == \"CLOSE_WAIT\"', then: [destroy]}\n"
	except := fmt.Sprintf(", unless: port == %d", c.Local.Port())
	l := newLab(t, Options{})
	for _, test := range []struct{ rules, want string }{
		{group("count == 4", "") + plain, "g act, p shadowed"},
		{group("count > 4", "") + plain, "p act"},
		{plain + group("count == 4", ""), "p act, g shadowed"},
		{group("count == 4", ", mode: observe") + plain, "g observe, p act"},
		{group("count == 4", ", for: 1h") + plain, "g pending, p act"},
		{group("count == 4", except) + plain, "g unless, p act"}, // 3 are left
		{group("count == 3", except) + plain, "g unless, p act"},
		{group("count == 4", ", limits: {per_cycle: 1}") + plain, ""},
		{"protect: [{name: x, when: port == " + fmt.Sprint(c.Local.Port()) + "}]\nrules:\n" + group("count == 4", ""), "g protected"},
	} {
		text := "version: 1\nrules:\n" + test.rules
		if strings.HasPrefix(test.rules, "protect") {
			text = "version: 1\n" + test.rules
		}
		r := l.run(t, l.rules(t, text))
		if test.want == "" {
			expectTally(t, r, map[report.Decision]int{report.DecideAct: 1, report.DecideLimited: 3, report.DecideShadowed: 4})
			continue
		}
		if got := decisions(r, c); got != test.want {
			t.Errorf("%s\ngot %s, want %s", test.rules, got, test.want)
		}
	}
	// Those that are left of the exception still are a group.
	r := l.run(t, l.rules(t, "version: 1\nrules:\n"+group("count == 3", except)))
	expectTally(t, r, map[report.Decision]int{report.DecideUnless: 1, report.DecideAct: 3})
}

// grower is a process that holds a socket and opens descriptors when told.
type grower struct {
	pid int
	in  io.Writer
	out *bufio.Reader
}

func startGrower(t *testing.T, c *socklab.Conn, limit int) *grower {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d; echo ready; while read -r what; do eval "exec $what"; echo done; done`, limit))
	fd, err := unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, 3)
	must(t, "dup", err)
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "socket")}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, "stdin", err)
	out, err := cmd.StdoutPipe()
	must(t, "stdout", err)
	must(t, "start", cmd.Start())
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	must(t, "hand over", cmd.ExtraFiles[0].Close())
	c.CloseFD()
	g := &grower{cmd.Process.Pid, in, bufio.NewReader(out)}
	g.expect(t, "ready")
	return g
}

func (g *grower) expect(t *testing.T, want string) {
	t.Helper()
	if got, err := g.out.ReadString('\n'); err != nil || got != want+"\n" {
		t.Fatalf("the shell says %q, %v", got, err)
	}
}

// redirect opens or closes descriptors: 4</dev/null, 4<&-.
func (g *grower) redirect(t *testing.T, all ...string) {
	t.Helper()
	for _, what := range all {
		_, err := io.WriteString(g.in, what+"\n")
		must(t, "tell the shell", err)
		g.expect(t, "done")
	}
}

// Findings of a group by process say how fast its descriptors grow and when it
// will have no more, over two cycles or two runs.
func TestLeakEvidence(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	const limit = 24
	g := startGrower(t, c, limit)
	path := filepath.Join(t.TempDir(), "state.json")
	l := newLab(t, Options{StateFile: path})
	look := func() map[string]any {
		t.Helper()
		groups := groupsOf(t, l.run(t, l.rules(t, groupRule(closeWait, "pid", "fds < fd_limit", "log"))))
		if len(groups) != 1 || fmt.Sprint(groups[0]["key"]) != "map[pid:"+strconv.Itoa(g.pid)+"]" || groups[0]["fd_limit"] != float64(limit) {
			t.Fatalf("groups %v", groups)
		}
		return groups[0]
	}
	number := func(m map[string]any, key string) float64 { v, _ := m[key].(float64); return v }
	before := world.Mono()
	first := look()
	between := world.Mono()
	if _, ok := first["fds_per_hour"]; ok {
		t.Errorf("a rate after one look: %v", first)
	}
	fds := number(first, "fds")
	g.redirect(t, "4</dev/null", "5</dev/null", "6</dev/null", "7</dev/null")
	again := world.Mono()
	second := look()
	after := world.Mono()
	shortest, longest := again-between, after-before
	if got := number(second, "fds"); got != fds+4 {
		t.Errorf("%v descriptors after %v", got, fds)
	}
	if rate := number(second, "fds_per_hour"); rate < 4/longest*3600 || rate > 4/shortest*3600 {
		t.Errorf("%v an hour, not between %v and %v", rate, 4/longest*3600, 4/shortest*3600)
	}
	left := limit - fds - 4
	if full := number(second, "full_in_seconds"); full < left*shortest/4*0.999 || full > left*longest/4*1.001 {
		t.Errorf("full in %v s, not between %v and %v", full, left*shortest/4, left*longest/4)
	}

	// The next run knows what this one saw.
	l.Close()
	l = newLab(t, Options{StateFile: path})
	third := look()
	if rate := number(third, "fds_per_hour"); rate <= 0 || rate >= number(second, "fds_per_hour") {
		t.Errorf("%v an hour after %v", rate, number(second, "fds_per_hour"))
	}
	// Below where it began there is nothing to leak, and it is counted from there.
	g.redirect(t, "4<&-", "5<&-", "6<&-", "7<&-", "2<&-")
	if fourth := look(); number(fourth, "fds") != fds-1 || fourth["fds_per_hour"] != nil {
		t.Errorf("after a fall: %v", fourth)
	}
	if fifth := look(); fifth["fds_per_hour"] != float64(0) || fifth["full_in_seconds"] != nil {
		t.Errorf("steady: %v", fifth)
	}
	// A process that is not seen any more is forgotten in time.
	l.memory.Expire(world.Mono() + 3601)
	if len(l.memory.Descriptors) != 0 {
		t.Errorf("remembered %v", l.memory.Descriptors)
	}
}
