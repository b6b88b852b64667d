package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/catalog"
	"sockwarden/engine/report"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

// watched is a running watcher with its directory of rules.
type watched struct {
	*lab
	dir    string
	reload chan os.Signal

	mu       sync.Mutex
	findings []string // "rule decision", in the order they came
	times    []time.Time

	stop context.CancelFunc
	done chan error
}

// watchRules starts a watcher; files are those of its directory.
func watchRules(t *testing.T, o Options, interval time.Duration, files map[string]string, scripted ...*script) *watched {
	t.Helper()
	w := &watched{lab: newLab(t, o, scripted...), dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	for name, text := range files {
		w.write(t, name, text)
	}
	opts := rules.Options{Paths: []string{w.dir}, Catalog: catalog.New(w.actions)}
	w.start(t, interval, func() (*rules.Program, []string, error) { return rules.Load(opts) })
	socklab.WaitFor(t, "the watcher to start", func() bool { return len(w.journal.lines("msg=\"watching ")) == 1 })
	return w
}

func (w *watched) start(t *testing.T, interval time.Duration, load func() (*rules.Program, []string, error)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	go func() {
		w.done <- w.Watch(ctx, watch.Options{Interval: interval, Reload: w.reload, Load: load, OnFinding: func(f *report.Finding) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.findings = append(w.findings, f.Rule.Name+" "+string(f.Decision))
			w.times = append(w.times, time.Now())
		}})
	}()
	t.Cleanup(func() { w.end(t) })
}

// end stops the watcher and waits for it.
func (w *watched) end(t *testing.T) {
	t.Helper()
	if w.done == nil {
		return
	}
	w.stop()
	select {
	case err := <-w.done:
		must(t, "watch", err)
	case <-time.After(2 * time.Minute):
		t.Error("the watcher does not end")
	}
	w.done = nil
}

// write replaces a file as editors do: with another one of the same name.
func (w *watched) write(t *testing.T, name, text string) {
	t.Helper()
	tmp := filepath.Join(w.dir, "."+name+".tmp")
	must(t, "write", os.WriteFile(tmp, []byte(text), 0o600))
	must(t, "rename", os.Rename(tmp, filepath.Join(w.dir, name)))
}

// found returns when a finding came, given as "rule decision".
func (w *watched) found(what string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, f := range w.findings {
		if f == what {
			return w.times[i], true
		}
	}
	return time.Time{}, false
}

func (w *watched) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.findings)
}

// await waits for a finding.
func (w *watched) await(t *testing.T, what string) time.Time {
	t.Helper()
	socklab.WaitFor(t, what, func() bool { _, ok := w.found(what); return ok })
	at, _ := w.found(what)
	return at
}

// logged waits for that many lines with the words.
func (w *watched) logged(t *testing.T, n int, words ...string) []string {
	t.Helper()
	socklab.WaitFor(t, fmt.Sprintf("%d lines with %q", n, words), func() bool { return len(w.journal.lines(words...)) >= n })
	lines := w.journal.lines(words...)
	if len(lines) != n {
		t.Errorf("%d lines with %q, not %d:\n%s", len(lines), words, n, strings.Join(lines, "\n"))
	}
	return lines
}

func (w *watched) cycles() int { return len(w.journal.lines("level=DEBUG", "msg=cycle")) }

// inTime checks that the effect of new rules came only when they had stayed the same for
// as long as they must. The interval is so long that, however slow this machine is, the
// effect came before it was over if it came at all.
func inTime(t *testing.T, what string, took time.Duration) {
	t.Helper()
	if took < rules.Settle {
		t.Errorf("%s after %s", what, took)
	}
}

