package engine

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// An action on a UDP socket never climbs, whatever its result: a server that goes on
// answering is well. A rung that asks for the result is started.
func TestUDPNeverClimbs(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c := socklab.Make(t, socklab.UDPConnected, socklab.IPv4)
	h := holder(t, c)
	for _, result := range []actions.Result{actions.Refused, actions.Failed, actions.StillRunning} {
		for rung, want := range map[string]int{"second: {udp: true}": 0, "second: {udp: true}, if: result != 'would'": 1} {
			first, second := outcomes("first", actions.Outcome{Result: result}), outcomes("second", actions.Outcome{Result: actions.Ended})
			second.onProcess = true
			l := newLab(t, Options{Live: true}, first, second)
			p := l.rules(t, ruleFile("protocol == 'udp' and "+port(c), "{first: {udp: true}}, {"+rung+"}"))
			r := l.run(t, p)
			if len(first.applied) != 1 || len(second.prepared) != want {
				t.Errorf("%s, %s: prepared %d times\n%s", result, rung, len(second.prepared), describe(r))
			}
		}
	}
	if !h.Running() {
		t.Error("the process has ended")
	}
}

// A UDP server that bound its port survives destroy, and that is no failure.
func TestBoundUDPIsUnchanged(t *testing.T) {
	socklab.LeakCheck(t)
	free := socklab.Make(t, socklab.UDPBound, socklab.IPv4)
	free.CloseFD()
	fd, err := socklab.Home(t).Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(t, "socket", err)
	must(t, "bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: free.Local.Addr().As4(), Port: int(free.Local.Port())}))
	free.FD = fd
	h := holder(t, free)
	l := newLab(t, Options{Live: true})
	r := l.run(t, l.rules(t, ruleFile("protocol == 'udp' and "+port(free), "{destroy: {udp: true}}, {signal: KILL, wait: 1m}")))
	f := findingOf(t, r, free)
	expect(t, f, report.DecideAct, "", actions.Unchanged)
	if r.Summary.Failed != 0 || !strings.Contains(f.Last().Detail, "it bound its port") || !h.Running() {
		t.Errorf("%+v, %s, running %t", r.Summary, line(f), h.Running())
	}
}
