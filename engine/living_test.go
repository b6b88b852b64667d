package engine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/pause"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// What the breaker does not count is dead by evidence: whatever is missing of it,
// or not known, makes a socket living.
func TestDeadByEvidence(t *testing.T) {
	known := collectors.Fields(collectors.FieldOwned, collectors.FieldIdle, collectors.FieldSendQueue)
	type evidence struct {
		state collectors.State
		inode uint32
		queue uint32
		age   float64
		idle  uint32 // ms, the less of the two directions
		known collectors.FieldSet
		proto collectors.Protocol
	}
	hung := func(s collectors.State, inode, queue uint32) evidence {
		return evidence{s, inode, queue, 60, 60_000, known, collectors.TCP}
	}
	with := func(e evidence, change func(*evidence)) evidence { change(&e); return e }
	closeWait := hung(collectors.CloseWait, 7, 0)
	bare := func(s collectors.State, inode uint32) evidence {
		return evidence{state: s, inode: inode, known: known, proto: collectors.TCP}
	}
	b := &judge.Breaker{DeadAfter: judge.DeadAfter}
	for name, c := range map[string]struct {
		evidence
		dead bool
	}{
		"TIME_WAIT":                 {bare(collectors.TimeWait, 0), true},
		"FIN_WAIT2 that nobody has": {bare(collectors.FinWait2, 0), true},
		"FIN_WAIT2 with a process":  {hung(collectors.FinWait2, 7, 0), false},
		"FIN_WAIT2, owner unknown":  {with(bare(collectors.FinWait2, 0), func(e *evidence) { e.known = collectors.FieldSet{} }), false},
		"CLOSE_WAIT":                {closeWait, true},
		"CLOSE_WAIT in the queue":   {hung(collectors.CloseWait, 0, 0), true},
		"CLOSE_WAIT, young":         {with(closeWait, func(e *evidence) { e.age = 59.999 }), false},
		"CLOSE_WAIT, age unknown":   {with(closeWait, func(e *evidence) { e.age = -1 }), false},
		"CLOSE_WAIT, busy":          {with(closeWait, func(e *evidence) { e.idle = 59_999 }), false},
		"CLOSE_WAIT, idle unknown":  {with(closeWait, func(e *evidence) { e.known.Remove(collectors.Fields(collectors.FieldIdle)) }), false},
		"CLOSE_WAIT, queue unknown": {with(closeWait, func(e *evidence) { e.known.Remove(collectors.Fields(collectors.FieldSendQueue)) }), false},
		"CLOSE_WAIT that sends":     {hung(collectors.CloseWait, 7, 1), false}, // it has sent no FIN
		"LAST_ACK":                  {hung(collectors.LastAck, 0, 1), true},
		"LAST_ACK with a process":   {hung(collectors.LastAck, 7, 1), true},
		"LAST_ACK that sends":       {hung(collectors.LastAck, 0, 2), false},
		"CLOSING":                   {hung(collectors.Closing, 0, 1), true},
		"FIN_WAIT1 orphan":          {hung(collectors.FinWait1, 0, 1), true},
		"FIN_WAIT1 that sends":      {hung(collectors.FinWait1, 0, 900), false},
		"FIN_WAIT1 with a process":  {hung(collectors.FinWait1, 7, 1), false},
		"ESTABLISHED":               {hung(collectors.Established, 7, 0), false},
		"SYN_SENT":                  {hung(collectors.SynSent, 7, 0), false},
		"SYN_RECV":                  {bare(collectors.SynRecv, 0), false},
		"LISTEN":                    {hung(collectors.Listen, 7, 0), false},
		"UDP":                       {with(closeWait, func(e *evidence) { e.proto = collectors.UDP }), false},
	} {
		cand := &look.Candidate{NS: &look.Namespace{}, Socket: collectors.Socket{
			Protocol: c.proto, State: c.state, Inode: c.inode, SendQueue: c.queue, Known: c.known, Cookie: 1,
			Info: collectors.TCPInfo{LastDataSent: c.idle, LastDataRecv: c.idle + 1, BytesSent: 1, BytesReceived: 1},
		}}
		cand.Facts.Age = collectors.Age{Min: c.age, Source: collectors.AgeTCPInfo}
		if c.age < 0 {
			cand.Facts.Age = collectors.NoAge()
		}
		if b.Dead(cand) != c.dead {
			t.Errorf("%s: dead is %v", name, !c.dead)
		}
	}
}

