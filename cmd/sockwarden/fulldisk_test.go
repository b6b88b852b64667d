package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// smallDisk mounts a file system of a few pages.
func smallDisk(t *testing.T, pages int) string {
	t.Helper()
	socklab.Need(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", pages*os.Getpagesize())); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// wholeLines counts the lines of a log; each must be an object.
func wholeLines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(text) {
		if len(line) > 1 && !json.Valid(line) {
			t.Errorf("%s: line %d is torn: %.80q...", path, n+1, line)
		}
		n++
	}
	return n
}

// A full disk under the audit log gives exit code 1, is among the errors, and leaves no
// partial line in front of what is written when there is room again.
func TestAuditLogOnFullDisk(t *testing.T) {
	dir := smallDisk(t, 3)
	log, filler := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "filler")
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	text := "version: 1\nrules: [{name: all, when: port == 21990, mode: observe, then: [destroy]}]\n"
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conns := mustListen("127.0.0.1", 21990)
	defer conns.Close()
	if err := os.WriteFile(filler, make([]byte, 2*os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	args := []string{"--rules", rules, "--audit-log", log}
	for _, command := range [][]string{{"audit"}, {"audit", "--exit-code"}, {"run"}, {"run", "--live"}, {"kill", "port == 21990", "-n", "--allow-listen"}} {
		code, whole := 0, 0
		var out, errs string
		for range 20 { // until the disk is full: a line each time
			if code, out, errs = run(t, append(append(command, "-o", "json"), args...)...); code != 0 && code != exitFindings {
				break
			}
			whole++
		}
		if code != exitFailed || !strings.Contains(errs, "audit log: lines are lost: ") || !strings.Contains(errs, "no space left on device") {
			t.Errorf("%v: exits %d, says %s", command, code, errs)
		}
		var doc struct{ Errors []string }
		if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Errors) != 1 || !strings.Contains(doc.Errors[0], "audit log: lines are lost") {
			t.Errorf("%v: errors %q, %v", command, doc.Errors, err)
		}
		if n := wholeLines(t, log); n == 0 || whole > 0 && n != whole {
			t.Errorf("%v: %d lines, not %d", command, n, whole)
		}
		if st, err := os.Stat(log); err != nil || st.Size()%int64(os.Getpagesize()) == 0 {
			t.Errorf("the disk is full to its end: %v", err) // no line was torn, so this tests nothing
		}
	}
	before := wholeLines(t, log)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := run(t, append([]string{"audit"}, args...)...); code != 0 {
		t.Errorf("with room again: exits %d, says %s", code, errs)
	}
	if n := wholeLines(t, log); n != before+1 {
		t.Errorf("%d lines, not %d", n, before+1)
	}
}

// A partial line that a crash has left, and that cannot be taken back, ends before the
// next line.
func TestAuditLogAfterCrash(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	if err := os.WriteFile(path, []byte("{\"event\":\"deci"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openLogFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for _, line := range []string{"{}\n", "{}\n"} {
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "{\"event\":\"deci\n{}\n{}\n" {
		t.Errorf("%q, %v", text, err)
	}
	// What is no longer at the end is not taken back.
	if _, err := l.f.WriteString("one"); err != nil {
		t.Fatal(err)
	}
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.WriteString("two"); err != nil {
		t.Fatal(err)
	}
	if takeBack(l.f, 3) {
		t.Error("taken back from under another")
	}
	if !takeBack(other, 3) {
		t.Error("not taken back from the end")
	}
}