// A change of the rules is seen, and takes effect, in a cycle of its own, long before the
// interval is over, however the file is changed.
func TestReloadInTime(t *testing.T) {
	t.Parallel()
	path := func(w *watched) string { return filepath.Join(w.dir, "rules.yaml") }
	for name, change := range map[string]func(t *testing.T, w *watched, rule string){
		"replaced": func(t *testing.T, w *watched, rule string) { w.write(t, "rules.yaml", rule) },
		"in-place": func(t *testing.T, w *watched, rule string) {
			must(t, "write", os.WriteFile(path(w), []byte(rule), 0o600))
		},
		"added": func(t *testing.T, w *watched, rule string) { w.write(t, "zz.yaml", rule) },
		"symlinked": func(t *testing.T, w *watched, rule string) {
			must(t, "symlink", os.Symlink(elsewhere(t, rule), filepath.Join(w.dir, "link.yaml")))
		},
		"piecewise": func(t *testing.T, w *watched, rule string) { piecewise(t, path(w), rule) },
		"two-events": func(t *testing.T, w *watched, rule string) {
			must(t, "remove", os.Remove(path(w)))
			w.write(t, "rules.yaml", rule)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if socklab.Apart(t) {
				return
			}
			socklab.LeakCheck(t)
			c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			h := holder(t, c)
			never := ruleFile("port == 1", "destroy")
			w := watchRules(t, Options{Live: true}, time.Hour, map[string]string{"rules.yaml": never})
			start := w.logged(t, 1, "watching live", "rules=1", "interval=1h0m0s", "breaker=500/30%")
			if !strings.Contains(start[0], "generation=") {
				t.Error(start[0])
			}
			socklab.WaitFor(t, "the first cycle", func() bool { return w.cycles() == 1 })
			begin := time.Now()
			change(t, w, strings.Replace(ruleFile(port(c), "log"), "name: r", "name: "+name, 1))
			w.await(t, name+" pending")
			inTime(t, "in force", w.await(t, name+" act").Sub(begin))
			n := len(w.journal.lines("rules reloaded"))
			for _, f := range []string{"zz.yaml", "link.yaml"} {
				_ = os.Remove(filepath.Join(w.dir, f))
			}
			w.write(t, "rules.yaml", never)
			socklab.WaitFor(t, "the old rules", func() bool { return len(w.journal.lines("rules reloaded")) > n })
			// Finally a rule that acts.
			begin = time.Now()
			w.write(t, "rules.yaml", strings.Replace(ruleFile(port(c), "destroy"), "name: r", "name: destroyer", 1))
			socklab.WaitFor(t, "the socket to be destroyed", func() bool { return !survives(t, c) })
			inTime(t, "destroyed", time.Since(begin))
			if !h.Running() {
				t.Error("the process was ended")
			}
			w.end(t)
		})
	}
}

func elsewhere(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "elsewhere.yaml")
	must(t, "write", os.WriteFile(path, []byte(text), 0o600))
	return path
}

// piecewise writes a file in two halves; the first alone is not a valid file.
func piecewise(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, "create", err)
	defer f.Close()
	_, err = f.WriteString(text[:len(text)/2])
	must(t, "write", err)
	_, err = f.WriteString(text[len(text)/2:])
	must(t, "write", err)
}

