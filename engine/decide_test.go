package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// decisions are those about one socket, in the order of the rules.
func decisions(r *report.Report, c *socklab.Conn) string {
	var all []string
	for _, f := range findingsOf(r, c) {
		all = append(all, f.Rule.Name+" "+string(f.Decision))
	}
	return strings.Join(all, ", ")
}

// Rules are tried in their order: the first enforcing one that holds owns the
// socket, and what spares it then keeps it from later rules, too.
func TestOwnership(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, c)
	own := socklab.Make(t, socklab.Established, socklab.IPv4) // guarded
	rule := func(name, when, more string) string {
		return fmt.Sprintf("  - {name: %s, when: %q, then: [destroy]%s}\n", name, when, more)
	}
	const yes, no = `state == "ESTABLISHED"`, `state == "LISTEN"`
	for name, test := range map[string]struct{ rules, want, wantOwn string }{
		"first wins":         {rule("a", yes, "") + rule("b", yes, ""), "a act, b shadowed", "a guarded, b shadowed"},
		"no match":           {rule("a", no, "") + rule("b", yes, ""), "b act", "b guarded"},
		"unknown is no":      {rule("a", "age > 3600", "") + rule("b", yes, ""), "b act", "b guarded"},
		"unless looks on":    {rule("a", yes, ", unless: 'port > 0'") + rule("b", yes, ""), "a unless, b act", "a unless, b guarded"},
		"unknown unless":     {rule("a", yes, ", unless: 'age > 3600'") + rule("b", yes, ""), "a unless, b act", "a unless, b guarded"},
		"pending looks on":   {rule("a", yes, ", for: 1h") + rule("b", yes, ""), "a pending, b act", "a pending, b guarded"},
		"observe looks on":   {rule("a", yes, ", mode: observe") + rule("b", yes, ""), "a observe, b act", "a observe, b guarded"},
		"observe behind":     {rule("a", yes, "") + rule("b", yes, ", mode: observe"), "a act, b observe", "a guarded, b observe"},
		"disabled":           {rule("a", yes, ", mode: disabled") + rule("b", yes, ""), "b act", "b guarded"},
		"if keeps ownership": {strings.Replace(rule("a", yes, ""), "[destroy]", "[{destroy: {udp: true}, if: 'port == 1'}]", 1) + rule("b", yes, ""), "a unless, b shadowed", "a guarded, b shadowed"},
		"protect": {
			rule("a", yes, "") + rule("b", yes, "") + "protect: [{name: p, when: port > 0}]\n",
			"a protected, b shadowed", "a protected, b shadowed",
		},
		"protect unknown": {
			rule("a", yes, "") + rule("b", yes, "") + "protect: [{name: p, when: age > 3600}]\n",
			"a protected, b shadowed", "a protected, b shadowed",
		},
		"protect false": {
			rule("a", yes, "") + "protect: [{name: p, when: process == 'nginx'}]\n",
			"a act", "a guarded",
		},
		"limits": {
			rule("a", yes, ", limits: {per_cycle: 1}") + rule("b", yes, "") + "defaults: {breaker: {count: 1}}\n",
			"a act, b shadowed", "a guarded, b shadowed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{})
			r := l.cycle(t, l.rules(t, "version: 1\nrules:\n"+test.rules))
			noErrors(t, r)
			if got := decisions(r, c); got != test.want {
				t.Errorf("got %s, want %s\n%s", got, test.want, describe(r))
			}
			if got := decisions(r, own); got != test.wantOwn {
				t.Errorf("our own: got %s, want %s", got, test.wantOwn)
			}
			checkSum(t, r)
		})
	}
}

