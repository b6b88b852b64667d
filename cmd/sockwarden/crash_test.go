package main

import (
	"bytes"
	wire "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

const (
	execPort   = 20030 // the rules run a program for each CLOSE_WAIT
	gonePort   = 20031 // destroyed
	signalPort = 20040 // and up: SIGUSR1 for the process
)

// remembered is the least number of targets in the state file of TestCrash.
const remembered = 50_000

// notebook is a program that rules run; it appends what it is given to a file.
type notebook struct{ program, file string }

// newNotebook writes the program; rest is what it does afterwards.
func newNotebook(t *testing.T, name, rest string) notebook {
	t.Helper()
	dir := t.TempDir()
	n := notebook{filepath.Join(dir, name), filepath.Join(dir, "notes")}
	text := "#!/bin/sh\nread -r finding\nprintf '%s\\n' \"$finding\" >>" + n.file + "\n" + rest
	if err := errors.Join(os.WriteFile(n.program, []byte(text), 0o700), os.WriteFile(n.file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	return n
}

var cookie = regexp.MustCompile(`"cookie":"([0-9a-f]+)"`)

// cookies returns the cookies of the sockets that the program has run for, in order.
func (n notebook) cookies(t *testing.T) (cookies []string) {
	t.Helper()
	text, err := os.ReadFile(n.file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		m := cookie.FindAllSubmatch(line, -1)
		if len(m) != 1 {
			t.Fatalf("a program was given %q", line)
		}
		cookies = append(cookies, string(m[0][1]))
	}
	return cookies
}

// TestCrash kills the watcher at every moment of a cycle, again and again: it does
// nothing twice within the cool-down, and its state file stays whole.
func TestCrash(t *testing.T) {
	if apart(t) {
		return
	}
	const perRound, perCycle = 12, 10
	rounds := 10
	if _, scale := tortureSize(t); scale > 1 {
		rounds = 150
	}
	ns := socklab.NewNamespace(t, "crash")
	n := newNotebook(t, "crash-note", "")
	t.Cleanup(func() { reapOrphans(t, "crash-note") })
	holder := life{Comm: "holder", Serve: []string{at(execPort)}, Leaks: spared(perRound, at(execPort))}.start(t, ns)
	dir, stateDir := t.TempDir(), t.TempDir()
	path, state := filepath.Join(dir, "rules.yaml"), filepath.Join(stateDir, "state.json")
	text := fmt.Sprintf(`version: 1
defaults: {limits: {per_cycle: %d, cooldown: 1h}, breaker: {count: 10000, share: 100%%}}
rules:
  - {name: noted, when: 'state == "CLOSE_WAIT" && port == %d && age >= 0', then: [{exec: %s}]}
  - {name: signalled, when: 'state == "CLOSE_WAIT" && port in [%d..%d]', then: [{signal: USR1}]}
`, perCycle, execPort, n.program, signalPort, signalPort+rounds)
	if err := replaceRules(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	first := startWarden(t, ns, exec.Command(build(t), liveCommand(t, []string{"run"}, path, state)...), nil)
	if code := first.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, first.tail())
	}
	rememberMuch(t, state)
	leftovers, kinds := 0, map[string]int{}
	sockets, signals := perRound, 0
	var counted []*program
	for round := range rounds {
		counted = append(counted, life{Comm: "counted", Serve: []string{at(signalPort + round)}, Leaks: spared(3, at(signalPort+round))}.start(t, ns))
		kinds[crashOnce(t, ns, stateDir, path, state, n, round)]++
		checkState(t, state)
		leftovers = max(leftovers, len(besides(t, stateDir)))
		sockets = holder.ask(t, "more "+strconv.Itoa(perRound)).Leaked
	}
	// Now in peace: the watcher acts on everything that it had not taken up before.
	if err := replaceRules(path, strings.Replace(text, fmt.Sprintf("per_cycle: %d,", perCycle), "per_cycle: 100,", 1), 0o600); err != nil {
		t.Fatal(err)
	}
	w := startWarden(t, ns, watchProcess(t, path, state), nil)
	w.await(t, "two cycles without effects", func() bool { return idleCycles(w) >= 2 })
	if code, _ := w.term(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, w.tail())
	}
	if left := besides(t, stateDir); len(left) > 0 {
		t.Errorf("left behind beside the state file: %v", left)
	}
	runs := map[string]int{}
	for _, c := range n.cookies(t) {
		if runs[c]++; runs[c] == 2 {
			t.Errorf("socket %s was acted on again within its cool-down", c)
		}
	}
	for _, p := range append(counted, holder) {
		s := p.ask(t, "finish")
		if got := s.signals("SIGUSR1"); len(got) > 0 || s.Signals["SIGUSR1"] > 1 || len(s.Errors) > 0 {
			t.Errorf("program %d: signals %v, errors %v: more than one SIGUSR1 within the cool-down", p.Process.Pid, s.Signals, s.Errors)
		}
		signals += s.Signals["SIGUSR1"]
	}
	// What a killed watcher had taken up is done by nobody: on a slow machine that is most.
	// The first and the last one are not killed.
	if inPeace := min(perCycle, perRound) + perRound; len(runs) < inPeace || signals < 1 {
		t.Errorf("programs for %d of %d sockets, %d of %d signals: nearly nothing was done", len(runs), sockets, signals, rounds)
	}
	t.Logf("%d times killed (%v), %d sockets, %d acted on, none twice; %d of %d processes signalled, none twice; at most %d file(s) left behind for the next start",
		rounds, kinds, sockets, len(runs), signals, rounds, leftovers)
}

// rememberMuch makes the state file as large as a busy host's, so that writing it takes a
// moment: it copies what the file remembers of one target to many.
func rememberMuch(t *testing.T, path string) {
	t.Helper()
	var doc map[string]any
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	cooldowns, _ := doc["cooldowns"].(map[string]any)
	if err != nil || len(cooldowns) == 0 {
		t.Fatalf("state file: %v: %.200q", err, b)
	}
	for _, one := range cooldowns {
		for i := range remembered {
			cooldowns[fmt.Sprintf("socket f%07x", i)] = one
		}
		break
	}
	if b, err = json.Marshal(doc); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func watchProcess(t *testing.T, path, state string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(build(t), append([]string{"watch", "--live", "-v", "--log-format", "json", "--interval", "100ms", "--rules", path, "--state-file", state}, args...)...)
}

// idleCycles counts the cycles since the last effect.
func idleCycles(w *warden) (n int) {
	for _, l := range w.messages() {
		switch {
		case l.isCycle():
			n++
		case l.Msg == "effect":
			n = 0
		}
	}
	return n
}

// crashOnce starts a watcher and kills it at a moment that depends on the round: while it
// writes the state file, just after that, after a few programs have run, after a few log
// lines about effects, or at any time.
func crashOnce(t *testing.T, ns *socklab.Namespace, stateDir, path, state string, n notebook, round int) (kind string) {
	t.Helper()
	var w *warden
	var countdown atomic.Int64
	countdown.Store(int64(1 + rand.IntN(8)))
	started := make(chan struct{})
	hook := func(logLine) {}
	events := watchDir(t, stateDir, filepath.Dir(n.file))
	kinds := map[string]func(){
		"while writing the state": func() {
			events.await(func(name string, mask uint32) bool {
				return strings.HasPrefix(name, "state.json") && name != "state.json.lock" && mask&(unix.IN_CREATE|unix.IN_MODIFY) != 0
			})
		},
		"state just written": func() {
			events.await(func(name string, mask uint32) bool { return name == filepath.Base(state) && mask&unix.IN_MOVED_TO != 0 })
		},
		"programs just run": func() {
			events.await(func(name string, mask uint32) bool {
				return name == "notes" && mask&unix.IN_MODIFY != 0 && countdown.Add(-1) <= 0
			})
		},
		"any time": func() { <-time.After(time.Duration(100+rand.IntN(500)) * time.Millisecond) },
	}
	names := append(slices.Sorted(maps.Keys(kinds)), "after effects")
	kind = names[round%len(names)]
	if kind == "after effects" {
		hook = func(l logLine) {
			if l.Msg == "effect" && countdown.Add(-1) == 0 {
				<-started
				_ = w.Process.Kill()
			}
		}
	}
	w = startWarden(t, ns, watchProcess(t, path, state), hook)
	close(started)
	if wait := kinds[kind]; wait != nil {
		wait()
		_ = w.Process.Kill()
	}
	select {
	case <-w.done:
	case <-time.After(time.Second): // nothing was left to act on
		_ = w.Process.Kill()
		<-w.done
	}
	events.close()
	w.healthy(t)
	ws, _ := w.ProcessState.Sys().(syscall.WaitStatus)
	if !ws.Signaled() {
		t.Fatalf("round %d: it did not start, or not go on: exit code %d\n%s", round, ws.ExitStatus(), w.tail())
	}
	return kind
}

// dirEvents is an inotify instance.
type dirEvents struct{ f *os.File }

func watchDir(t *testing.T, dirs ...string) *dirEvents {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	e := &dirEvents{os.NewFile(uintptr(fd), "inotify")}
	for _, dir := range dirs {
		if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_TO); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// await returns at the first wanted event, or after a while.
func (e *dirEvents) await(want func(name string, mask uint32) bool) {
	buf := make([]byte, 64<<10)
	_ = e.f.SetReadDeadline(time.Now().Add(time.Second))
	for {
		n, err := e.f.Read(buf)
		if err != nil {
			return
		}
		// struct inotify_event: wd, mask, cookie and len, 4 bytes each, then the name.
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			size := unix.SizeofInotifyEvent + int(wire.NativeEndian.Uint32(b[12:]))
			name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:size], "\x00"))
			if want(name, wire.NativeEndian.Uint32(b[4:])) {
				return
			}
			b = b[size:]
		}
	}
}