// A directory in which something happens all the time holds nothing up.
func TestReloadInBusyDirectory(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	w := watchRules(t, Options{}, time.Hour, map[string]string{"rules.yaml": ruleFile("port == 1", "log")})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
			select {
			case <-stop:
				return
			default:
				_ = os.WriteFile(filepath.Join(w.dir, "some.log"), []byte("x"), 0o600)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	w.write(t, "rules.yaml", ruleFile(port(c), "log", "mode: observe"))
	w.await(t, "r observe") // TestReadSoon of engine/watch tests how soon
}

// Of very many errors, a few are logged, with the number of the others.
func TestManyProblems(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	good := ruleFile(port(c), "log")
	w := watchRules(t, Options{}, 50*time.Millisecond, map[string]string{"rules.yaml": good})
	w.await(t, "r act")
	w.write(t, "rules.yaml", good+strings.Repeat("bogus: 1\n", 20_000))
	w.logged(t, 1, "rules rejected", "... and 19,995 more problems")
	w.reload <- unix.SIGHUP
	w.logged(t, 2, "rules rejected", "... and 19,995 more problems")
	w.logged(t, 2*6, "rules rejected")
	w.write(t, "rules.yaml", good)
	w.logged(t, 1, "rules are valid again, and unchanged")
}

// Files with errors leave the last good generation in force and are reported once, again
// when the errors change, and again when they are good.
func TestBrokenRules(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	good := ruleFile(port(c)+" && recv_queue == 0", "log")
	w := watchRules(t, Options{}, 50*time.Millisecond, map[string]string{"rules.yaml": good})
	w.await(t, "r act")
	w.write(t, "rules.yaml", strings.Replace(good, "recv_queue", "recvqueue", 1)+"    bogus: 1\n")
	lines := w.logged(t, 2, "level=ERROR", "rules rejected, still on ")
	if !strings.Contains(lines[0]+lines[1], "rules.yaml:4:") || !strings.Contains(lines[0]+lines[1], "rules.yaml:6:") {
		t.Errorf("no places in\n%s", strings.Join(lines, "\n"))
	}
	n := w.cycles()
	socklab.WaitFor(t, "cycles with the last good rules", func() bool { return w.cycles() > n+3 })
	// Events that change nothing are no news.
	w.write(t, "README", "no rules")
	reads := time.Now()
	socklab.WaitFor(t, "the event to be over", func() bool { return time.Since(reads) > 450*time.Millisecond })
	w.logged(t, 2, "rules rejected")
	w.write(t, "rules.yaml", strings.Replace(good, "recv_queue", "recvqueue", 1))
	w.logged(t, 3, "rules rejected")
	w.reload <- unix.SIGHUP
	w.logged(t, 4, "rules rejected")
	w.write(t, "rules.yaml", good)
	w.logged(t, 1, "rules are valid again", "generation=")
	if got := w.journal.lines("rules reloaded"); len(got) > 0 {
		t.Errorf("reloaded: %s", got)
	}
	w.write(t, "rules.yaml", strings.Replace(good, "recv_queue", "recvqueue", 1))
	w.logged(t, 5, "rules rejected")
	must(t, "remove", os.Remove(filepath.Join(w.dir, "rules.yaml")))
	w.logged(t, 6, "rules rejected")
	w.end(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.findings) != 1 {
		t.Errorf("findings %v", w.findings)
	}
}

// SIGHUP reads the rules and runs a cycle at once.
func TestForcedReload(t *testing.T) {
	w := watchRules(t, Options{}, time.Hour, map[string]string{"rules.yaml": ruleFile("true", "log")})
	socklab.WaitFor(t, "the first cycle", func() bool { return w.cycles() == 1 })
	for i := range 3 {
		w.reload <- unix.SIGHUP
		w.logged(t, i+1, "rules unchanged")
		socklab.WaitFor(t, "a cycle", func() bool { return w.cycles() == i+2 })
	}
	// New rules are in force at once.
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	w.write(t, "rules.yaml", strings.Replace(ruleFile(port(c), "log"), "name: r", "name: new", 1))
	begin := time.Now()
	w.reload <- unix.SIGHUP
	took := w.await(t, "new act").Sub(begin)
	if _, waited := w.found("new pending"); waited && took >= rules.Settle {
		t.Errorf("acted after %s, as though nobody had asked", took)
	}
	w.logged(t, 1, "rules reloaded", "added=[new]")
}

// Where nothing tells of changes, files are read again before what was read from them
// comes into force.
func TestPolledRules(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	half := ruleFile(port(c), "destroy")
	whole := half + "protect: [{name: last, when: port > 0}]\n"
	w := &watched{lab: newLab(t, Options{Live: true}), dir: t.TempDir(), reload: make(chan os.Signal), done: make(chan error, 1)}
	w.write(t, "rules.yaml", whole)
	opts := rules.Options{Paths: []string{w.dir}, Catalog: catalog.New(w.actions)}
	w.start(t, 50*time.Millisecond, func() (*rules.Program, []string, error) {
		p, _, err := rules.Load(opts)
		if err == nil && len(p.Protect) == 0 {
			w.write(t, "rules.yaml", whole) // and nobody is told
		}
		return p, nil, err
	})
	w.await(t, "r protected")
	w.write(t, "rules.yaml", half)
	changes := w.logged(t, 1, "msg=\"rules changed", "protect_removed=[last]")
	socklab.WaitFor(t, "the whole rules to be read", func() bool { return len(w.journal.lines("msg=\"rules changed")) > len(changes) })
	from := time.Now()
	socklab.WaitFor(t, "the time of the others to be over", func() bool { return time.Since(from) > rules.Settle+500*time.Millisecond })
	w.end(t)
	if !survives(t, c) || len(w.journal.lines("rules reloaded")) > 0 {
		t.Errorf("half of the rules were in force:\n%s", strings.Join(w.journal.lines("msg=\"rules"), "\n"))
	}
}

// A change between the first load and the watch is not missed.
func TestChangeWhileStarting(t *testing.T) {
	w := &watched{lab: newLab(t, Options{}), reload: make(chan os.Signal), done: make(chan error, 1)}
	programs := []*rules.Program{w.rules(t, ruleFile("port == 1", "log")), w.rules(t, ruleFile("port == 2", "log"))}
	loads := 0
	w.start(t, time.Hour, func() (*rules.Program, []string, error) {
		loads++
		return programs[min(loads, 2)-1], nil, nil
	})
	w.logged(t, 1, "watching dry", "generation="+programs[1].Short())
}

func TestWatchErrors(t *testing.T) {
	l := newLab(t, Options{})
	broken := errors.New("no rules")
	if err := l.Watch(t.Context(), watch.Options{Load: func() (*rules.Program, []string, error) { return nil, nil, broken }}); !errors.Is(err, broken) {
		t.Errorf("load: %v", err)
	}
	// A refusal by the host is reported, and the watch goes on: it may concern only one
	// process.
	deny := outcomes("deny", actions.Outcome{Result: actions.NotPermitted, Err: collectors.ErrNotPermitted})
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	live := newLab(t, Options{Live: true}, deny)
	p := live.rules(t, ruleFile(port(c), "deny"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- live.Watch(ctx, watch.Options{Interval: time.Hour, Load: func() (*rules.Program, []string, error) { return p, nil, nil }})
	}()
	socklab.WaitFor(t, "the refusal in the log", func() bool {
		return len(live.journal.lines("level=ERROR", "the host refuses to act", "not permitted")) == 1
	})
	cancel()
	must(t, "refused", <-done)
	if len(live.journal.lines("msg=acted", "result=not_permitted")) != 1 {
		t.Errorf("log:\n%s", strings.Join(live.journal.lines(), "\n"))
	}
}

// What a reload changes is logged by name; the loss of protection is a warning.
func TestReloadLines(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	rule := func(name, when string) string {
		return "  - {name: " + name + ", when: " + when + ", then: [log]}\n"
	}
	head := "version: 1\nrules:\n"
	w := watchRules(t, Options{}, time.Hour, map[string]string{
		"00-protect.yaml": "version: 1\nprotect: [{name: ssh, when: port == 22}, {name: db, when: port == 5432}]\n",
		"10-rules.yaml":   head + rule("a", "port == 1") + rule("b", "port == 2") + rule("c", "port == 3"),
	})
	w.write(t, "10-rules.yaml", head+rule("c", "port == 3")+rule("b", "port == 4")+rule("d", "port == 5"))
	lines := w.logged(t, 1, "level=INFO", "rules reloaded", "generation=", "was=", "changed=[b]", "added=[d]", "removed=[a]")
	generation := func(line string) string {
		_, g, _ := strings.Cut(line, "generation=")
		g, _, _ = strings.Cut(g, " ")
		return g
	}
	must(t, "remove", os.Remove(filepath.Join(w.dir, "00-protect.yaml")))
	w.logged(t, 1, "rules reloaded", "was="+generation(lines[0]), "changed=[]", "added=[]", "removed=[]")
	w.logged(t, 1, "level=WARN", "protection removed", "protect_removed=\"[ssh db]\"", "files_gone=["+w.dir+"/00-protect.yaml]")
	w.write(t, "20-lint.yaml", head+rule("tw", `"state == 'TIME_WAIT' && age > 90"`))
	w.logged(t, 1, "level=WARN", "msg=rules", "never matches")
}

// Findings of one kind make one line when they are new, one when their decision changes,
// and one when they are over; each finding is handed on.
func TestFindingLines(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	const n = 35
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, n)
	h := holder(t, conns...)
	text := ruleFile(among(conns...)+" && state == 'CLOSE_WAIT'", "destroy", "limits: {per_cycle: 1000}")
	w := watchRules(t, Options{}, 30*time.Millisecond, map[string]string{"rules.yaml": text})
	lines := w.logged(t, 1, "level=INFO", "would act", "rule=r", "decision=act", "action=destroy", "state=CLOSE_WAIT", "process="+program(), fmt.Sprintf("count=%d", n))
	k := w.cycles()
	socklab.WaitFor(t, "more cycles", func() bool { return w.cycles() > k+3 })
	if len(lines) != 1 || len(w.journal.lines("would act")) != 1 {
		t.Error(w.journal.lines("would act"))
	}
	if got := w.count(); got != n {
		t.Errorf("%d findings were handed on, not %d", got, n)
	}
	// Which of them wait is no news, but changed decisions are handed on.
	w.write(t, "rules.yaml", strings.Replace(text, "per_cycle: 1000", fmt.Sprintf("per_cycle: %d", n-3), 1))
	socklab.WaitFor(t, "other decisions", func() bool { return w.count() > n })
	w.write(t, "rules.yaml", strings.Replace(text, "destroy", "log", 1))
	w.logged(t, 1, "would act", "action=log", fmt.Sprintf("count=%d", n))
	h.CloseSockets(t)
	w.logged(t, 1, "msg=over", "rule=r", "state=CLOSE_WAIT", fmt.Sprintf("count=%d", n), "lasted=")
}

// A hold continues across a reload that leaves its rule alone, and starts again if its
// rule is changed.
func TestHoldsAndReload(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c, d := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c, d)
	two := func(b string) string {
		return "version: 1\nrules:\n  - {name: a, when: " + port(c) + ", then: [log], for: 4s}\n  - {name: b, when: " + port(d) + ", then: [log], for: 4s" + b + "}\n"
	}
	for end := time.Now().Add(2 * time.Minute); !holdsAndReload(t, two); {
		if time.Now().After(end) {
			t.Fatal("the unchanged rule acts as late as the other")
		}
	}
}

