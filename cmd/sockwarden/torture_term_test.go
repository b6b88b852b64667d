package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sockwarden/collectors/socklab"
)

// TestTermination ends live runs in the middle. What they wait for takes an hour: if they
// end at all, they have not waited for it.
func TestTermination(t *testing.T) {
	if os.Getenv(envTorture) == "" {
		t.Parallel()
	}
	for name, test := range map[string]func(t *testing.T){
		"run":                 func(t *testing.T) { endsBetweenEffects(t, []string{"run", "-o", "json"}, 1) },
		"watch":               func(t *testing.T) { endsBetweenEffects(t, []string{"watch", "--interval", "1h"}, 0) },
		"run with a ladder":   func(t *testing.T) { endsOnLadder(t, []string{"run"}, 1) },
		"watch with a ladder": func(t *testing.T) { endsOnLadder(t, []string{"watch", "--interval", "1h"}, 0) },
		"watch with programs": endsPrograms,
		"hangup":              hangup,
	} {
		t.Run(name, func(t *testing.T) {
			if !apart(t) {
				test(t)
			}
		})
	}
}

func termRules(t *testing.T, rules string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	text := "version: 1\ndefaults: {limits: {per_cycle: 1000, cooldown: 1h}, breaker: {count: 10000, share: 100%}}\nrules:\n" + rules
	if err := replaceRules(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// liveCommand is a command that acts.
func liveCommand(t *testing.T, words []string, path, state string) (args []string) {
	t.Helper()
	return append(slices.Clone(words), "--live", "-v", "--log-format", "json", "--rules", path, "--state-file", state)
}

// endsBetweenEffects has the first of many programs that the rules run send SIGTERM to
// whoever started it: what had begun is ended, what had not is untouched, and is all that
// the next run does.
func endsBetweenEffects(t *testing.T, words []string, want int) {
	const targets = 150
	ns := socklab.NewNamespace(t, "term")
	n := newNotebook(t, "slow", "kill -TERM $(cut -d' ' -f4 /proc/$PPID/stat)\nsetsid sleep 3600 &\nwait\n")
	t.Cleanup(func() { reapOrphans(t, "sleep") }) // children of killed programs
	holder := life{Comm: "holder", Serve: []string{at(execPort)}, Leaks: named(targets, at(execPort))}.start(t, ns)
	// The oldest come first: what is destroyed comes after them.
	socklab.WaitFor(t, "sockets of some age", func() bool {
		w := startWarden(t, ns, itself(t, "list", fmt.Sprintf(`state == "CLOSE_WAIT" && port == %d && age > "200ms"`, execPort), "--by", "port", "-o", "jsonl", "--state-file", "none"), nil)
		w.exit(t)
		return strings.Contains(w.stdout.String(), fmt.Sprintf(`"count":%d,`, targets))
	})
	other := life{Comm: "other", Serve: []string{at(gonePort)}, Leaks: named(20, at(gonePort))}.start(t, ns)
	path := termRules(t, fmt.Sprintf(`  - {name: slow, when: state == "CLOSE_WAIT" && port == %d, then: [{exec: {program: %s, timeout: 1h}}]}
  - {name: gone, when: state == "CLOSE_WAIT" && port == %d, then: [destroy]}
`, execPort, n.program, gonePort))
	state := filepath.Join(t.TempDir(), "state.json")
	w := startWarden(t, ns, itself(t, liveCommand(t, words, path, state)...), nil)
	if code := w.exit(t); code != want {
		t.Errorf("exit code %d, not %d\n%s", code, want, w.tail())
	}
	noProgramLeft(t)
	begun := n.cookies(t)
	if len(begun) == 0 || len(begun) > targets*9/10 {
		t.Errorf("%d of %d programs had begun", len(begun), targets)
	}
	if want != 0 {
		checkInterrupted(t, w, targets)
	}
	// Again, with a quick program.
	if err := os.WriteFile(n.program, []byte("#!/bin/sh\nread -r finding\nprintf '%s\\n' \"$finding\" >>"+n.file+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		again := startWarden(t, ns, itself(t, liveCommand(t, []string{"run", "--rule", "slow"}, path, state)...), nil)
		code := again.exit(t)
		if code != 0 && !strings.Contains(strings.Join(again.log(0), "\n"), "this machine is too busy to look and act in time") {
			t.Fatalf("the next run: exit code %d\n%s", code, again.tail())
		}
		return code == 0
	}, func() string { return "this machine is too busy to look and act in time" })
	all := n.cookies(t)
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c] {
			t.Errorf("the program for socket %s began twice within the cool-down", c)
		}
		seen[c] = true
	}
	// A program killed before its first word counts as neither.
	if missing := targets - len(seen); missing > targets/4 || len(all) <= len(begun) {
		t.Errorf("%d of %d were not acted on, although they had not begun", missing, targets)
	}
	begunToo := 0 // by the rule that destroys
	for _, l := range w.messages() {
		if l.Msg == "effect" && l.Rule == "gone" && l.Result != "failed" {
			begunToo++
		}
	}
	if s := other.ask(t, "finish"); len(s.Errors) > 0 || len(s.signals()) > 0 || s.Destroyed != begunToo {
		t.Errorf("%v, signals %v, %d destroyed, %d said to be", s.Errors, s.signals(), s.Destroyed, begunToo)
	}
	if s := holder.ask(t, "finish"); len(s.Errors) > 0 || len(s.signals()) > 0 || s.Destroyed > 0 {
		t.Errorf("%v, signals %v, %d destroyed", s.Errors, s.signals(), s.Destroyed)
	}
	t.Logf("%d programs and %d destroys had begun, %d programs were left to the next run, %d sockets were untouched", len(begun), begunToo, len(all)-len(begun), 20-begunToo)
}

