package engine

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/look"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// TestRulesAwayForAMoment: rules that are incomplete for a moment destroy nothing that
// the complete ones spare, whatever is lost and however the files are written.
func TestRulesAwayForAMoment(t *testing.T) {
	cases := awayCases()
	left := slices.Sorted(maps.Keys(cases))
	for _, size := range []int{len(left), 4, 1} {
		var again []string
		for group := range slices.Chunk(left, size) {
			again = append(again, rulesAwayForAMoment(t, cases, group)...)
		}
		left = again // fewer watchers at a time: this machine is busy
	}
	if len(left) > 0 {
		t.Errorf("even one at a time they were away for longer than a moment: %q", left)
	}
}

// awayCase is a set of rules files of which one is incomplete for a moment.
type awayCase struct {
	whole map[string]string // files
	file  string            // the one that is incomplete for a moment
	half  string            // what it contains then, "" if it is away
}

func awayCases() map[string]awayCase {
	const (
		destroys  = "version: 1\nrules:\n  - {name: r, when: 'state == \"CLOSE_WAIT\" and port == PORT', then: [destroy]KEYS}\n"
		protected = "version: 1\nprotect: [{name: p, when: port == PORT}]\n"
	)
	with := func(keys string) string { return strings.Replace(destroys, "KEYS", keys, 1) }
	none := with("")
	return map[string]awayCase{
		"file with protect":  {map[string]string{"a.yaml": protected, "b.yaml": none}, "a.yaml", ""},
		"protect at the end": {map[string]string{"a.yaml": none + strings.TrimPrefix(protected, "version: 1\n")}, "a.yaml", none},
		"mode":               {map[string]string{"a.yaml": with(", mode: observe")}, "a.yaml", none},
		"disabled":           {map[string]string{"a.yaml": with(", mode: disabled")}, "a.yaml", none},
		"for":                {map[string]string{"a.yaml": with(", for: 1h")}, "a.yaml", none},
		"soak":               {map[string]string{"a.yaml": with(", soak: 1h")}, "a.yaml", none},
		"canary":             {map[string]string{"a.yaml": with(", canary: 0.0001%")}, "a.yaml", none},
		"unless":             {map[string]string{"a.yaml": with(", unless: port > 1")}, "a.yaml", none},
		"rest of condition":  {map[string]string{"a.yaml": strings.Replace(none, "port == PORT'", "port == PORT and orphan'", 1)}, "a.yaml", none},
		"rule before it":     {map[string]string{"a.yaml": strings.Replace(none, "rules:\n", "rules:\n  - {name: first, when: port == PORT, then: [log]}\n", 1)}, "a.yaml", none},
		"group":              {map[string]string{"a.yaml": with(", group: port, having: count > 5")}, "a.yaml", with(", group: port, having: count > 0")},
		"list in unless": {
			map[string]string{"a.yaml": strings.Replace(with(", unless: remote_addr in s"), "rules:", "sets: {s: {file: s.txt}}\nrules:", 1), "s.txt": "10.0.0.0/8\nfd00::/8\n"}, "s.txt", "192.0.2.1\n",
		},
		"list in not": {
			map[string]string{"a.yaml": strings.Replace(strings.Replace(none, "port == PORT'", "port == PORT and remote_addr not in s'", 1), "rules:", "sets: {s: {file: s.txt}}\nrules:", 1), "s.txt": "10.0.0.0/8\nfd00::/8\n"}, "s.txt", "192.0.2.1\n",
		},
		"list that is allowed to be empty": {
			map[string]string{"a.yaml": strings.Replace(with(", unless: remote_addr in s"), "rules:", "sets: {s: {file: s.txt, may_be_empty: true}}\nrules:", 1), "s.txt": "10.0.0.0/8\nfd00::/8\n"}, "s.txt", "#",
		},
	}
}

