package main

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// envTorture is how long the torture lasts, such as 5m; if it is set there are also more
// connections.
const envTorture = "SOCKWARDEN_TORTURE"

// tortureSize returns how long and how much.
func tortureSize(t *testing.T) (length time.Duration, scale int) {
	t.Helper()
	text := os.Getenv(envTorture)
	if text == "" {
		return 6 * time.Second, 1
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", envTorture, err)
	}
	return length, 4
}

// apart is socklab.Apart; a long torture has the machine to itself.
func apart(t *testing.T) (done bool) {
	t.Helper()
	return os.Getenv(envTorture) == "" && socklab.Apart(t)
}

func at(port int) string  { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
func at6(port int) string { return net.JoinHostPort("::1", strconv.Itoa(port)) }

// spared are leaks that nothing may happen to.
func spared(n int, addrs ...string) (l []leak) {
	for _, a := range addrs {
		l = append(l, leak{Addr: a, Count: n})
	}
	return l
}

// named are leaks that must be destroyed.
func named(n int, addrs ...string) (l []leak) {
	for _, a := range addrs {
		l = append(l, leak{Addr: a, Count: n, Named: true})
	}
	return l
}

// TestTorture lets thousands of connections open and close under live rules that are
// constantly rewritten: everything that the rules name is destroyed, and nothing else.
// For a longer one: make torture.
func TestTorture(t *testing.T) {
	if apart(t) {
		return
	}
	length, scale := tortureSize(t)
	ns := socklab.NewNamespace(t, "torture")
	lives := map[string]life{
		"leaky": {
			Comm: "leaky", Serve: []string{at(named4), at6(named6), at(namedAged), at6(namedEither), at(observePort), at(canaryPort), at(exceptPort), at(protectPort), at(quotaPort)},
			Leaks: slices.Concat(named(60*scale, at(named4), at6(named6), at(namedAged), at6(namedEither)), named(4, at(quotaPort)),
				spared(20*scale, at(observePort), at(canaryPort), at(exceptPort), at(protectPort))),
		},
		"keeper":  {Comm: "keeper", Serve: []string{at(namedKept)}, Leaks: []leak{{Addr: at(namedKept), Count: 20, Named: true, KeepFD: true}}},
		"other":   {Comm: "other", Serve: []string{at(other4), at6(other6)}, UDP: []string{at(other4), at6(other6)}, Leaks: spared(40*scale, at(other4), at6(other6))},
		"guarded": {Comm: "dropbear", Serve: []string{at(guardedPort)}, Leaks: spared(20*scale, at(guardedPort))},
	}
	// The connections also go to named ports: the rules are about CLOSE_WAIT only.
	clients := life{Comm: "clients", Traffic: traffic{
		Long: 200 * scale, To: []string{at(named4), at6(named6), at6(namedEither), at(other4), at6(other6), at(guardedPort), at(namedKept), at(exceptPort)},
		Churn: 4 + 4*scale, ChurnTo: []string{at(other4), at6(other6), at(namedAged), at(guardedPort)},
		UDP: []string{at(other4), at6(other6)},
	}}
	programs := map[string]*program{}
	for name, l := range lives {
		programs[name] = l.start(t, ns)
	}
	programs["clients"] = clients.start(t, ns)
	own := ownWorld(t, ns, life{Serve: []string{at(ownPort)}, Leaks: spared(20, at(ownPort)), Traffic: traffic{Long: 10, To: []string{at(ownPort)}}})

	dir := t.TempDir()
	path, auditLog := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "audit.jsonl")
	if err := replaceRules(path, tortureRules(0), 0o600); err != nil {
		t.Fatal(err)
	}
	w := startWarden(t, ns, itself(t, "watch", "--live", "-v", "--log-format", "json", "--interval", "100ms", "--rules", path,
		"--state-file", filepath.Join(t.TempDir(), "state.json"), "--audit-log", auditLog), nil)
	w.await(t, "the watcher to start", func() bool { return w.counted()["watching live"] == 1 })
	rewriting := startRewriter(t, path)
	mortals := dieByLadder(t, ns, w, length, rewriting)
	if rewriting.err != nil {
		t.Fatal(rewriting.err)
	}

	// Now everything that is named must go, down to the last one.
	for _, p := range programs {
		p.ask(t, "quiet")
	}
	w.awaitLong(t, "the end of everything that is named", length+patience, func() bool {
		left := 0
		for _, p := range programs {
			left += p.ask(t, "report").Named
		}
		return left == 0
	})
	total := stats{}
	for name, p := range programs {
		total.add(t, name, p.ask(t, "finish"))
	}
	own.finish()
	total.add(t, "the one who started it", own.report())
	if code, took := w.term(t); code != 0 || took > 90*time.Second { // then systemd kills
		t.Errorf("exit code %d after %s\n%s", code, took, w.tail())
	}
	checkTorture(t, w, auditLog, total, scale)
	lines := w.counted()
	t.Logf("%s: %d connections opened, %d of them short-lived; %d CLOSE_WAIT destroyed, %d sockets survived that were not named; %d round trips, %d bytes, %d datagrams; "+
		"%d processes ended by ladders; %d cycles; rules written %d times (%d valid, %d broken, %d untrusted, removed %d times): %d reloads, %d rejected",
		length, total.Opened, total.Closed, total.Destroyed, total.Survived, total.RoundTrips, total.Bytes, total.Datagrams, mortals, lines["cycle"],
		rewriting.valid+rewriting.invalid+rewriting.untrusted, rewriting.valid, rewriting.invalid, rewriting.untrusted, rewriting.removed,
		lines["rules reloaded"], rejected(lines))
}