// checkSum checks that the summary adds up.
func checkSum(t testing.TB, r *report.Report) {
	t.Helper()
	s := r.Summary
	if sum := s.WouldAct + s.Acted + s.Observed + s.Protected + s.Skipped + s.Failed; s.Matched != sum || s.Matched != len(r.Findings) {
		t.Errorf("%d findings, matched %d, the parts are %d: %+v", len(r.Findings), s.Matched, sum, s)
	}
	n := 0
	for _, k := range r.ByState {
		n += k
	}
	if n != s.Scanned {
		t.Errorf("scanned %d, by state %v", s.Scanned, r.ByState)
	}
}

// What cannot be told spares, and the reason says so.
func TestReasons(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, c)
	for rule, want := range map[string]string{
		"unless: age > 3600":    "unless of r (cannot be told)",
		"unless: port > 0":      "unless of r",
		"for: 90s":              "r for 1m30s, so far 0s",
		"mode: observe":         "mode observe",
		"limits: {cooldown: 1}": "",
	} {
		l := newLab(t, Options{})
		if f := findingOf(t, l.cycle(t, l.rules(t, ruleFile(port(c), "destroy", rule))), c); f.Reason != want {
			t.Errorf("%s: reason %q, want %q", rule, f.Reason, want)
		}
	}
}

// A rule acts only after it has matched for that long without a break.
func TestFor(t *testing.T) {
	l := newLab(t, Options{})
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, c)
	p := l.rules(t, ruleFile(port(c)+` && recv_queue == 0`, "destroy", "for: 400ms"))
	pending := func() bool { return findingOf(t, l.cycle(t, p), c).Decision == report.DecidePending }
	first := time.Now()
	if !pending() {
		t.Fatal("it acts at once")
	}
	last := time.Now()
	socklab.WaitFor(t, "the rule to act", func() bool {
		if pending() {
			last = time.Now()
			return false
		}
		return true
	})
	if last.Sub(first) < 300*time.Millisecond {
		t.Errorf("pending for %s only", last.Sub(first))
	}
	// A break: the condition did not hold in one cycle.
	send(&c)(t)
	if n := len(findingsOf(l.cycle(t, p), c)); n != 0 {
		t.Fatalf("%d findings", n)
	}
	if len(l.memory.Holds) != 0 {
		t.Error("the hold is not forgotten")
	}
	read(t, c)
	if !pending() {
		t.Error("a break does not start it again")
	}
	// And so does a changed rule.
	socklab.WaitFor(t, "the rule to act", func() bool { return !pending() })
	p = l.rules(t, ruleFile(port(c)+` && recv_queue == 0`, "destroy", "for: 401ms"))
	if !pending() {
		t.Error("a changed rule does not start again")
	}
}

// read empties the queue of a socket that a holder has.
func read(t *testing.T, c *socklab.Conn) {
	t.Helper()
	fd := steal(t, c)
	defer unix.Close(fd)
	_, err := unix.Read(fd, make([]byte, 10))
	must(t, "read", err)
}

// steal duplicates the descriptor that a holder has of a socket.
func steal(t *testing.T, c *socklab.Conn) int {
	t.Helper()
	l := newLab(t, Options{})
	r, err := l.Cycle(t.Context(), l.rules(t, ruleFile(port(c), "log")))
	must(t, "cycle", err)
	o := findingOf(t, r, c).Facts.Owners[0]
	pidfd, err := unix.PidfdOpen(o.PID, 0)
	must(t, "pidfd", err)
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, o.FD, 0)
	must(t, "pidfd_getfd", err)
	return fd
}

