package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sockwarden/cmd/sockwarden/control"
	"sockwarden/engine/memory"
	"sockwarden/engine/watch"
)

// A watcher that has not looked yet is there: status, reload and silence add say that it
// starts.
func TestStatusOfStartingWatcher(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.sock")
	board := watch.NewBoard()
	server, err := control.Serve(control.Options{Path: path, Version: "x", Board: board, Log: slog.New(slog.DiscardHandler), SilenceFile: filepath.Join(filepath.Dir(path), "silences.json")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, args := range [][]string{{"status"}, {"status", "-o", "json"}, {"silence", "add", "--for", "1h", "--rule", "leak"}} {
		cmd := itself(t, append(args, "--control", path)...)
		out, err := cmd.CombinedOutput()
		if text := string(out); err == nil || cmd.ProcessState.ExitCode() != exitForbidden || !strings.Contains(text, "is starting: it has not looked yet") ||
			!strings.Contains(text, "hint: try again in a moment") || strings.Contains(text, "no watcher") {
			t.Errorf("%v: exits %d: %s", args, cmd.ProcessState.ExitCode(), out)
		}
	}
}

// One that does not answer where we ask is found by the locks that it holds; the hint says
// how to reach it.
func TestQuietWatcher(t *testing.T) {
	s := startServed(t)
	elsewhere := filepath.Join(s.dir, "other.sock")
	asked := func(want, hint string, args ...string) {
		t.Helper()
		cmd := itself(t, args...)
		out, err := cmd.CombinedOutput()
		text := string(out)
		if err == nil || cmd.ProcessState.ExitCode() != exitForbidden || !strings.Contains(text, want) || !strings.Contains(text, "hint: "+hint) || strings.Contains(text, "no watcher") {
			t.Errorf("%v: exits %d, not with %q and %q: %s", args, cmd.ProcessState.ExitCode(), want, hint, out)
		}
	}
	for _, args := range [][]string{{"status"}, {"silence", "add", "--for", "1h", "-p", "80"}} {
		asked("runs here, and its control socket is "+s.path, "name it here, too: --control "+s.path, append(args, "--state-file", s.state)...)
	}
	// A socket that is not there yet.
	lock, err := memory.LockWithin(t.Context(), elsewhere+".lock", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if quiet := control.Quiet([]string{elsewhere}, ""); quiet != nil {
		t.Errorf("this test is no watcher: %v", quiet)
	}
	if err := os.Rename(s.path, s.path+".away"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"reload"}, {"silence", "add", "--for", "1h", "-p", "80"}} {
		asked("does not answer yet: it is starting or ending", "try again in a moment", append(args, "--control", s.path)...)
	}
	if err := os.Rename(s.path+".away", s.path); err != nil {
		t.Fatal(err)
	}
	s.expect(0, "LIVE, well", "status")
}