func (e *dirEvents) close() { _ = e.f.Close() }

// besides lists what a directory holds besides a state file and its lock.
func besides(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "state.json" && e.Name() != "state.json.lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

// checkState fails the test if the state file is not whole.
func checkState(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	var doc struct {
		Format    string
		Cooldowns map[string]any
	}
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil || doc.Format == "" || len(doc.Cooldowns) < remembered {
		t.Fatalf("state file: %v: %.200q", err, b)
	}
}

// processes returns the processes with those names: those that run, and those that have
// ended but that nobody has waited for.
func processes(t *testing.T, comms ...string) (running, zombies []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, rest, _ := strings.Cut(string(b), " (")
		end := strings.LastIndex(rest, ") ")
		if end < 0 || !slices.Contains(comms, rest[:end]) {
			continue
		}
		n, _ := strconv.Atoi(pid)
		if rest[end+2] == 'Z' {
			zombies = append(zombies, n)
		} else {
			running = append(running, n)
		}
	}
	return running, zombies
}

// reapOrphans reaps the programs of that name that a killed watcher has left to this
// process, the first of its PID namespace.
func reapOrphans(t *testing.T, comm string) {
	t.Helper()
	socklab.WaitFor(t, "the end of "+comm, func() bool {
		running, zombies := processes(t, comm)
		for _, pid := range zombies {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
		return len(running)+len(zombies) == 0
	})
}
