package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
	"sockwarden/engine/watch"
)

// served is a watcher with a control socket of its own, in a namespace with sockets.
type served struct {
	*warden
	t     *testing.T
	ns    *socklab.Namespace
	dir   string // of the rules
	rules string
	state string
	path  string // of the socket
}

const servedRules = "version: 1\nrules:\n  - name: leak\n    when: state == \"CLOSE_WAIT\" and port == 21118\n    then: [destroy]\n" +
	"  - name: other\n    when: state == \"CLOSE_WAIT\" and port == 21119\n    mode: observe\n    then: [destroy]\n"

// startServed starts a live watcher and waits for its first cycle.
func startServed(t *testing.T, args ...string) *served {
	t.Helper()
	return startServedBy(t, servedRules, args...)
}

// startServedBy is startServed by other rules.
func startServedBy(t *testing.T, rules string, args ...string) *served {
	t.Helper()
	socklab.Need(t)
	dir := t.TempDir()
	s := &served{t: t, ns: socklab.NewNamespace(t, "served"), dir: dir, rules: filepath.Join(dir, "r.yaml"), state: filepath.Join(dir, "s", "state.json"), path: filepath.Join(dir, "c.sock")}
	s.write(rules)
	s.begin(args...)
	return s
}

func (s *served) begin(args ...string) {
	s.t.Helper()
	all := append([]string{"watch", "--live", "--rules", s.rules, "--state-file", s.state, "--control", s.path, "--interval", "1s", "--log-format", "json"}, args...)
	s.warden = startWarden(s.t, s.ns, itself(s.t, all...), nil)
	s.await(s.t, "the first cycle", func() bool {
		code, out, _ := s.ask("status", "-o", "json")
		return code == 0 && strings.Contains(out, `"cycle"`)
	})
}

