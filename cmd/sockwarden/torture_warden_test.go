package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
)

// warden is a running sockwarden whose log, JSON on stderr, is read as it comes.
type warden struct {
	*exec.Cmd
	stdout bytes.Buffer
	done   chan struct{}

	mu     sync.Mutex
	lines  []string
	parsed []logLine      // of the same lines
	counts map[string]int // by message
	hook   func(logLine)  // called with each line, nil for none
}

// logLine is what tests need from a line of the log.
type logLine struct {
	Level, Msg, Rule, Result string
}

// isCycle reports whether the line is the end of a cycle: a cycle's warnings have the
// same message.
func (l logLine) isCycle() bool { return l.Msg == "cycle" && l.Level == "DEBUG" }

// startWarden starts a command in a namespace. It is killed at the end of the test.
func startWarden(t *testing.T, ns *socklab.Namespace, cmd *exec.Cmd, hook func(logLine)) *warden {
	t.Helper()
	w := &warden{Cmd: cmd, done: make(chan struct{}), counts: map[string]int{}, hook: hook}
	w.Stdout = &w.stdout
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Stderr = wr
	err = ns.Do(w.Start)
	_ = wr.Close()
	if err != nil {
		t.Fatal(err)
	}
	var read sync.WaitGroup
	read.Go(func() {
		defer r.Close()
		for s := bufio.NewScanner(r); s.Scan(); {
			w.add(s.Text())
		}
	})
	go func() {
		_ = w.Wait()
		read.Wait()
		close(w.done)
	}()
	t.Cleanup(func() {
		_ = w.Process.Kill()
		<-w.done
	})
	return w
}

// itself is sockwarden as built into this test binary: under the race detector if the
// tests are.
func itself(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Args = append([]string{"sockwarden"}, args...)
	return cmd
}

// log returns the lines that have come, except the first skip.
func (w *warden) log(skip int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines[min(skip, len(w.lines)):])
}

func (w *warden) add(line string) {
	var l logLine
	_ = json.Unmarshal([]byte(line), &l) // what is not JSON has no message
	w.mu.Lock()
	w.lines, w.parsed = append(w.lines, line), append(w.parsed, l)
	if l.Msg != "cycle" || l.isCycle() {
		w.counts[l.Msg]++
	}
	w.mu.Unlock()
	if w.hook != nil {
		w.hook(l)
	}
}

// messages returns the lines that have come.
func (w *warden) messages() []logLine {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.parsed)
}

// counted returns how many lines have each message.
func (w *warden) counted() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

// patience is how long a test waits for what must come: long enough for a busy machine,
// since other tests check how fast it comes.
const patience = 3 * time.Minute

// await waits for a condition, longer than socklab does.
func (w *warden) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	w.awaitLong(t, what, patience, cond)
}

// awaitLong waits for what has a time limit of its own.
func (w *warden) awaitLong(t *testing.T, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	for until := time.Now().Add(limit); !cond(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-w.done:
			w.healthy(t)
			t.Fatalf("sockwarden ended (%v) before %s:\n%s", w.ProcessState, what, w.tail())
		default:
		}
		if time.Now().After(until) {
			t.Fatalf("at %s: waited %s in vain for %s; it said %v, and\n%s", time.Now().Format(time.TimeOnly), limit, what, w.counted(), w.tail())
		}
	}
}

func (w *warden) tail() string {
	lines := w.log(0)
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// term ends sockwarden as systemd does and returns the exit code, and how long it took.
func (w *warden) term(t *testing.T) (code int, took time.Duration) {
	t.Helper()
	began := time.Now()
	if err := w.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return w.exit(t), time.Since(began)
}

// exit waits for the end and returns the exit code; -1 for a signal.
func (w *warden) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-w.done:
	case <-time.After(patience):
		said := w.tail()
		_ = w.Process.Signal(syscall.SIGQUIT) // shows where it hangs
		<-w.done
		t.Fatalf("sockwarden does not end:\n%s\n%s", said, strings.Join(w.log(0), "\n"))
	}
	w.healthy(t)
	return w.ProcessState.ExitCode()
}

// healthy fails the test if sockwarden complained about itself.
func (w *warden) healthy(t *testing.T) {
	t.Helper()
	for i, line := range w.log(0) {
		if strings.HasPrefix(line, "panic:") || strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "fatal error:") {
			lines := w.log(i)
			t.Fatalf("sockwarden:\n%s", strings.Join(lines[:min(60, len(lines))], "\n"))
		}
	}
}

// auditOutcome is an outcome in the audit log.
type auditOutcome struct {
	Event, Rule, Action, Result string
	Socket                      struct {
		Port   int
		State  string
		Cookie string
		PID    int
	}
}

// auditOutcomes reads an audit log, whose lines must all be whole.
func auditOutcomes(t *testing.T, path string) (outcomes []auditOutcome) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var o auditOutcome
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("audit log: %v: %q", err, line)
		}
		if o.Event == "lost" {
			t.Errorf("audit log has lost lines: %s", line)
		}
		if o.Event == "outcome" {
			outcomes = append(outcomes, o)
		}
	}
	return outcomes
}

// acted returns on how many sockets a rule acted between two ends of cycles, the most of
// them, and whether that is more than so many per cycle allow: what one cycle begins may
// end in the next, on a busy machine.
func (w *warden) acted(rule string, perCycle int) (most int, tooMany bool) {
	n, begun := 0, 0 // begun counts what may have begun by now and has not ended
	for _, l := range w.messages() {
		switch {
		case l.Msg == "effect" && l.Rule == rule:
			n++
		case l.isCycle():
			most, begun = max(most, n), min(begun, perCycle)+perCycle-n
			tooMany, n = tooMany || begun < 0, 0
		}
	}
	return most, tooMany
}

// signals returns the signals that a program was sent, except those given.
func (s stats) signals(but ...string) (got []string) {
	for name, n := range s.Signals {
		if !slices.Contains(but, name) {
			got = append(got, fmt.Sprintf("%d %s", n, name))
		}
	}
	return got
}
