package engine

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors/host"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// A socket whose lock a process keeps holds up whoever reads its tcp_info. It is left
// behind, named, and spared; all others are treated as usual.
func TestLockedSocket(t *testing.T) {
	if socklab.ApartToLock(t) {
		return
	}
	l := newLab(t, Options{Live: true, NoBreaker: true})
	locked, free := socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, free)
	ports := []string{fmt.Sprint(locked.Local.Port())}
	if socklab.KernelBefore(6, 9) { // no ages are known then
		ports = append(ports, fmt.Sprint(free.Local.Port()))
	}
	p := l.rules(t, ruleFile(`state == "ESTABLISHED" && age > 0`, "destroy")+
		fmt.Sprintf("  - name: port\n    when: port in [%s]\n    then: [destroy]\n", strings.Join(ports, ", ")))
	rogue := socklab.Lock(t, locked)

	began := time.Now()
	r := l.run(t, p)
	first := time.Since(began)
	if !rogue.Running() {
		t.Errorf("the cycle took %s, as long as the lock", first)
	}
	lockedWhy := "its lock"
	if socklab.KernelBefore(6, 9) { // no other socket can be looked at either
		lockedWhy = "no cookie"
		expect(t, findingOf(t, r, free), report.DecideGuarded, lockedWhy)
	} else {
		expect(t, findingOf(t, r, free), report.DecideAct, "", actions.FDStillHeld)
	}
	expect(t, findingOf(t, r, locked), report.DecideGuarded, lockedWhy)
	said := fmt.Sprint(r.Errors)
	for _, part := range []string{"namespace host", fmt.Sprintf("%s[%d] keeps the lock of", program(), rogue.PID), fmt.Sprintf("socket:[%d]", findingOf(t, r, locked).Socket.Inode)} {
		if !strings.Contains(said, part) {
			t.Errorf("%q is not in %s", part, said)
		}
	}

	// What is known to hang is not tried again.
	threads := l.looker.Dumps.Hangs.All[findingOf(t, r, locked).NS.Inode].Left()
	began = time.Now()
	r = l.run(t, p)
	if took := time.Since(began); took >= first {
		t.Errorf("the next cycle took %s, the first %s", took, first)
	}
	expect(t, findingOf(t, r, locked), report.DecideGuarded, lockedWhy)
	if now := l.looker.Dumps.Hangs.All[findingOf(t, r, locked).NS.Inode].Left(); now != threads || threads > 3 {
		t.Errorf("%d threads hang, and %d after another cycle", threads, now)
	}

	rogue.Kill(t)
	socklab.WaitFor(t, "what hung to return", func() bool {
		l.looker.Dumps.Hangs.NoticeReturns()
		return len(l.looker.Dumps.Hangs.All) == 0
	})
	noErrors(t, l.run(t, p))
	if len(l.journal.lines("looks return again", "netns=host")) != 1 {
		t.Error("that looks return is not said")
	}
}

// A look that reads no tcp_info fetches it for what it found, and is held up there.
func TestLockedSocketWithoutInfo(t *testing.T) {
	if socklab.ApartToLock(t) {
		return
	}
	l := newLab(t, Options{Live: true, NoBreaker: true})
	locked, free := socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, free)
	p := l.rules(t, ruleFile(`state == "ESTABLISHED"`, "destroy"))
	rogue := socklab.Lock(t, locked)
	r := l.run(t, p)
	if !rogue.Running() {
		t.Error("the cycle took as long as the lock")
	}
	if f := findingOf(t, r, free); socklab.KernelBefore(6, 9) { // shown before or behind the locked one
		if f.Decision == report.DecideAct {
			expect(t, f, report.DecideAct, "", actions.Timeout)
		} else {
			expect(t, f, report.DecideGuarded, "its lock")
		}
		if !alive(free) {
			t.Error("it is gone although it could not be looked at")
		}
	} else {
		expect(t, findingOf(t, r, free), report.DecideAct, "", actions.FDStillHeld)
	}
	expect(t, findingOf(t, r, locked), report.DecideGuarded, "its lock")
}