// checkInterrupted checks the report of an interrupted run.
func checkInterrupted(t *testing.T, w *warden, targets int) {
	t.Helper()
	if !strings.Contains(w.tail(), "interrupted") {
		t.Errorf("it does not say that it was interrupted:\n%s", w.tail())
	}
	var report struct {
		Findings []struct {
			Rule    string
			Actions []struct{ Action, Result, Error string }
		}
	}
	if err := json.Unmarshal(w.stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v: %.300q", err, w.stdout.String())
	}
	results := map[string]int{}
	for _, f := range report.Findings {
		for _, a := range f.Actions {
			if strings.HasPrefix(a.Error, "stopped before its end") {
				a.Result = "stopped"
			}
			results[f.Rule+" "+a.Result]++
		}
	}
	if results["slow stopped"] == 0 || results["slow stopped"]+results["slow failed"] != targets {
		t.Errorf("results: %v", results)
	}
}

// noProgramLeft fails the test if a program still runs, or nobody has waited for it.
func noProgramLeft(t *testing.T) {
	t.Helper()
	running, zombies := processes(t, "slow")
	sleeping, _ := processes(t, "sleep")
	if len(running)+len(zombies)+len(sleeping) > 0 {
		t.Errorf("left behind: programs %v, zombies %v, children of programs %v", running, zombies, sleeping)
	}
	for _, pid := range slices.Concat(running, sleeping) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	reapOrphans(t, "slow")
	reapOrphans(t, "sleep")
}

// endsOnLadder ends a run while it waits for the effect of SIGTERM.
func endsOnLadder(t *testing.T, words []string, want int) {
	ns := socklab.NewNamespace(t, "term")
	stays := life{Comm: "stays", Serve: []string{at(signalPort)}, Leaks: spared(3, at(signalPort))}.start(t, ns)
	path := termRules(t, fmt.Sprintf(`  - {name: ladder, when: state == "CLOSE_WAIT" && port == %d, then: [{signal: TERM, wait: 1h}, {signal: KILL, wait: 1h}]}`, signalPort))
	w := startWarden(t, ns, itself(t, liveCommand(t, words, path, filepath.Join(t.TempDir(), "state.json"))...), nil)
	w.await(t, "the first rung", func() bool { return stays.ask(t, "report").Signals["SIGTERM"] == 1 })
	if code, _ := w.term(t); code != want {
		t.Errorf("exit code %d, not %d\n%s", code, want, w.tail())
	}
	// What was done is in the log, although nobody waited to see what came of it.
	if !slices.ContainsFunc(w.messages(), func(l logLine) bool { return l.Msg == "effect" && l.Result == "still_running" }) {
		t.Errorf("nothing is said of the signal:\n%s", w.tail())
	}
	if s := stays.ask(t, "finish"); len(s.Errors) > 0 || len(s.signals("SIGTERM")) > 0 {
		t.Errorf("%v, signals %v", s.Errors, s.Signals)
	}
}