// The oldest go first, also if the condition does not read ages, and what is beyond
// the limit waits for its turn.
func TestPerCycle(t *testing.T) {
	for _, when := range []string{`state == "CLOSE_WAIT" && age > 0`, `state == "CLOSE_WAIT"`} {
		t.Run(when, func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			var conns []*socklab.Conn
			for range 3 {
				conns = append(conns, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
				socklab.WaitFor(t, "the next to be younger", func() bool { return time.Since(conns[len(conns)-1].SeenAfter) > 60*time.Millisecond })
			}
			for _, c := range slices.Backward(conns) {
				_, err := unix.GetsockoptUint64(c.FD, unix.SOL_SOCKET, unix.SO_COOKIE) // made now: the youngest has the lowest
				must(t, "SO_COOKIE", err)
			}
			holder(t, conns...)
			p := l.rules(t, ruleFile(when, "destroy", "limits: {per_cycle: 1}"))
			for i := range conns {
				r := l.run(t, p)
				checkSum(t, r)
				for j, c := range conns[i:] {
					f := findingOf(t, r, c)
					if j == 0 {
						expect(t, f, report.DecideAct, "", actions.FDStillHeld)
					} else {
						expect(t, f, report.DecideLimited, "per_cycle 1 reached")
					}
					if age := f.Facts.Age.Min; age <= 0 || age > time.Since(c.StartedBefore).Seconds() {
						t.Errorf("age %g", age)
					}
				}
			}
		})
	}
}

// For actions on processes the processes count, each of them.
func TestPerCycleProcesses(t *testing.T) {
	poke := outcomes("poke", actions.Outcome{Result: actions.Done})
	poke.onProcess = true
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 8)
	for i := range 2 {
		holder(t, conns[i*3:i*3+3]...)
	}
	shared := conns[6:]
	for _, c := range shared {
		socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
		holder(t, c)
	}
	for limit, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 4, 6: 6, 100: 6} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			poke.applied = nil
			l := newLab(t, Options{Live: true}, poke)
			r := l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "{poke: {owners: all}}", fmt.Sprintf("limits: {per_cycle: %d}", limit))))
			pids := map[int]bool{}
			for _, target := range poke.applied {
				pids[target.Process.PID] = true
			}
			// The sockets of two processes need both at once: which come first is open.
			if len(pids) > limit || len(poke.applied) != len(pids) || len(pids) < min(want, 1) || limit >= 6 && len(pids) != want {
				t.Errorf("limit %d: %d effects on %d processes\n%s", limit, len(poke.applied), len(pids), describe(r))
			}
			checkSum(t, r)
		})
	}
}

// What was acted on is left alone for a while, over cycles and rules.
func TestCooldown(t *testing.T) {
	keep := outcomes("keep", actions.Outcome{Result: actions.Refused})
	poke := outcomes("poke", actions.Outcome{Result: actions.Done})
	poke.onProcess = true
	for _, action := range []string{"keep", "poke"} {
		t.Run(action, func(t *testing.T) {
			l := newLab(t, Options{Live: true}, keep, poke)
			conns := []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)}
			holder(t, conns...)
			p := l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, action, "limits: {cooldown: 500ms}"))
			expect(t, findingOf(t, l.run(t, p), conns[0]), report.DecideAct, "", map[string]actions.Result{"keep": actions.Refused, "poke": actions.Done}[action])
			expect(t, findingOf(t, l.run(t, p), conns[0]), report.DecideCooldown, "cool-down 500ms")
			other := l.rules(t, strings.Replace(ruleFile(`state == "CLOSE_WAIT"`, action), "name: r", "name: another", 1))
			expect(t, findingOf(t, l.run(t, other), conns[0]), report.DecideCooldown, "cool-down 5m")
			socklab.WaitFor(t, "the end of the cool-down", func() bool {
				return findingOf(t, l.run(t, p), conns[0]).Decision == report.DecideAct
			})
			// A dry run sees the cool-down and starts none.
			dry := newLab(t, Options{}, keep, poke)
			*dry.memory = *l.memory
			expect(t, findingOf(t, dry.run(t, p), conns[0]), report.DecideCooldown, "cool-down")
		})
	}
}