// holdsAndReload is one try; it returns false if the change came too late, or the unchanged
// rule acted so late that its hold could have started again, as on a busy machine.
func holdsAndReload(t *testing.T, two func(b string) string) (inTime bool) {
	t.Helper()
	start := time.Now()
	w := watchRules(t, Options{}, 20*time.Millisecond, map[string]string{"rules.yaml": two("")})
	begin := w.await(t, "a pending")
	socklab.WaitFor(t, "most of the time", func() bool { return time.Since(begin) > 2*time.Second })
	changed := time.Now()
	w.write(t, "rules.yaml", two(", labels: {x: y}"))
	w.logged(t, 1, "rules changed", "changed=[b]")
	if time.Since(start) >= 4*time.Second { // that was too late
		w.end(t)
		return false
	}
	a, b := w.await(t, "a act"), w.await(t, "b act")
	if a.Sub(start) < 4*time.Second {
		t.Errorf("the unchanged rule acted after %s", a.Sub(start))
	}
	if took := b.Sub(changed); took < 3*time.Second {
		t.Errorf("the changed rule acted %s after the change", took)
	}
	w.end(t)
	return a.Sub(changed) < 3*time.Second && b.Sub(a) >= time.Second // two seconds if no cycle is late
}

// Observed ages and cool-downs do not belong to the rules: they last.
func TestAgesAndReload(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c, disturb := disturbedConn(t)
	keep := outcomes("keep", actions.Outcome{Result: actions.Refused})
	h := holder(t, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
	text := "version: 1\nrules:\n  - {name: old, when: '" + port(c) + " && age > 3600', then: [log]}\n  - {name: keep, when: state == 'CLOSE_WAIT', then: [keep]}\n"
	w := watchRules(t, Options{Live: true}, 20*time.Millisecond, map[string]string{"rules.yaml": text}, keep)
	w.await(t, "keep act")
	w.await(t, "keep cooldown")
	// The rules change all the time, each version staying for less time than the age
	// needs to grow to the one asked for.
	asked := time.Since(c.StartedBefore).Truncate(time.Second) + 5*time.Second
	text = strings.Replace(text, "age > 3600", fmt.Sprintf("age > %g", asked.Seconds()), 1)
	written := 0
	socklab.WaitFor(t, "the age to be observed", func() bool {
		disturb()
		if len(w.journal.lines("rules reloaded")) == written {
			written++
			w.write(t, "rules.yaml", strings.Replace(text, "then: [keep]", "then: [keep], description: "+[]string{"other", "another"}[written%2], 1)+strings.Repeat("#", written)+"\n")
		}
		_, ok := w.found("old act")
		return ok
	})
	if at, _ := w.found("old act"); at.Sub(c.StartedBefore) < asked {
		t.Errorf("observed at the age of %s, before %s", at.Sub(c.StartedBefore), asked)
	}
	w.end(t)
	if len(keep.applied) != 1 || !h.Running() {
		t.Errorf("acted %d times in the cool-down", len(keep.applied))
	}
}

// The watcher moves waiting ladders on between cycles.
func TestWatchLadder(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, IgnoreTerm: true})
	w := watchRules(t, Options{Live: true}, time.Hour, map[string]string{"rules.yaml": ruleFile(port(c), "{signal: TERM, wait: 300ms}, {signal: KILL, wait: 1m}")})
	if ws := h.Wait(t); ws.Signal() != unix.SIGKILL {
		t.Errorf("ended by %v", ws)
	}
	w.logged(t, 1, "msg=acted", `action="signal TERM"`, "result=still_running")
	w.logged(t, 1, "msg=acted", `action="signal KILL"`, "result=ended")
}