// endsPrograms ends a watcher while programs started in an earlier cycle still run.
func endsPrograms(t *testing.T) {
	const targets = 5
	ns := socklab.NewNamespace(t, "term")
	n := newNotebook(t, "slow", "setsid sleep 3600 &\nwait\n")
	t.Cleanup(func() { reapOrphans(t, "sleep") })
	life{Comm: "holder", Serve: []string{at(execPort)}, Leaks: spared(targets, at(execPort))}.start(t, ns)
	path := termRules(t, fmt.Sprintf(`  - {name: slow, when: state == "CLOSE_WAIT" && port == %d, then: [{exec: {program: %s, timeout: 1h}}]}`, execPort, n.program))
	w := startWarden(t, ns, itself(t, append(liveCommand(t, []string{"watch"}, path, filepath.Join(t.TempDir(), "state.json")), "--interval", "100ms")...), nil)
	w.await(t, "programs and later cycles", func() bool { return len(n.cookies(t)) == targets && w.counted()["cycle"] >= 3 })
	if running, _ := processes(t, "slow"); len(running) != targets {
		t.Errorf("%d programs run, not %d", len(running), targets)
	}
	if code, _ := w.term(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, w.tail())
	}
	noProgramLeft(t)
}

// hangup has a watcher reload its rules and reopen its logs.
func hangup(t *testing.T) {
	ns := socklab.NewNamespace(t, "term")
	holder := life{Comm: "holder", Serve: []string{at(execPort)}, Leaks: spared(3, at(execPort))}.start(t, ns)
	path := termRules(t, fmt.Sprintf("  - {name: seen, when: state == \"CLOSE_WAIT\" && port == %d, mode: observe}\n", execPort))
	dir := t.TempDir()
	logFile, auditLog := filepath.Join(dir, "log"), filepath.Join(dir, "audit")
	args := append(liveCommand(t, []string{"watch"}, path, filepath.Join(dir, "state.json")), "--interval", "100ms", "--log-file", logFile, "--audit-log", auditLog)
	w := startWarden(t, ns, itself(t, args...), nil)
	has := func(path, words string, n int) func() bool {
		return func() bool {
			b, err := os.ReadFile(path)
			return err == nil && strings.Count(string(b), words) >= n
		}
	}
	decision := `"event":"decision"`
	w.await(t, "decisions", has(auditLog, decision, 3))
	if err := errors.Join(os.Rename(logFile, logFile+".1"), os.Rename(auditLog, auditLog+".1")); err != nil {
		t.Fatal(err)
	}
	w.hangup(t)
	w.await(t, "new files", func() bool { return has(logFile, "", 1)() && has(auditLog, "", 1)() })
	w.hangup(t)
	w.await(t, "a reload in the new log", has(logFile, "rules unchanged", 1))
	before, err := os.ReadFile(auditLog + ".1")
	if err != nil {
		t.Fatal(err)
	}
	holder.ask(t, "more 2")
	w.await(t, "decisions in the new audit log", has(auditLog, decision, 2))
	after, err := os.ReadFile(auditLog + ".1")
	if err != nil || len(after) != len(before) {
		t.Errorf("the audit log that was moved away grew from %d to %d bytes, %v", len(before), len(after), err)
	}
	if err := replaceRules(path, "version: 1\nrules:\n  - {name: other, when: port == 1, then: [destroy]}\n", 0o600); err != nil {
		t.Fatal(err)
	}
	w.hangup(t)
	w.await(t, "other rules", has(logFile, "rules reloaded", 1))
	if code, _ := w.term(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, w.tail())
	}
	if s := holder.ask(t, "finish"); len(s.Errors) > 0 || len(s.signals()) > 0 {
		t.Errorf("%v, signals %v", s.Errors, s.signals())
	}
}

func (w *warden) hangup(t *testing.T) {
	t.Helper()
	if err := w.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}