// rulesAwayForAMoment tries the named cases at the same time. It returns those that prove
// nothing: their socket was destroyed, but their rules were away for longer than a moment.
func rulesAwayForAMoment(t *testing.T, cases map[string]awayCase, names []string) (again []string) {
	t.Helper()
	var all []*moment
	for _, name := range names {
		c := cases[name]
		how := []string{"in place", "replaced"}[len(all)%2] // in whichever order they come
		conn := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
		holder(t, conn)
		fill := strings.NewReplacer("PORT", fmt.Sprint(conn.Local.Port()), "KEYS", "").Replace
		files := map[string]string{}
		for f, text := range c.whole {
			files[f] = fill(text)
		}
		// In the cheapest way: all watchers must keep up.
		w := watchRules(t, Options{Live: true, Events: look.EventsOff, Owners: world.OwnersProc}, 500*time.Millisecond, files)
		all = append(all, &moment{watched: w, conn: conn, name: name, file: c.file, half: fill(c.half), whole: files[c.file], inPlace: how == "in place"})
	}
	rest := func(d time.Duration) {
		from := time.Now()
		socklab.WaitFor(t, "a while", func() bool { return time.Since(from) > d })
	}
	for range 2 {
		putAll(t, all, true)
		rest(100 * time.Millisecond)
		putAll(t, all, false)
		rest(500 * time.Millisecond)
	}
	rest(rules.Settle + 500*time.Millisecond)
	var held []*moment
	for _, m := range all {
		switch {
		case survives(t, m.conn):
			held = append(held, m)
		case m.away > rules.Settle*3/4:
			t.Logf("%s: away for %s, that is no moment", m.name, m.away)
			again = append(again, m.name)
			m.end(t)
		default:
			t.Errorf("%s, in place %t: destroyed:\n%s", m.name, m.inPlace, strings.Join(m.journal.lines(), "\n"))
		}
	}
	// Now what is there is no longer half of something.
	began := time.Now()
	putAll(t, held, true)
	for _, m := range held {
		socklab.WaitFor(t, m.name+": the socket to be destroyed", func() bool { return !survives(t, m.conn) })
		if took := time.Since(began); took < rules.Settle {
			t.Errorf("%s: destroyed after %s", m.name, took)
		}
		m.end(t)
	}
	return again
}

// moment is a watcher with one file that is half written for a moment.
type moment struct {
	*watched
	conn              *socklab.Conn
	name              string
	file, half, whole string
	inPlace           bool
	since             time.Time     // when the file began to be incomplete
	away              time.Duration // the longest time for which it was
}

// putAll writes the files, and waits until they have been read.
func putAll(t *testing.T, all []*moment, half bool) {
	t.Helper()
	before := make([]int, len(all))
	read := func(m *moment) int { return len(m.journal.lines("msg=\"rules changed")) }
	for i, m := range all {
		before[i] = read(m)
		text := m.whole
		if half {
			text, m.since = m.half, time.Now()
		}
		switch path := filepath.Join(m.dir, m.file); {
		case text == "":
			must(t, "remove", os.Remove(path))
		case m.inPlace:
			must(t, "write", os.WriteFile(path, []byte(text), 0o600))
		default:
			m.write(t, m.file, text)
		}
	}
	for i, m := range all {
		socklab.WaitFor(t, m.name+": the rules to be read", func() bool { return read(m) > before[i] })
		if !half { // in truth it was a little shorter: others are waited for in turn
			m.away = max(m.away, time.Since(m.since))
		}
	}
}