func rejected(lines map[string]int) (n int) {
	for msg, count := range lines {
		if len(msg) > 14 && msg[:14] == "rules rejected" {
			n += count
		}
	}
	return n
}

// ownWorld is a world in this process. Sockwarden's ancestors are its own session.
func ownWorld(t *testing.T, ns *socklab.Namespace, l life) *living {
	t.Helper()
	w := newWorld(l, ns.Do)
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-w.end:
		default:
			w.finish()
		}
		w.close()
	})
	return w
}

// add adds a program's figures, and fails the test for what went wrong.
func (s *stats) add(t *testing.T, name string, p stats) {
	t.Helper()
	for _, e := range p.Errors {
		t.Errorf("%s: %s", name, e)
	}
	but := []string{}
	if name == "keeper" {
		but = append(but, "SIGUSR1")
		if p.Signals["SIGUSR1"] == 0 {
			t.Errorf("%s: no SIGUSR1 for descriptors that were kept", name)
		}
	}
	if got := p.signals(but...); len(got) > 0 {
		t.Errorf("%s: signalled: %v", name, got)
	}
	s.Opened, s.Closed, s.Leaked, s.Destroyed = s.Opened+p.Opened, s.Closed+p.Closed, s.Leaked+p.Leaked, s.Destroyed+p.Destroyed
	s.Survived, s.RoundTrips, s.Bytes, s.Datagrams = s.Survived+p.Survived, s.RoundTrips+p.RoundTrips, s.Bytes+p.Bytes, s.Datagrams+p.Datagrams
	s.Died += p.Died
}

// dieByLadder keeps two processes where the rules signal them, one that SIGTERM ends and
// one that it does not. It goes on for that length and until good and bad rules have been
// read, and returns how many were ended.
func dieByLadder(t *testing.T, ns *socklab.Namespace, w *warden, length time.Duration, rewriting *rewriter) (ended int) {
	t.Helper()
	mortals := map[unix.Signal]life{
		unix.SIGTERM: {Comm: "polite", DieOfTerm: true, Serve: []string{at(politePort)}, Leaks: named(3, at(politePort))},
		unix.SIGKILL: {Comm: "rude", IgnoreTerm: true, Serve: []string{at(rudePort)}, Leaks: named(3, at(rudePort))},
	}
	began, alive := time.Now(), map[unix.Signal]*program{}
	w.awaitLong(t, "the processes that are named to end", length+patience, func() bool {
		// However slow the machine is, some of what was written must have been read.
		lines := w.counted()
		over := time.Since(began) > length && lines["rules reloaded"] >= 2 && rejected(lines) >= 2
		if over { // a ladder whose rule keeps changing need not come to its end
			rewriting.end()
		}
		for how, l := range mortals {
			p := alive[how]
			if p == nil && !over {
				alive[how] = l.start(t, ns)
			}
			if p == nil {
				continue
			}
			if ws, done := p.ended(); done {
				if ws.Signal() != how {
					t.Errorf("%s: ended by %v, not %v", l.Comm, ws.Signal(), how)
				}
				ended++
				delete(alive, how)
			}
		}
		return over && len(alive) == 0
	})
	return ended
}

