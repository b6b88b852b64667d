package engine

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
)

// What the breaker does not count is proven dead: if any of the evidence is missing or
// unknown, the socket is living.
func TestDeadByEvidence(t *testing.T) {
	known := collectors.Fields(collectors.FieldOwned, collectors.FieldIdle, collectors.FieldSendQueue)
	type evidence struct {
		state collectors.State
		inode uint32
		queue uint32
		age   float64
		idle  uint32 // ms, the smaller of the two directions
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

// A leak is cured, per_cycle sockets at a time, once it is proven to be one; also by a
// rule that does not ask for an age, and where a living peer answers keepalives, so no
// single look proves an age.
func TestLeakIsCured(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
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

// One signal for a leak is one action: the rules of examples/groups.yaml, here with
// smaller numbers, act where most sockets belong to the leak.
func TestGroupWithOneSignal(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
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
	socklab.WaitFor(t, "all to be old", func() bool { return time.Since(conns[len(conns)-1].SeenAfter) > 1500*time.Millisecond })
	socklab.WaitFor(t, "the leak", func() bool { r = l.run(t, p); noErrors(t, r); return r.Summary.Acted > 0 })
	for _, c := range conns {
		expect(t, findingsOf(r, c)[0], report.DecideAct, "", actions.Ended)
	}
	if h.Running() || len(l.journal.lines("msg=acted")) != 1 {
		t.Errorf("%v", l.journal.lines("msg=acted"))
	}
}

// A watcher says once that a breaker has tripped, acts on nothing, and says when it is
// over.
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