func (s *served) write(text string) {
	s.t.Helper()
	if err := replaceRules(s.rules, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// ask runs a command that asks this watcher.
func (s *served) ask(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	cmd := itself(s.t, append(args, "--control", s.path)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := s.ns.Do(cmd.Run)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// expect is ask whose exit code, and what it prints on either stream, are known.
func (s *served) expect(code int, words string, args ...string) string {
	s.t.Helper()
	got, out, errs := s.ask(args...)
	if got != code || !strings.Contains(out+errs, words) {
		s.t.Errorf("%v: exits %d, not %d with %q:\n%s%s", args, got, code, words, out, errs)
	}
	return out
}

func (s *served) status() watch.Status {
	s.t.Helper()
	var st watch.Status
	_, out, errs := s.ask("status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		s.t.Fatalf("%v: %s %s", err, out, errs)
	}
	return st
}

// A reload ends when good rules are in force; it says why others are rejected, also the
// second time, and nothing changes; it waits for a file that somebody is writing.
func TestReloadSaysWhatCameOfIt(t *testing.T) {
	if apart(t) {
		return
	}
	s := startServed(t)
	s.expect(0, "LIVE, well", "status")
	first := s.status().Rules.Generation
	s.expect(0, "in force: 2 rules", "reload")
	s.write(strings.ReplaceAll(servedRules, "CLOSE_WAIT", "CLOSEWAIT"))
	for range 2 {
		s.expect(exitRules, `r.yaml:4:20: unknown state "CLOSEWAIT"`, "reload")
	}
	if st := s.status(); st.Well || st.Rules.LastReload.OK || len(st.Rules.LastReload.Problems) != 2 || st.Rules.Generation != first {
		t.Errorf("%+v", st)
	}
	s.expect(exitFailed, "LIVE, not well: reload of ", "status")
	s.expect(exitFailed, "unknown state", "status", "-q")
	s.write(strings.Replace(servedRules, "21118", "21118 and port == 80", 1))
	check := itself(t, "rules", "check", s.rules)
	warned, err := check.Output()
	if err != nil || !strings.Contains(string(warned), "[never-") {
		t.Fatalf("%v: %s", err, warned)
	}
	warning, _, _ := strings.Cut(string(warned), "OK  ")
	s.expect(0, warning+"in force: 2 rules", "reload", "--timeout", "2m")
	s.write(strings.ReplaceAll(servedRules, "21118", "21117"))
	if out := s.expect(0, "in force: 2 rules", "reload", "--timeout", "2m"); strings.Contains(out, "warning") {
		t.Errorf("of the rules before: %s", out)
	}
	second := s.status()
	if second.Rules.Generation == first || !second.Well || second.Rules.Settling != nil {
		t.Errorf("%+v", second.Rules)
	}
	if _, out, _ := s.ask("status", "-q"); out != "" {
		t.Errorf("status -q of one that is well says %q", out)
	}
	// Somebody writes.
	s.write(strings.ReplaceAll(servedRules, "21118", "21116"))
	f, err := os.OpenFile(s.rules, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.expect(exitFailed, "open for writing", "reload", "--timeout", "3s")
	if st := s.status(); st.Rules.Generation != second.Rules.Generation || st.Rules.Settling == nil || !st.Well {
		t.Errorf("%+v", st.Rules)
	}
	s.expect(0, "are not in force yet: another process has "+s.rules+" open for writing", "status")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.expect(0, "in force", "reload", "--timeout", "2m")
	if s.status().Rules.Generation == second.Rules.Generation {
		t.Error("the old rules are in force")
	}
}

// What was done lately is told by rule, and survives the end of a watcher, however it
// ends; so does its socket.
func TestStatusCountsAndSurvives(t *testing.T) {
	if apart(t) {
		return
	}
	s := startServed(t)
	leaky := life{Comm: "leaky", Serve: []string{at(21118)}, Leaks: spared(3, at(21118))}.start(t, s.ns)
	done := func() int {
		st := s.status()
		if len(st.ByRule) != 2 || st.ByRule[0].Rule != "leak" || st.ByRule[1].Mode != "observe" {
			t.Fatalf("%+v", st.ByRule)
		}
		return st.ByRule[0].Hour["gone"] + st.ByRule[0].Hour["fd_still_held"]
	}
	s.await(t, "three sockets destroyed", func() bool { return done() >= 3 })
	if err := leaky.Process.Kill(); err != nil { // it leaks again and again
		t.Fatal(err)
	}
	<-leaky.done
	killed := time.Now()
	s.await(t, "a cycle without leaks", func() bool { return s.status().Cycle.Time.After(killed) })
	want := done()
	s.end(syscall.SIGTERM)
	s.begin()
	if n := done(); n != want {
		t.Errorf("after an end in order %d, not %d", n, want)
	}
	if st := s.status(); st.ByRule[0].Day["gone"]+st.ByRule[0].Day["fd_still_held"] != want {
		t.Errorf("of the day %v, not %d", st.ByRule[0].Day, want)
	}
	s.end(syscall.SIGKILL)
	if _, err := os.Lstat(s.path); err != nil {
		t.Fatalf("nothing stale is left: %v", err)
	}
	s.expect(exitForbidden, "no watcher runs here", "status", "--state-file", s.state)
	s.expect(exitForbidden, "no watcher answers on "+s.path, "reload")
	s.begin()
	if n := done(); n != want {
		t.Errorf("after a kill %d, not %d", n, want)
	}
	// A second watcher does not get the place of the first.
	second := itself(t, "watch", "--rules", s.rules, "--state-file", "none", "--control", s.path)
	out, err := second.CombinedOutput()
	if want := fmt.Sprintf("process %d holds %s", s.Process.Pid, s.path); err == nil || second.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), want) {
		t.Errorf("%v %s", err, out)
	}
	s.expect(0, "LIVE, well", "status")
}

// end ends the watcher by a signal.
func (s *served) end(sig syscall.Signal) {
	s.t.Helper()
	if err := s.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	<-s.done
}

// A silence of a rule spares what that finds from the moment it was added, the other rule
// goes on, and a killed watcher obeys it when it is back. When it is removed, the rule acts
// again.
func TestSilenceOfWatcher(t *testing.T) {
	if apart(t) {
		return
	}
	s := startServed(t)
	s.write(strings.ReplaceAll(servedRules, "    mode: observe\n", ""))
	s.expect(0, "in force", "reload", "--timeout", "2m")
	wrong := []string{"silence", "add", "--for", "1h", "--rule", "leek"}
	s.expect(exitUsage, `no rule "leek" (did you mean "leak"?); there are leak, other`, wrong...)
	s.expectRun(exitUsage, append(wrong, "--control", "none", "--rules", s.rules, "--state-file", s.state)...)
	s.expect(0, "silence 1: rule leak, until ", "silence", "add", "--for", "1h", "--rule", "leak", "--comment", "moving the relay")
	life{Comm: "leaky", Serve: []string{at(21118), at(21119)}, Leaks: spared(3, at(21118), at(21119))}.start(t, s.ns)
	done := func(rule int) int {
		n := 0
		for _, k := range s.status().ByRule[rule].Day {
			n += k
		}
		return n
	}
	s.await(t, "the other rule acts", func() bool { return done(1) >= 3 })
	if n := done(0); n > 0 {
		t.Errorf("%d of what is silenced were acted on", n)
	}
	s.expect(0, `rule leak, 59m`, "silence", "list")
	s.expect(0, `"moving the relay" (spares 3 now)`, "status")
	s.end(syscall.SIGKILL)
	s.begin()
	first := s.status().Cycle.Time
	s.await(t, "another cycle", func() bool { return s.status().Cycle.Time.After(first) })
	if st := s.status(); done(0) > 0 || st.ByRule[0].Findings != 3 || !strings.HasPrefix(st.ByRule[0].Spared, "silenced") {
		t.Errorf("after a kill: %+v", st.ByRule[0])
	}
	s.expect(exitFailed, "there is no silence 7, 8 in force; there are 1; none was removed", "silence", "remove", "7", "1", "8")
	s.expect(0, "1  rule leak", "silence", "list")
	s.expect(0, "removed silence 1", "silence", "remove", "1")
	s.await(t, "the log of who removed it", func() bool {
		return slices.ContainsFunc(s.log(0), func(line string) bool {
			return strings.Contains(line, `"silence removed","id":1,"about":"rule leak","by":"root`)
		})
	})
	s.await(t, "the rule acts again", func() bool { return done(0) >= 3 })
	s.expect(exitFailed, "there is no silence 1 in force", "silence", "remove", "1")
}

// A silence names who logged in to become root; what a removal does to the file, the
// watcher's log tells, too.
func TestSilenceNamesLogin(t *testing.T) {
	socklab.NeedLogins(t)
	s := startServed(t)
	loggedIn := func(args ...string) {
		t.Helper()
		cmd := itself(t, args...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := socklab.StartLoggedIn(cmd, "4343"); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %v %s", args, err, out.String())
		}
	}
	loggedIn("silence", "add", "--for", "1h", "--rule", "leak", "--control", s.path)
	loggedIn("silence", "add", "--for", "1h", "--rule", "leak", "--control", "none", "--rules", s.rules, "--state-file", s.state)
	for _, one := range s.status().Silences {
		if !strings.HasSuffix(one.CreatedBy, "login: uid 4343)") {
			t.Errorf("silence %d is by %s", one.ID, one.CreatedBy)
		}
	}
	s.await(t, "the log of the second", func() bool {
		return slices.ContainsFunc(s.log(0), func(line string) bool { return strings.Contains(line, `"silence","id":2,`) })
	})
	loggedIn("silence", "remove", "2", "--control", "none", "--state-file", s.state)
	s.await(t, "the log of who removed it", func() bool {
		return slices.ContainsFunc(s.log(0), func(line string) bool {
			return strings.Contains(line, `"silence removed","id":2,`) && strings.Contains(line, `login: uid 4343)"`)
		})
	})
}