// Other namespaces are looked at as usual.
func TestLockedSocketElsewhere(t *testing.T) {
	if socklab.ApartToLock(t) {
		return
	}
	l := newLab(t, Options{Live: true, NoBreaker: true})
	locked, free := socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	p := l.rules(t, "netns: all\n"+ruleFile(`state == "ESTABLISHED" && age > 0`, "log"))
	socklab.Lock(t, locked)
	r := l.run(t, p)
	ends := map[string]int{}
	for _, f := range r.Findings {
		ends[f.Namespace()]++
	}
	if socklab.KernelBefore(6, 9) { // /proc/net gives no ages
		if said := fmt.Sprint(r.Errors); len(r.Findings) > 0 || !strings.Contains(said, "holds up all others") {
			t.Errorf("findings by namespace: %v, errors %s", ends, said)
		}
		return
	}
	if ends["host"] == 0 || ends["peer"] < 2 {
		t.Errorf("findings by namespace: %v\n%s", ends, describe(r))
	}
	_ = free
}

// Before Linux 6.9 one hanging look holds up all others: none is begun, and /proc/net
// shows what there is.
func TestLockedSocketOnOldKernels(t *testing.T) {
	if socklab.ApartToLock(t) {
		return
	}
	l := newLab(t, Options{Live: true, NoBreaker: true})
	l.world.Host.Kernel = host.ParseKernel("6.8")
	locked, free := socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, free)
	p := l.rules(t, ruleFile(`state == "ESTABLISHED" && age > 0`, "destroy")+
		fmt.Sprintf("  - name: port\n    when: port in [%d, %d]\n    then: [destroy]\n", locked.Local.Port(), free.Local.Port()))
	socklab.Lock(t, locked)
	r := l.run(t, p)
	for _, c := range []*socklab.Conn{locked, free} {
		expect(t, findingOf(t, r, c), report.DecideGuarded, "no cookie")
	}
	if said := fmt.Sprint(r.Errors); !strings.Contains(said, "reading /proc/net instead") {
		t.Errorf("errors: %s", said)
	}
	if threads := l.looker.Dumps.Hangs.All[findingOf(t, r, free).NS.Inode].Left(); threads != 1 {
		t.Errorf("%d threads hang", threads)
	}
}

// A watcher in which a look hangs goes on, and stops when it is told to: it keeps its
// state and says what still hangs.
func TestStopWhileLookHangs(t *testing.T) {
	if socklab.ApartToLock(t) {
		return
	}
	state := t.TempDir() + "/state.json"
	locked, free := socklab.Make(t, socklab.Established, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	holder(t, free)
	rogue := socklab.Lock(t, locked)
	w := watchRules(t, Options{Live: true, NoBreaker: true, StateFile: state}, 200*time.Millisecond,
		map[string]string{"rules.yaml": ruleFile(`state == "ESTABLISHED" && age > 0`, "destroy")})
	socklab.WaitFor(t, "the other socket to be destroyed", func() bool { return len(w.journal.lines("acted", "fd_still_held")) > 0 || !rogue.Running() })
	w.end(t)
	w.Close()
	if n := len(w.journal.lines("only when its hanging calls return", fmt.Sprintf("%s[%d]", program(), rogue.PID))); n != 1 {
		t.Errorf("what still hangs is said %d times", n)
	}
	if n := len(w.journal.lines("msg=cycle", "does not return from the kernel")); n != 1 {
		t.Errorf("that a look hangs is said %d times", n)
	}
	b, err := os.ReadFile(state)
	must(t, "state", err)
	if !strings.Contains(string(b), "cooldowns") {
		t.Errorf("state: %s", b)
	}
	rogue.Kill(t)
}