// TestSparedAtOnce: what new rules spare is spared at once, even in the middle of a
// cycle.
func TestSparedAtOnce(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	const n = 20
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, n)
	holder(t, conns...)
	slow := outcomes("slow", actions.Outcome{Result: actions.Gone})
	text := ruleFile("state == 'CLOSE_WAIT'", "slow", "limits: {per_cycle: 1000, cooldown: 1h}")
	w := watchRules(t, Options{Live: true}, time.Hour, map[string]string{"rules.yaml": "version: 1\n"}, slow)
	const middle = "rules changed in the middle of a cycle"
	// In the middle of a cycle, reading takes at most a tenth of the time: the actions take
	// longer and longer, until it is time to read.
	each := 20 * time.Millisecond
	apply := slow.apply
	slow.apply = func(target actions.Target) actions.Outcome {
		if len(slow.applied) == 1 {
			w.write(t, "zz.yaml", "version: 1\nprotect: [{name: late, when: port > 0}]\n")
		}
		from := time.Now()
		socklab.WaitFor(t, "a slow action", func() bool { return time.Since(from) > each })
		if len(w.journal.lines(middle)) == 0 {
			each = min(2*each, 20*time.Second)
		}
		return apply(target)
	}
	w.write(t, "rules.yaml", text)
	w.reload <- unix.SIGHUP
	w.logged(t, 1, middle)
	w.logged(t, 1, "rules reloaded", "added=[r]") // by SIGHUP
	socklab.WaitFor(t, "the cycle after it", func() bool { _, ok := w.found("r protected"); return ok })
	w.end(t)
	if got := len(slow.applied); got == 0 || got > n*3/4 {
		t.Errorf("%d of %d sockets were acted on", got, n)
	}
}

// ladderUnder returns a watcher whose ladder waits for its second rung, KILL.
func ladderUnder(t *testing.T, wait string) (w *watched, h *socklab.Holder, ladder string) {
	t.Helper()
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h = socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, IgnoreTerm: true})
	ladder = ruleFile(port(c), "{signal: TERM, wait: "+wait+"}, {signal: KILL, wait: 1m}")
	w = watchRules(t, Options{Live: true}, time.Hour, map[string]string{"rules.yaml": ladder})
	w.await(t, "r act")
	return w, h, ladder
}

// TestLadderSparedAtOnce: a waiting ladder takes no further step once new rules spare its
// target.
func TestLadderSparedAtOnce(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for name, change := range map[string]func(w *watched, ladder string){
		"protect": func(w *watched, _ string) {
			w.write(t, "zz.yaml", "version: 1\nprotect: [{name: late, when: port > 0}]\n")
		},
		"one rung fewer": func(w *watched, ladder string) {
			w.write(t, "rules.yaml", strings.Replace(ladder, ", {signal: KILL, wait: 1m}", "", 1))
		},
		"observe": func(w *watched, ladder string) { w.write(t, "rules.yaml", ladder+"    mode: observe\n") },
	} {
		t.Run(name, func(t *testing.T) {
			w, h, ladder := ladderUnder(t, "800ms")
			change(w, ladder)
			n := w.cycles()
			w.logged(t, 1, "msg=\"rules reloaded")
			socklab.WaitFor(t, "the cycle after it", func() bool { return w.cycles() > n+1 })
			socklab.WaitFor(t, "the end of the ladder", func() bool {
				return len(w.journal.lines("ladder cancelled"))+len(w.journal.lines("result=still_running", "msg=acted")) > 0
			})
			w.end(t)
			if !h.Running() || len(w.journal.lines("signal KILL")) > 0 {
				t.Errorf("killed:\n%s", strings.Join(w.journal.lines(), "\n"))
			}
		})
	}
}

// TestLadderOverAMoment: rules that are away when a ladder's time is over hold the ladder
// up but do not end it.
func TestLadderOverAMoment(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	w, h, ladder := ladderUnder(t, "800ms")
	w.write(t, "rules.yaml", "version: 1\n")
	w.logged(t, 1, "msg=\"rules changed")
	from := time.Now()
	socklab.WaitFor(t, "the end of its time", func() bool { return time.Since(from) > time.Second })
	if !h.Running() {
		t.Fatal("killed by a rule that is away")
	}
	w.write(t, "rules.yaml", ladder)
	if ws := h.Wait(t); ws.Signal() != unix.SIGKILL {
		t.Errorf("ended by %v", ws)
	}
	if got := w.journal.lines("cancelled"); len(got) > 0 {
		t.Error(got)
	}
}