// mortal makes an engine that takes for dead what has been so for a second.
func mortal(l *lab) *lab {
	l.judge.Breaker.DeadAfter = time.Second
	return l
}

// ripe runs cycles until the socket is acted on, and returns the report.
func (l *lab) ripe(t *testing.T, p *rules.Program, c *socklab.Conn) (r *report.Report) {
	t.Helper()
	socklab.WaitFor(t, "action in spite of the breaker", func() bool {
		r = l.run(t, p)
		return slices.ContainsFunc(findingsOf(r, c), func(f *report.Finding) bool { return f.Decision == report.DecideAct })
	})
	return r
}

// A leak is cured, as many at a time as per_cycle says, once it is proven to be
// one; also by a rule that asks for no age, and where a living peer answers
// keepalives, so that no single look proves an age.
func TestLeakIsCured(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 12)
	for _, f := range []socklab.Family{socklab.IPv4, socklab.IPv6} {
		c := socklab.Make(t, socklab.CloseWait, f)
		for opt, v := range map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 1} {
			must(t, "keepalive", unix.SetsockoptInt(c.FD, unix.SOL_TCP, opt, v))
		}
		must(t, "keepalive", unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
		conns = append(conns, c)
	}
	holder(t, conns...)
	l := newLab(t, Options{Live: true})
	l.judge.Breaker.DeadAfter = 2500 * time.Millisecond
	p := l.rules(t, "version: 1\ndefaults: {breaker: {count: 1}}\nrules:\n"+
		"  - {name: r, when: 'state == \"CLOSE_WAIT\"', then: [destroy], limits: {per_cycle: 5}}\n")
	expect(t, findingOf(t, l.run(t, p), conns[0]), report.DecideBreaker, "breaker: more than count 1")
	acted := 0
	socklab.WaitFor(t, "the end of all", func() bool {
		n := l.run(t, p).Summary.Acted
		if n > 5 {
			t.Errorf("acted on %d at a time", n)
		}
		acted += n
		return acted == len(conns)
	})
	for _, c := range conns {
		if alive(c) {
			t.Errorf("%s lives", c.Local)
		}
	}
}

// Living sockets that a rule takes by mistake trip, however old they are and
// however many dead ones are among them.
func TestLivingTripAmongDead(t *testing.T) {
	dead := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 20)
	living := socklab.Many(t, socklab.Established, socklab.IPv4, 6)
	holder(t, slices.Concat(dead, living)...)
	l := mortal(newLab(t, Options{Live: true}, keeper()))
	const text = "version: 1\ndefaults: {breaker: {count: 5}}\nrules:\n  - {name: r, when: WHEN, then: [keep], limits: {cooldown: 0}}\n"
	l.ripe(t, l.rules(t, strings.Replace(text, "WHEN", `'state == "CLOSE_WAIT"'`, 1)), dead[0])
	r := l.run(t, l.rules(t, strings.Replace(text, "WHEN", `'state in ["CLOSE_WAIT", "ESTABLISHED"]'`, 1)))
	expectTally(t, r, map[report.Decision]int{report.DecideBreaker: 26})
	if len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Error(), "would act on 6 living targets (6 for rule r) besides 20 dead of ") {
		t.Errorf("errors %v", r.Errors)
	}
}

