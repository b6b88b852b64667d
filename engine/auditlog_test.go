package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/news"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// auditLines reads a log; a line that is not an audit line is an error.
func auditLines(t testing.TB, text []byte) (all []news.AuditLine) {
	t.Helper()
	for l := range bytes.Lines(text) {
		var a news.AuditLine
		if err := json.Unmarshal(l, &a); err != nil {
			t.Errorf("%v: %q", err, l)
			continue
		}
		if at, err := time.Parse(time.RFC3339Nano, a.Time); err != nil || time.Since(at) > time.Hour || time.Since(at) < 0 {
			t.Errorf("time %q, %v", a.Time, err)
		}
		all = append(all, a)
	}
	return all
}

// Each decision and each outcome has a line that says when, by whom and under which
// rules.
func TestAuditLines(t *testing.T) {
	acted, gone, spared := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := holder(t, acted, gone, spared)
	failing := &script{name: "failing"}
	failing.prepare = func(target actions.Target) error {
		if target.Sockets[0].Socket.LocalPort == gone.Local.Port() {
			return fmt.Errorf("get: %w", unix.EPERM)
		}
		return nil
	}
	failing.apply = func(actions.Target) actions.Outcome {
		return actions.Outcome{Result: actions.Failed, Err: fmt.Errorf("destroy: %w", unix.EBUSY), Detail: "as it was"}
	}
	var text bytes.Buffer
	l := newLab(t, Options{Live: true, AuditLog: &text, By: "uid 0 (test)"}, failing)
	p := l.rules(t, "protect: [{name: mine, when: "+port(spared)+"}]\n"+ruleFile(among(acted, gone, spared), "failing"))
	r := l.run(t, p)
	var got []string
	for _, a := range auditLines(t, text.Bytes()) {
		if a.By != "uid 0 (test)" || a.Generation != p.Generation || a.Rule != "r" || a.Mode != "live" || a.Socket["pid"] != float64(h.PID) || a.Socket["state"] != "CLOSE_WAIT" {
			t.Errorf("%+v", a)
		}
		got = append(got, fmt.Sprint(a.Event, a.Socket["port"], a.Decision, a.Reason, a.Action, a.Result, a.Errno, a.Error, a.Detail))
	}
	slices.Sort(got)
	want := []string{
		fmt.Sprint("decision", float64(acted.Local.Port()), "act", "", "", "", "", "", ""),
		fmt.Sprint("decision", float64(gone.Local.Port()), "act", "", "", "", "", "", ""),
		fmt.Sprint("decision", float64(spared.Local.Port()), "protected", "protect mine", "", "", "", "", ""),
		fmt.Sprint("outcome", float64(acted.Local.Port()), "", "", "failing", "failed", "EBUSY", "destroy: device or resource busy", "as it was"),
		fmt.Sprint("outcome", float64(gone.Local.Port()), "", "", "failing", "failed", "EPERM", "get: operation not permitted", ""),
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(r.Findings) != 3 {
		t.Errorf("%d findings", len(r.Findings))
	}
}

// The outcome of a signal names the process that got it; of several, each names its own.
func TestAuditNamesProcess(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	a := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
	b := holder(t, c)
	var text bytes.Buffer
	l := newLab(t, Options{Live: true, AuditLog: &text})
	l.run(t, l.rules(t, ruleFile(port(c), "{signal: KILL, owners: all, wait: 1m}")))
	var got []string
	for _, line := range auditLines(t, text.Bytes()) {
		if line.Event == "outcome" {
			got = append(got, line.Process+" "+string(line.Result))
		}
	}
	want := []string{fmt.Sprintf("%s[%d] ended", program(), a.PID), fmt.Sprintf("%s[%d] ended", program(), b.PID)}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The log has a group's evidence; a group without a socket has no socket there.
func TestAuditGroups(t *testing.T) {
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 3)
	holder(t, conns...)
	var text bytes.Buffer
	l := newLab(t, Options{AuditLog: &text}, keeper())
	l.run(t, l.rules(t, ruleFile(`state == "CLOSE_WAIT"`, "keep", "group: pid", "having: count > 2")))
	l.run(t, l.rules(t, ruleFile(`port == 1`, "log", "group: host", "having: count == 0")))
	lines := auditLines(t, text.Bytes())
	if len(lines) != 4 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, a := range lines {
		if want := 3 * (1 - i/3); a.Group["count"] != float64(want) || (a.Socket == nil) != (i == 3) || a.Mode != "dry-run" {
			t.Errorf("%d: %+v", i, a)
		}
	}
}

// A watcher logs a decision when it changes, not in every cycle.
func TestAuditOnlyNews(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	text := &journal{}
	l := newLab(t, Options{Live: true, AuditLog: text}, keeper())
	p := l.rules(t, ruleFile(port(c), "keep"))
	for range 3 {
		l.run(t, p)
	}
	never := l.rules(t, ruleFile("port == 1", "keep"))
	l.run(t, never)
	l.run(t, p)
	if a, b, all := len(text.lines(`"decision":"act"`)), len(text.lines(`"decision":"cooldown"`)), len(text.lines(`"event":"decision"`)); a != 1 || b != 2 || all != 3 {
		t.Errorf("act %d, cooldown %d, of %d", a, b, all)
	}
	if n := len(text.lines(`"event":"outcome"`)); n != 1 {
		t.Errorf("%d outcomes", n)
	}
}

// A full disk is reported once in the log, and in each report, and never fails a cycle.
// What was lost is counted, and noted as soon as there is room.
func TestAuditDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, "open", err)
	defer full.Close()
	conns := []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)}
	holder(t, conns...)
	w := &switched{w: full}
	l := newLab(t, Options{Live: true, AuditLog: w}, keeper())
	text := ruleFile(among(conns...), "keep", "limits: {cooldown: 0}")
	for range 3 {
		r := l.run(t, l.rules(t, text))
		if r.AuditError == nil || !errors.Is(r.AuditError, unix.ENOSPC) || len(r.Errors) != 1 || !errors.Is(r.Errors[0], r.AuditError) {
			t.Errorf("errors %v, audit error %v", r.Errors, r.AuditError)
		}
		expectTally(t, r, map[report.Decision]int{report.DecideAct: 2})
	}
	// Two decisions that do not change, and two outcomes in each cycle.
	if lines := l.journal.lines("level=ERROR"); len(lines) != 1 || !strings.Contains(lines[0], "audit log cannot be written") || !strings.Contains(lines[0], "no space left on device") || l.news.Audit.Lost != 8 {
		t.Errorf("lost %d, said %q", l.news.Audit.Lost, lines)
	}
	var room bytes.Buffer
	w.w = &room
	if r := l.run(t, l.rules(t, text)); r.AuditError != nil || len(r.Errors) > 0 {
		t.Errorf("with room again: %v", r.Errors)
	}
	lines := auditLines(t, room.Bytes())
	if len(lines) != 3 || lines[0].Event != "lost" || lines[0].Lost != 8 || lines[1].Event != "outcome" || lines[2].Event != "outcome" {
		t.Errorf("%+v", lines)
	}
	if lines := l.journal.lines("level=WARN", "audit log is written again", "lost=8"); len(lines) != 1 || l.news.Audit.Lost != 0 {
		t.Errorf("lost %d, said %q", l.news.Audit.Lost, lines)
	}
	// Full again until the end: the log says how many lines are missing.
	w.w = full
	l.run(t, l.rules(t, text))
	l.Close()
	if lines := l.journal.lines("audit log ends without lines", "lost=2"); len(lines) != 1 {
		t.Errorf("at the end: %q", l.journal.lines("level=ERROR"))
	}
}

