package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
	"sockwarden/collectors/trust"
	"sockwarden/rules"
)

// silentMount mounts a file system that never answers. Every look into it waits
// until release is called.
func silentMount(t *testing.T) (dir string, release func()) {
	t.Helper()
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		socklab.Lacks(t, fmt.Errorf("/dev/fuse: %w", err))
	}
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := unix.Mount("silent", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse)); err != nil {
		t.Fatal(err)
	}
	done := false
	release = func() {
		if !done {
			done = true
			_ = unix.Close(fuse) // whoever waits gets ENOTCONN
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	t.Cleanup(release)
	return dir, release
}

// Rules on a file system that does not answer hold nothing up: sockwarden can end, and a
// watcher goes on. Nothing piles up, and when it answers again the rules are read anew.
func TestRulesThatHang(t *testing.T) {
	socklab.Need(t)
	dir, release := silentMount(t)
	text := "version: 1\nsets:\n  s: {file: " + dir + "/set.txt}\nrules:\n  - {name: r, when: remote_addr in s, mode: observe}\n"
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	calls := make(chan struct{}, 10)
	l := newRuleLoader(rules.Options{Paths: []string{path}})
	l.patience = 50 * time.Millisecond
	l.load = func(o rules.Options) (*rules.Program, []string, error) {
		calls <- struct{}{}
		return rules.Load(o)
	}
	for range 3 {
		p, watched, err := l.next(t.Context())
		if p != nil || watched != nil || !errors.Is(err, errNoAnswer) {
			t.Fatalf("%v, %v, %v", p, watched, err)
		}
	}
	if len(calls) != 1 {
		t.Errorf("%d wait for it", len(calls))
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := newRuleLoader(l.options).next(stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	release()
	if err := os.WriteFile(path, []byte(strings.Replace(text, dir+"/set.txt", path+".set", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".set", []byte("10.0.0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	socklab.WaitFor(t, "an answer", func() bool { p, _, err := l.next(t.Context()); return err == nil && p.Rules[0].Name == "r" })
}

// SIGTERM ends a command that waits for such a file system.
func TestTermWhileRulesHang(t *testing.T) {
	socklab.Need(t)
	dir, _ := silentMount(t)
	for _, args := range [][]string{{"rules", "check"}, {"watch", "--state-file", "none", "--rules"}, {"kill", "-y", "-p", "1", "--rules"}} {
		var out bytes.Buffer
		cmd := exec.Command(build(t), append(args, dir+"/rules.yaml")...)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		task := fmt.Sprintf("/proc/%d/task", cmd.Process.Pid)
		socklab.WaitFor(t, "a thread that waits", func() bool { return waitsForFUSE(task) })
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
			if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(out.String(), "interrupted") {
				t.Errorf("%v: exit code %d: %s", args, code, out.String())
			}
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("%v does not answer SIGTERM", args)
		}
	}
}

// waitsForFUSE reports whether a thread of a process waits for an answer.
func waitsForFUSE(task string) bool {
	threads, _ := os.ReadDir(task)
	for _, th := range threads {
		where, err := os.ReadFile(filepath.Join(task, th.Name(), "wchan"))
		if err == nil && (strings.Contains(string(where), "fuse") || strings.Contains(string(where), "request_wait")) {
			return true
		}
	}
	return false
}

// A log is reopened by the same rules: what others have put there since is refused, and
// the old log goes on.
func TestLogReopen(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := openLogFile(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	write := func(text string) {
		t.Helper()
		if _, err := l.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	if err := errors.Join(os.Rename(dir+"/log", dir+"/old"), os.Symlink(victim, dir+"/log")); err != nil {
		t.Fatal(err)
	}
	if err := l.reopen(); err == nil || !strings.Contains(err.Error(), "others could have put a link on the way") {
		t.Errorf("reopened: %v", err)
	}
	write("two\n")
	if err := os.Remove(dir + "/log"); err != nil {
		t.Fatal(err)
	}
	if err := l.reopen(); err != nil {
		t.Fatal(err)
	}
	write("three\n")
	for path, want := range map[string]string{victim: "", dir + "/old": "one\ntwo\n", dir + "/log": "three\n"} {
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%s holds %q (%v), want %q", path, b, err, want)
		}
	}
}

// A pipe whose reader stands still costs lines, but stops nothing.
func TestLogPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(reader) }()
	l, err := openLogFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for i := 0; ; i++ {
		if _, err := l.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v", err)
			}
			break
		}
		if i > 1<<10 {
			t.Fatal("the pipe takes everything")
		}
	}
	if b, err := trust.ReadAll(reader, 4096); err != nil || len(b) != 4096 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if _, err := l.Write([]byte("it reads again\n")); err != nil {
		t.Errorf("%v", err)
	}
}