// TestListOfBans: a line added to a list acts within a second, and a list that changes
// all the time does not restart any timer.
func TestListOfBans(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c, d := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c, d)
	w := watchRules(t, Options{Live: true}, time.Hour, map[string]string{"bans.txt": "1\n", "rules.yaml": `version: 1
sets: {bans: {file: bans.txt}}
rules:
  - {name: now, when: 'state == "CLOSE_WAIT" and port in bans', then: [destroy]}
  - {name: later, when: '` + port(d) + ` or port in bans', for: 3s, then: [destroy]}
`})
	began := time.Now()
	w.await(t, "later pending")
	list := "1\n"
	for i := 2; survives(t, d); i++ {
		list += fmt.Sprintln(i)
		w.write(t, "bans.txt", list)
		from := time.Now()
		socklab.WaitFor(t, "another line", func() bool { return time.Since(from) > 200*time.Millisecond })
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("the list starts for again:\n%s", strings.Join(w.journal.lines(), "\n"))
		}
	}
	if took := time.Since(began); took < 3*time.Second {
		t.Errorf("after %s", took)
	}
	if !survives(t, c) {
		t.Fatal("destroyed though it is in no list")
	}
	// Appended in place, as echo >> does; the rest of the line comes later.
	f, err := os.OpenFile(filepath.Join(w.dir, "bans.txt"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, "open", err)
	defer f.Close()
	cycles := w.cycles()
	_, err = fmt.Fprint(f, c.Local.Port())
	must(t, "write", err)
	socklab.WaitFor(t, "half a line to be looked at", func() bool { return w.cycles() > cycles })
	if !survives(t, c) {
		t.Fatal("destroyed by half a line")
	}
	reloads := len(w.journal.lines("rules reloaded"))
	_, err = fmt.Fprintln(f)
	must(t, "write", err)
	socklab.WaitFor(t, "the ban", func() bool { return !survives(t, c) })
	// The other way would be to wait until the list is in force, as for other changes.
	for _, line := range w.journal.lines() {
		if strings.Contains(line, "msg=effect") && strings.Contains(line, "rule=now") {
			break
		}
		if strings.Contains(line, "rules reloaded") {
			if reloads--; reloads < 0 {
				t.Errorf("banned only when the list was in force:\n%s", strings.Join(w.journal.lines("rules"), "\n"))
				break
			}
		}
	}
}

// TestProgramsAndReload: what runs for a rule goes on when a list changes, and may finish
// when its rule is changed; nothing follows then.
func TestProgramsAndReload(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for _, changed := range []bool{false, true} {
		t.Run(fmt.Sprint("changed ", changed), func(t *testing.T) {
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			holder(t, c)
			var ended atomic.Bool
			run, next := outcomes("run", actions.Outcome{Result: actions.Done}), outcomes("next", actions.Outcome{Result: actions.Done})
			run.verify = func(actions.Target) actions.Outcome {
				if ended.Load() {
					return actions.Outcome{Result: actions.Failed}
				}
				return actions.Outcome{Result: actions.StillRunning, Pending: true}
			}
			text := "version: 1\nsets: {s: {file: s.txt}}\nrules: [{name: r, when: " + port(c) + " or port in s, then: [run, next]}]\n"
			w := watchRules(t, Options{Live: true}, 50*time.Millisecond, map[string]string{"rules.yaml": text, "s.txt": "1\n"}, run, next)
			w.await(t, "r act")
			w.write(t, "s.txt", "1\n2\n")
			if changed {
				w.write(t, "rules.yaml", "version: 1\n")
			}
			w.logged(t, 1, "rules reloaded")
			n := w.cycles()
			socklab.WaitFor(t, "cycles", func() bool { return w.cycles() > n+2 })
			if got := w.journal.lines("msg=acted"); len(got) > 0 {
				t.Errorf("it was ended: %s", got)
			}
			ended.Store(true)
			w.logged(t, 1, "msg=acted", "action=run", "result=failed")
			n = w.cycles()
			socklab.WaitFor(t, "cycles", func() bool { return w.cycles() > n+2 })
			w.end(t)
			if got := len(next.applied); got == 1 == changed {
				t.Errorf("what follows was done %d times", got)
			}
		})
	}
}