// checkTorture compares what sockwarden says it did with what happened.
func checkTorture(t *testing.T, w *warden, auditLog string, total stats, scale int) {
	t.Helper()
	mayAct := map[string][]int{
		"named": {named4, named6, namedEither}, "either": {namedEither}, "aged": {namedAged}, "kept": {namedKept}, "quota": {quotaPort}, "ladder": {politePort, rudePort},
	}
	destroyed := map[string]bool{}
	for _, o := range auditOutcomes(t, auditLog) {
		switch {
		case o.Socket.State != "CLOSE_WAIT" || !slices.Contains(mayAct[o.Rule], o.Socket.Port):
			t.Errorf("rule %s did %q to %s at port %d", o.Rule, o.Action, o.Socket.State, o.Socket.Port)
		case o.Action == "destroy" && (o.Result == "gone" || o.Result == "fd_still_held"):
			destroyed[o.Socket.Cookie] = true
		case o.Action == "destroy" && o.Result != "changed":
			t.Errorf("rule %s: destroy of port %d: %s", o.Rule, o.Socket.Port, o.Result)
		}
	}
	if len(destroyed) != total.Destroyed {
		t.Errorf("%d sockets destroyed by the audit log, %d were", len(destroyed), total.Destroyed)
	}
	if want := 4*60*scale + 50; total.Destroyed < want {
		t.Errorf("only %d sockets destroyed, expected at least %d", total.Destroyed, want)
	}
	if want := 200*scale + 7*20*scale + 30; total.Survived < want {
		t.Errorf("only %d sockets survived, expected at least %d", total.Survived, want)
	}
	for rule, most := range map[string]int{"named": 60, "aged": 60, "quota": 1} {
		if n, tooMany := w.acted(rule, most); tooMany || n == 0 {
			t.Errorf("rule %s acted on %d sockets in one cycle, per_cycle is %d", rule, n, most)
		}
	}
}