// An action on a process counts once, with what would die with it. A process that a
// later rung is for counts where its socket is dead, unless it cannot come about.
func TestProcessCountsOnce(t *testing.T) {
	hung := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 20)
	holder(t, hung...)
	_, busy, healthy := crowd(t, 4)
	for _, c := range []struct {
		when, then string
		living     int
	}{
		{among(hung...), "{signal: TERM}", 1},
		{among(hung...), "log, {signal: TERM, if: result == \"done\"}", 1},
		{among(busy), "{signal: TERM}", 1 + len(healthy)},
		{`state == "CLOSE_WAIT"`, "{signal: TERM}", 2 + len(healthy)},
		// A healthy connection that a rule takes itself does not count twice.
		{among(append(healthy, busy)...), "{signal: TERM}", 1 + len(healthy)},
		// The sockets are dead; the processes behind them are not.
		{among(hung...), "destroy", 0},
		{among(hung...), "destroy, {signal: TERM}, {signal: KILL}", 1},
		{among(busy), "destroy, {signal: TERM}", 1},
		{among(busy), "destroy, {signal: KILL, if: result == \"fd_still_held\"}", 1 + len(healthy)},
		{among(append(healthy[:1:1], busy)...), "destroy, {signal: TERM}", 2},
		{among(healthy[:2]...), "destroy, {signal: TERM}", 2},
		{among(healthy[:2]...), "destroy, {signal: KILL, if: result == \"fd_still_held\"}", len(healthy)},
		{among(busy), "destroy, {signal: KILL, if: \"1 == 2\"}", 0},
		{among(busy), "destroy, {signal: KILL, if: \"1 == 2 and result == \\\"fd_still_held\\\"\"}", 0},
	} {
		t.Run(c.then, func(t *testing.T) {
			l := mortal(newLab(t, Options{}))
			p := func(count int) *rules.Program {
				return l.rules(t, fmt.Sprintf("version: 1\ndefaults: {breaker: {count: %d}}\n", count)+strings.TrimPrefix(ruleFile(c.when, c.then), "version: 1\n"))
			}
			socklab.WaitFor(t, "action in spite of the breaker", func() bool { return l.run(t, p(max(1, c.living))).Summary.WouldAct > 0 })
			if c.living < 2 {
				return
			}
			r := l.run(t, p(c.living-1))
			var tripped *report.TrippedError
			if len(r.Errors) != 1 || !errors.As(r.Errors[0], &tripped) || tripped.Living != c.living || r.Summary.WouldAct != 0 {
				t.Errorf("errors %v, would act on %d; want %d living", r.Errors, r.Summary.WouldAct, c.living)
			}
		})
	}
}

// One signal for a leak is one action: the rules of examples/groups.yaml act, here
// with smaller numbers, where their sockets are most of all.
func TestGroupWithOneSignal(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 60)
	h := holder(t, conns...)
	b, err := os.ReadFile("../examples/groups.yaml")
	must(t, "example", err)
	text := string(b)
	for was, is := range map[string]string{"age > 60 and idle > 60": "age > 1 and idle > 1", "count > 500": "count > 50"} {
		if !strings.Contains(text, was) {
			t.Fatalf("no %q in the example", was)
		}
		text = strings.Replace(text, was, is, 1)
	}
	l := newLab(t, Options{Live: true})
	p := l.rules(t, text)
	var r *report.Report
	socklab.WaitFor(t, "the leak", func() bool { r = l.run(t, p); noErrors(t, r); return r.Summary.Acted > 0 })
	for _, c := range conns {
		expect(t, findingsOf(r, c)[0], report.DecideAct, "", actions.Ended)
	}
	if h.Running() || len(l.journal.lines("msg=acted")) != 1 {
		t.Errorf("%v", l.journal.lines("msg=acted"))
	}
}