// The breaker is about all rules together and counts living sockets. Nothing is
// done if it trips, and what is said names the limit and the ways on.
func TestBreaker(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 60)
	holder(t, conns...)
	halves := fmt.Sprintf(`
version: 1
defaults: {breaker: BREAKER}
rules:
  - {name: low, when: port < %d, then: [destroy]}
  - {name: high, when: port > 0 && state == "CLOSE_WAIT", then: [destroy]}
  - {name: watch, when: state == "CLOSE_WAIT", mode: observe}
`, ports(conns)[30])
	for breaker, limit := range map[string]string{
		"{count: 59}":               "count 59 and share 30%",
		"{count: 59, share: 100%}":  "count 59",
		"{count: 60}":               "share 30%", // more than 50 and 30%
		"{count: 60, share: 100%}":  "",
		"{count: 1000, share: 99%}": "share 99%",
		// What is left to later cycles counts.
		"{count: 59}, limits: {per_cycle: 1}":                   "count 59 and share 30%",
		"{count: 59}, limits: {per_cycle: 1000, per_minute: 3}": "count 59 and share 30%",
	} {
		t.Run(breaker, func(t *testing.T) {
			l := newLab(t, Options{})
			if !strings.Contains(breaker, "limits") {
				breaker += ", limits: {per_cycle: 1000}"
			}
			p := l.rules(t, strings.Replace(halves, "BREAKER", breaker, 1))
			live := newLab(t, Options{Live: true})
			n := map[report.Decision]int{}
			r := l.run(t, p)
			for _, f := range r.Findings {
				n[f.Decision]++
				if f.Decision == report.DecideBreaker && f.Reason != "breaker: more than "+limit {
					t.Errorf("reason %q", f.Reason)
				}
			}
			checkSum(t, r)
			if limit == "" {
				if n[report.DecideAct] != 60 || len(r.Errors) > 0 {
					t.Errorf("decisions %v, errors %v", n, r.Errors)
				}
				return
			}
			said := "breaker: would act on 60 living targets (30 for rule low) of 60 sockets: more than " + limit +
				"; acted on none. If that is right: --breaker 100, or sockwarden kill for what you choose"
			if n[report.DecideBreaker] != 60 || n[report.DecideObserve] != 60 || len(r.Errors) != 1 || r.Errors[0].Error() != said {
				t.Errorf("decisions %v, errors %v", n, r.Errors)
			}
			r = live.run(t, p)
			if r.Summary.Acted+r.Summary.Failed != 0 || len(live.memory.Cooldowns) > 0 {
				t.Errorf("live: %+v", r.Summary)
			}
		})
	}
	// The share counts only where it is more than a handful.
	l := newLab(t, Options{})
	r := l.run(t, l.rules(t, "version: 1\nrules:\n  - {name: r, when: port < "+fmt.Sprint(ports(conns)[50])+", then: [destroy]}\n"))
	if r.Summary.WouldAct != 50 {
		t.Errorf("50 of 60: %+v %v", r.Summary, r.Errors)
	}
}

func ports(conns []*socklab.Conn) []uint16 {
	var all []uint16
	for _, c := range conns {
		all = append(all, c.Local.Port())
	}
	slices.Sort(all)
	return all
}