// A ladder whose rule is gone takes no further step, even if its time was over when the
// rules were read.
func TestReloadBeforeStep(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, IgnoreTerm: true})
	w := &watched{lab: newLab(t, Options{Live: true}), reload: make(chan os.Signal), done: make(chan error, 1)}
	old, other := w.rules(t, ruleFile(port(c), "{signal: TERM, wait: 600ms}, {signal: KILL}")), w.rules(t, ruleFile("port == 1", "log"))
	var loads int
	w.start(t, time.Hour, func() (*rules.Program, []string, error) {
		if loads++; loads <= 2 {
			return old, nil, nil
		}
		begin := time.Now() // the reading takes long
		socklab.WaitFor(t, "the end of the rung's time", func() bool { return time.Since(begin) > 800*time.Millisecond })
		return other, nil, nil
	})
	w.await(t, "r act")
	w.reload <- unix.SIGHUP
	w.logged(t, 1, "rules reloaded")
	w.logged(t, 1, "ladder cancelled")
	n := w.cycles()
	w.reload <- unix.SIGHUP
	socklab.WaitFor(t, "another cycle", func() bool { return w.cycles() > n })
	if !h.Running() {
		t.Error("the process was killed by a rule that is gone")
	}
}

// Nothing of a watcher is left when it has ended.
func TestWatchLeavesNothing(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	socklab.LeakCheck(t)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	state := filepath.Join(t.TempDir(), "state.json")
	for range 3 {
		w := watchRules(t, Options{Live: true, StateFile: state}, 10*time.Millisecond, map[string]string{"rules.yaml": "netns: all\n" + ruleFile("true", "log, {destroy: {udp: true}, if: port == 1}")})
		socklab.WaitFor(t, "cycles", func() bool { return w.cycles() > 10 })
		w.end(t)
		w.Close()
		if _, err := os.Stat(state); err != nil {
			t.Error(err)
		}
	}
}