type switched struct{ w io.Writer }

func (s *switched) Write(b []byte) (int, error) { return s.w.Write(b) }

// A line that only partly fitted does not spoil the next one.
func TestAuditTornLine(t *testing.T) {
	socklab.Need(t)
	dir := t.TempDir()
	must(t, "mount", unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", 2*os.Getpagesize())))
	t.Cleanup(func() { must(t, "unmount", unix.Unmount(dir, 0)) })
	path, filler := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "filler")
	must(t, "fill", os.WriteFile(filler, make([]byte, os.Getpagesize()), 0o600))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	must(t, "open", err)
	defer f.Close()
	log := &journal{}
	a := news.AuditLog{W: f, Log: log.logger(), Clock: world.SystemClock()}
	n := 0
	for ; a.Lost < 3; n++ {
		a.Write(news.AuditLine{Event: "decision", Reason: strings.Repeat("x", 100)})
	}
	before, err := os.ReadFile(path)
	must(t, "read", err)
	if len(before) != os.Getpagesize() || bytes.HasSuffix(before, []byte("\n")) {
		t.Fatalf("no part of a line at the end of %d bytes", len(before))
	}
	must(t, "make room", os.Remove(filler))
	a.Write(news.AuditLine{Event: "outcome"})
	a.Write(news.AuditLine{Event: "outcome"})
	text, err := os.ReadFile(path)
	must(t, "read", err)
	kept, rest := text[:len(before)], text[len(before):]
	whole := bytes.Count(kept, []byte("\n"))
	if rest[0] != '\n' {
		t.Fatalf("it goes on with %.20q", rest)
	}
	lines := auditLines(t, rest[1:])
	if len(lines) != 3 || lines[0].Event != "lost" || lines[0].Lost != n-whole || lines[2].Event != "outcome" {
		t.Errorf("%d written, %d of them whole: %+v", n, whole, lines)
	}
	if len(log.lines("level=ERROR")) != 1 {
		t.Errorf("said %q", log.lines())
	}
}

// Nothing is written if nobody wants it.
func TestNoAuditLog(t *testing.T) {
	a := news.AuditLog{}
	a.Write(news.AuditLine{Event: "decision"})
	a.Close()
	if a.Lost != 0 {
		t.Errorf("lost %d", a.Lost)
	}
}