// TestTortureEverything runs a rule for everything on a busy host: the guards, the limits
// and the breaker keep their promises.
func TestTortureEverything(t *testing.T) {
	if apart(t) {
		return
	}
	_, scale := tortureSize(t)
	const quota = 7
	rules := func(perCycle int, breaker string) string {
		return fmt.Sprintf(`version: 1
defaults:
  limits: {per_cycle: %d, cooldown: 1s}
%srules:
  - {name: everything, when: true, then: [destroy]}
  - {name: everything-else, when: protocol == "tcp" || protocol == "udp", then: [destroy]}
`, perCycle, breaker)
	}
	for _, c := range []struct {
		name, rules string
		trips       bool
	}{
		{"breaker", rules(10_000, ""), true},
		{"per_cycle", rules(quota, "  breaker: {count: 500, share: 100%}\n"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := socklab.NewNamespace(t, "everything")
			to := []string{at(other4), at6(other6)}
			servers := life{Comm: "server", Serve: to, UDP: to}.start(t, ns)
			clients := life{Comm: "clients", Expendable: !c.trips, Traffic: traffic{Long: 150 * scale, To: to, UDP: to}}.start(t, ns)
			guarded := life{Comm: "dropbear", Serve: []string{at(guardedPort)}, Leaks: spared(10, at(guardedPort)), Traffic: traffic{Long: 20, To: []string{at(guardedPort)}}}.start(t, ns)
			own := ownWorld(t, ns, life{Serve: []string{at(ownPort)}, Leaks: spared(10, at(ownPort)), Traffic: traffic{Long: 10, To: []string{at(ownPort)}}})
			dir := t.TempDir()
			path, auditLog := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "audit.jsonl")
			if err := replaceRules(path, c.rules, 0o600); err != nil {
				t.Fatal(err)
			}
			w := startWarden(t, ns, itself(t, "watch", "--live", "-v", "--log-format", "json", "--interval", "100ms", "--rules", path,
				"--state-file", filepath.Join(dir, "state.json"), "--audit-log", auditLog), nil)
			w.await(t, "six cycles", func() bool { return w.counted()["cycle"] >= 6 })
			if code, _ := w.term(t); code != 0 {
				t.Errorf("exit code %d\n%s", code, w.tail())
			}
			var total stats
			for name, p := range map[string]*program{"servers": servers, "clients": clients, "guarded": guarded} {
				total.add(t, name, p.ask(t, "finish"))
			}
			own.finish()
			total.add(t, "the one who started it", own.report())
			most, tooMany := w.acted("everything", quota)
			outcomes, cycles := auditOutcomes(t, auditLog), w.counted()["cycle"]
			for _, o := range outcomes {
				if !slices.Contains([]string{"gone", "fd_still_held", "changed"}, o.Result) {
					t.Errorf("%s of %s at port %d: %s", o.Action, o.Socket.State, o.Socket.Port, o.Result)
				}
			}
			switch {
			case c.trips && (len(outcomes) > 0 || total.Died > 0):
				t.Errorf("%d sockets acted on, %d connections died, in spite of the breaker", len(outcomes), total.Died)
			case !c.trips && (tooMany || total.Died > quota*(cycles+1) || total.Died == 0):
				t.Errorf("%d in one cycle, %d connections died in %d cycles: per_cycle is %d", most, total.Died, cycles, quota)
			}
			if want := 150*scale + 20 + 10 + 20; total.Survived+total.Died != want {
				t.Errorf("%d survived and %d died of %d", total.Survived, total.Died, want)
			}
			t.Logf("%d cycles, %d sockets acted on, %d connections died, %d survived: %v", cycles, len(outcomes), total.Died, total.Survived, slices.Sorted(maps.Keys(w.counted())))
		})
	}
}

// TestReloadUnderLadder takes a ladder further under fewer rules than it began with.
func TestReloadUnderLadder(t *testing.T) {
	if apart(t) {
		return
	}
	// A busy machine reads the rules only when the ladder is over: once more, with more time.
	for wait := 4 * time.Second; !reloadUnderLadder(t, wait); wait *= 2 {
		if wait > time.Minute {
			t.Fatalf("no reload within %s", wait)
		}
	}
}

// reloadUnderLadder is one try, with that long between two rungs; false if there was no reload
// between them.
func reloadUnderLadder(t *testing.T, wait time.Duration) (reloaded bool) {
	t.Helper()
	ns := socklab.NewNamespace(t, "reload "+wait.String())
	rude := life{Comm: "rude", IgnoreTerm: true, Serve: []string{at(rudePort)}, Leaks: named(1, at(rudePort))}.start(t, ns)
	const before = "  - {name: before, when: port == 20007, mode: observe, then: [destroy]}\n"
	ladder := fmt.Sprintf(`  - {name: ladder, when: 'state == "CLOSE_WAIT" && port == 20007', then: [{signal: TERM, wait: %s}, {signal: KILL, wait: 5s}]}`+"\n", wait)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := replaceRules(path, "version: 1\nrules:\n"+before+ladder, 0o600); err != nil {
		t.Fatal(err)
	}
	w := startWarden(t, ns, itself(t, "watch", "--live", "-v", "--log-format", "json", "--interval", "1h", "--rules", path, "--state-file", "none"), nil)
	w.await(t, "the first cycle", func() bool { return w.counted()["cycle"] >= 1 })
	if err := replaceRules(path, "version: 1\nrules:\n"+ladder, 0o600); err != nil {
		t.Fatal(err)
	}
	w.await(t, "the next rung", func() bool { _, done := rude.ended(); return done })
	if ws, _ := rude.ended(); ws.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v", ws.Signal())
	}
	n := w.counted()["rules reloaded"]
	if n > 1 {
		t.Errorf("%d reloads before the next rung", n)
	}
	if code, _ := w.term(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, w.tail())
	}
	return n == 1
}