// What a pause, protection or a guard spares does not count, and no pause makes
// what has tripped act again.
func TestSparedAreNotCounted(t *testing.T) {
	conns := socklab.Many(t, socklab.Established, socklab.IPv4, 6)
	h := holder(t, conns...)
	own := socklab.Many(t, socklab.Established, socklab.IPv4, 6) // of this process: guarded
	path := pauseFile(t)
	l := newLab(t, Options{Live: true, PauseFiles: []string{path}}, keeper())
	text := func(protect string) string {
		return "version: 1\ndefaults: {breaker: {count: 2}}\nprotect: [{name: p, when: '" + protect + "'}]\n" +
			"rules:\n  - {name: r, when: 'state == \"ESTABLISHED\"', then: [keep], limits: {cooldown: 0}}\n"
	}
	two := text("not (" + among(conns[:2]...) + ")")
	r := l.run(t, l.rules(t, two))
	expectTally(t, r, map[report.Decision]int{report.DecideAct: 2, report.DecideProtect: 10})
	noErrors(t, r)
	all := l.rules(t, text("port == 1"))
	expectTally(t, l.run(t, all), map[report.Decision]int{report.DecideBreaker: 6, report.DecideGuarded: len(own)})
	setPause(t, path)
	for range memory.CalmCycles + 1 {
		r := l.run(t, all)
		expectTally(t, r, map[report.Decision]int{report.DecidePaused: 6, report.DecideGuarded: len(own)})
		noErrors(t, r)
	}
	_, err := pause.Resume(path)
	must(t, "resume", err)
	expectTally(t, l.run(t, l.rules(t, two)), map[report.Decision]int{report.DecideBreaker: 2, report.DecideProtect: 10}) // tripped before
	h.CloseSockets(t)
}

// Limits that a person sets are in force at once: what tripped at others says
// nothing about them.
func TestOtherLimitsAtOnce(t *testing.T) {
	conns := socklab.Many(t, socklab.Established, socklab.IPv4, 60)
	holder(t, conns...)
	l := newLab(t, Options{Live: true}, keeper())
	p := l.rules(t, ruleFile(among(conns...), "keep", "limits: {cooldown: 0}"))
	expectTally(t, l.run(t, p), map[report.Decision]int{report.DecideBreaker: 60})
	for _, text := range []string{"60", "59", "60/100%", "off"} {
		var err error
		p.Breaker, err = rules.ParseBreaker(text)
		must(t, "breaker", err)
		want := map[report.Decision]int{report.DecideAct: 60}
		if text == "59" {
			want = map[report.Decision]int{report.DecideBreaker: 60}
		}
		expectTally(t, l.run(t, p), want)
	}
	if len(l.memory.Tripped) > 0 {
		t.Errorf("tripped %v", l.memory.Tripped)
	}
}

// A watcher says once that a breaker has tripped, acts on none, and says that it
// is over.
func TestWatchTripped(t *testing.T) {
	conns := socklab.Many(t, socklab.Established, socklab.IPv4, 4)
	h := holder(t, conns...)
	keep := keeper()
	w := watchRules(t, Options{Live: true}, 20*time.Millisecond, map[string]string{"rules.yaml": "version: 1\ndefaults: {breaker: {count: 3}}\nrules:\n" +
		"  - {name: wrong, when: '" + among(conns...) + "', then: [keep], limits: {cooldown: 0}}\n"}, keep)
	socklab.WaitFor(t, "cycles", func() bool { return w.cycles() > 5 })
	w.logged(t, 1, "level=WARN", `msg="breaker tripped, acted on none"`, "4 living targets", `limit="count 3`, "rule=wrong", "--breaker 100", "kill")
	h.CloseSockets(t)
	w.logged(t, 1, "breaker reset")
	if len(w.journal.lines("breaker tripped")) != 1 || len(w.journal.lines("msg=cycle level=WARN")) != 0 || len(keep.applied) != 0 {
		t.Errorf("applied %d times: %v", len(keep.applied), w.journal.lines("breaker"))
	}
}