// A condition must hold for each of several owners; any owner is enough to
// spare; a signal needs to be for all of them.
func TestSeveralOwners(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	a := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true, Program: "alpha"})
	b := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: "beta"})
	for name, test := range map[string]struct {
		when, more, then string
		want             string
	}{
		"each":              {`process in ["alpha", "beta"]`, "", "destroy", "r act"},
		"one only":          {`process == "alpha"`, "", "destroy", ""},
		"not for the other": {`process != "alpha"`, "", "destroy", ""},
		"neither":           {`process != "gamma"`, "", "destroy", "r act"},
		"count":             {"owners == 2", "", "destroy", "r act"},
		"unless one":        {"true", "unless: process == 'beta'", "destroy", "r unless"},
		"unless none":       {"true", "unless: process == 'gamma'", "destroy", "r act"},
		"signal":            {"true", "", "{signal: TERM}", "r guarded"},
		"signal all":        {"true", "", "{signal: {signal: TERM, owners: all}}", "r act"},
		"first if":          {"true", "", `{destroy: {udp: true}, if: process == "alpha"}`, "r unless"},
		"first if each":     {"true", "", `{destroy: {udp: true}, if: process != "x"}`, "r act"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{})
			var more []string
			if test.more != "" {
				more = append(more, test.more)
			}
			r := l.cycle(t, l.rules(t, ruleFile(`'`+strings.ReplaceAll(port(c)+" && "+test.when, `'`, `''`)+`'`, test.then, more...)))
			if got := decisions(r, c); got != test.want {
				t.Errorf("got %q, want %q\n%s", got, test.want, describe(r))
			}
		})
	}
	l := newLab(t, Options{})
	for _, process := range []string{"alpha", "beta"} {
		r := l.cycle(t, l.rules(t, ruleFile(port(c), "destroy")+"protect: [{name: p, when: process == '"+process+"'}]\n"))
		if got := decisions(r, c); got != "r protected" {
			t.Errorf("protected %s: %s", process, got)
		}
	}
	live := newLab(t, Options{Live: true})
	r := live.run(t, live.rules(t, ruleFile(port(c), "{signal: {signal: TERM, owners: all}, wait: 5s}")))
	expect(t, findingOf(t, r, c), report.DecideAct, "", actions.Ended, actions.Ended)
	a.Wait(t)
	b.Wait(t)
}

// A socket whose owner cannot be seen is nobody's: no comparison with a process
// takes it, it is not acted on, unless a person says that it may be.
func TestUnknownOwner(t *testing.T) {
	for _, test := range []struct {
		when        string
		live, allow bool
		want        string
	}{
		{`process != "nginx"`, false, false, ""},
		{`process != "nginx"`, true, true, ""},
		{`pid != 0`, true, true, ""},
		{`user != "root"`, true, true, ""},
		{`owners < 2`, true, true, ""},
		{`!(process == "nginx")`, true, true, ""},
		{`owned`, false, false, "r guarded"},
		{`owned`, true, false, "r guarded"},
		{`owned`, false, true, "r act"},
		{`process == "x" || owned`, false, true, "r act"},
		{`owned`, true, true, "r act"},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			h := holder(t, c)
			l := newLab(t, Options{Live: test.live, AllowUnknownOwner: test.allow})
			p := l.rules(t, ruleFile("'"+port(c)+" && ("+test.when+")'", "destroy"))
			signals := l.rules(t, ruleFile(port(c), "{signal: KILL}"))
			var r, s *report.Report
			must(t, "without capabilities", socklab.WithoutCapability(t, func() (err error) {
				if s, err = l.Cycle(t.Context(), signals); err != nil {
					return err
				}
				r, err = l.Cycle(t.Context(), p)
				return err
			}, blind...))
			if got := decisions(r, c); got != test.want {
				t.Errorf("got %q, want %q\n%s", got, test.want, describe(r))
			}
			for _, f := range findingsOf(r, c) {
				reason := fmt.Sprintf("owner not visible: %s[%d] cannot be examined (EACCES): run with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, "+
					"or --allow-unknown-owner", program(), h.PID)
				if f.Decision == report.DecideGuarded && f.Reason != reason {
					t.Errorf("reason %q", f.Reason)
				}
				if test.live && f.Decision == report.DecideAct && f.Last().Result != actions.Gone {
					t.Errorf("result %s", f.Last().Result)
				}
			}
			want := map[bool]string{true: "no process has it", false: "owner not visible"}[test.allow]
			expect(t, findingOf(t, s, c), report.DecideGuarded, want)
			if r.OwnersHidden != 1 || s.OwnersHidden != 1 {
				t.Errorf("hidden %d and %d", r.OwnersHidden, s.OwnersHidden)
			}
			if survives(t, c) != (!test.live || test.want != "r act") || !h.Running() {
				t.Errorf("alive %t, process %t", survives(t, c), h.Running())
			}
		})
	}
}

