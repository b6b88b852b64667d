package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// decisions returns the decisions about one socket, in the order of the rules.
func decisions(r *report.Report, c *socklab.Conn) string {
	var all []string
	for _, f := range findingsOf(r, c) {
		all = append(all, f.Rule.Name+" "+string(f.Decision))
	}
	return strings.Join(all, ", ")
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

// The oldest go first, even if the condition does not read ages; those beyond the limit
// wait for their turn.
func TestPerCycle(t *testing.T) {
	for _, when := range []string{`state == "CLOSE_WAIT" && age > 0`, `state == "CLOSE_WAIT"`} {
		t.Run(when, func(t *testing.T) {
			l := newLab(t, Options{Live: true})
			var conns []*socklab.Conn
			for range 3 {
				conns = append(conns, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
				socklab.WaitFor(t, "the next to be younger", func() bool { return time.Since(conns[len(conns)-1].SeenAfter) > 160*time.Millisecond }) // more than look.Slack
			}
			for _, c := range slices.Backward(conns) {
				_, err := unix.GetsockoptUint64(c.FD, unix.SOL_SOCKET, unix.SO_COOKIE) // assigned now: the youngest gets the lowest
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

// A condition must hold for each of several owners; any one owner is enough to spare the
// socket; a signal must be for all of them.
func TestSeveralOwners(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
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
	r := live.run(t, live.rules(t, ruleFile(port(c), "{signal: {signal: TERM, owners: all}, wait: 1m}")))
	expect(t, findingOf(t, r, c), report.DecideAct, "", actions.Ended, actions.Ended)
	a.Wait(t)
	b.Wait(t)
}

// A socket whose owner cannot be seen is nobody's: no comparison with a process takes it,
// and it is not acted on unless a person allows it.
func TestUnknownOwner(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
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

// AgeUnproven counts the sockets that some rule would take if only they were proven old.
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
	// It does not count if another rule takes it.
	l := newLab(t, Options{})
	text := ruleFile(port(c)+" && age > 3600", "destroy") + "  - {name: s, when: " + port(c) + ", then: [destroy]}\n"
	if r := l.cycle(t, l.rules(t, text)); r.AgeUnproven != 0 || r.Summary.WouldAct != 1 {
		t.Errorf("%d unproven, %+v", r.AgeUnproven, r.Summary)
	}
}

// An orphan's record says that nobody has it.
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

// Every state in the lab matches the rule about it and no other.
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