// A leak makes one line when it begins, one when all of it was acted on, however many
// cycles that takes, and one when it is over.
func TestLeakLines(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	const n = 60
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, n)
	h := holder(t, conns...)
	w := watchRules(t, Options{Live: true, NoBreaker: true}, 100*time.Millisecond, map[string]string{
		"rules.yaml": ruleFile(among(conns...)+" && state == 'CLOSE_WAIT'", "destroy", "limits: {per_cycle: 25}"),
	})
	said := func(word string) int { return len(w.journal.lines(word, "rule=r")) }
	w.logged(t, 1, "level=INFO", "msg=finding", "rule=r", "count=", "state=CLOSE_WAIT", "process="+program())
	// The descriptors of what is destroyed stay, as in any leak.
	w.logged(t, 1, "level=WARN", "msg=acted", "action=destroy", "rule=r", "result=fd_still_held", fmt.Sprintf("count=%d", n), "fds=")
	w.logged(t, 1, "level=INFO", "msg=over", "rule=r", "state=CLOSE_WAIT", "lasted=")
	if a, b, c := said("msg=finding"), said("msg=acted"), said("msg=over"); a != 1 || b != 1 || c != 1 {
		t.Errorf("finding %d, acted %d, over %d times", a, b, c)
	}
	h.CloseSockets(t)
	w.end(t)
	if len(w.journal.lines("watching ends")) != 1 {
		t.Error("the end is not said")
	}
}

// What was added up is logged when the watcher is told to stop.
func TestHeldBackIsSaid(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 12)
	holder(t, conns...)
	w := watchRules(t, Options{Live: true, NoBreaker: true}, time.Hour, map[string]string{
		"rules.yaml": ruleFile(among(conns...)+" && state == 'CLOSE_WAIT'", "destroy", "limits: {per_cycle: 5}"),
	})
	w.logged(t, 1, "msg=finding", "rule=r", "decision=limited")
	if n := len(w.journal.lines("msg=acted")); n != 0 {
		t.Errorf("said at once: %v", w.journal.lines("msg=acted"))
	}
	w.end(t)
	w.logged(t, 1, "msg=acted", "rule=r", "result=fd_still_held", "count=5")
}