// Counted are sockets that some rule would take if only they were proven old.
func TestAgeUnproven(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	other := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	mini := socklab.Make(t, socklab.FinWait2Orphan, socklab.IPv4)
	holder(t, c, other)
	for when, want := range map[string]int{
		port(c) + " && age > 3600":                                               1,
		port(c) + " && age > 3600 && process == 'x'":                             0,
		port(c) + " && age < 3600":                                               0,
		port(c) + " && age > 0":                                                  0,
		"state == 'CLOSE_WAIT' && age > 3600":                                    0, // it is younger than its connection
		"state == 'ESTABLISHED' && age > 3600 && process == '" + program() + "'": 1,
		port(mini) + " && age > 3600":                                            0, // the kernel ends it within a minute
		port(c) + " && (age > 3600 || state == 'LISTEN')":                        1,
	} {
		l := newLab(t, Options{})
		r := l.cycle(t, l.rules(t, ruleFile(when, "destroy")))
		if r.AgeUnproven != want {
			t.Errorf("%s: %d, want %d", when, r.AgeUnproven, want)
		}
	}
	// Not if another rule takes it.
	l := newLab(t, Options{})
	text := ruleFile(port(c)+" && age > 3600", "destroy") + "  - {name: s, when: " + port(c) + ", then: [destroy]}\n"
	if r := l.cycle(t, l.rules(t, text)); r.AgeUnproven != 0 || r.Summary.WouldAct != 1 {
		t.Errorf("%d unproven, %+v", r.AgeUnproven, r.Summary)
	}
}

// The record of an orphan knows that nobody has it.
func TestOwnerless(t *testing.T) {
	c := socklab.Make(t, socklab.LastAckOrphan, socklab.IPv6)
	for when, want := range map[string]string{
		"!owned && orphan && process == '' && pid == 0": "r act", "process != 'nginx'": "r act", "owners > 0": "", "uid == 0": "", "process == 'nginx'": "",
	} {
		l := newLab(t, Options{})
		if got := decisions(l.cycle(t, l.rules(t, ruleFile(`"`+port(c)+" && "+when+`"`, "destroy"))), c); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
}

// Every state of the lab matches a rule about it, and no other.
func TestStates(t *testing.T) {
	l := newLab(t, Options{})
	for _, k := range socklab.Kinds() {
		c := socklab.Make(t, k, socklab.IPv6)
		for _, name := range collectors.StateNames() {
			p := l.rules(t, ruleFile(`"`+port(c)+" && state == '"+name+"' && protocol == '"+k.Protocol().String()+`'"`, "log"))
			n := len(findingsOf(l.cycle(t, p), c))
			if (n == 1) != (name == k.State().String() && k.Shown()) {
				t.Errorf("%s matches %s: %d", k, name, n)
			}
		}
	}
}

// Modes, for limits and observation together: what a mode may do.
func TestModes(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 3)
	holder(t, conns...)
	for _, mode := range []rules.Mode{rules.ModeDisabled, rules.ModeObserve, rules.ModeEnforce} {
		l := newLab(t, Options{Live: true})
		r := l.run(t, l.rules(t, ruleFile("state == 'CLOSE_WAIT'", "destroy", "mode: "+string(mode))))
		got := map[report.Decision]int{}
		for _, f := range r.Findings {
			got[f.Decision]++
		}
		want := map[rules.Mode]map[report.Decision]int{rules.ModeDisabled: {}, rules.ModeObserve: {report.DecideObserve: 3}, rules.ModeEnforce: {report.DecideAct: 3}}[mode]
		if !maps.Equal(got, want) || mode == rules.ModeObserve && (r.Summary.Observed != 3 || len(r.Findings[0].Actions) > 0) {
			t.Errorf("%s: %v, %+v", mode, got, r.Summary)
		}
		checkSum(t, r)
	}
}
