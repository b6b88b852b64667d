package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
)

// TestSystemdUnits starts what the units start, and ends it as systemd does.
func TestSystemdUnits(t *testing.T) {
	socklab.Need(t)
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/sockwarden (.*)$`)
	for _, unit := range []string{"sockwarden.service", "live.conf", "sockwarden-run.service"} {
		commands := commandsIn(t, filepath.Join(root, "examples/systemd", unit), start)
		if len(commands) != 1 {
			t.Fatalf("%s: %d commands", unit, len(commands))
		}
		args := append(strings.Fields(commands[0]), "--state-file", filepath.Join(t.TempDir(), "state"))
		if slices.Contains(args, "watch") {
			watchUntilTerm(t, unit, args)
		} else if code, out, errs := run(t, args...); code != 0 {
			t.Errorf("%s: exits %d\n%s%s", unit, code, out, errs)
		}
	}
	for _, unit := range []string{"sockwarden.service", "sockwarden-run.service"} {
		text, err := os.ReadFile(filepath.Join(root, "examples/systemd", unit))
		if err != nil || !bytes.Contains(text, []byte("RuntimeDirectoryPreserve=yes")) {
			t.Errorf("%s: the state file does not outlive a restart (%v)", unit, err)
		}
		// Logs have a place that nobody else can read, and the filter lets BPF and
		// pidfd_getfd through: without them owners, events and abort would fail.
		for _, want := range []string{"StateDirectory=sockwarden", "StateDirectoryMode=0755", "LogsDirectory=sockwarden", "UMask=0077", "SystemCallArchitectures=native", "SystemCallFilter=@system-service bpf perf_event_open pidfd_getfd", "RestrictNamespaces=net", "PrivateMounts=yes"} {
			if !slices.Contains(strings.Split(string(text), "\n"), want) {
				t.Errorf("%s: no %s", unit, want)
			}
		}
	}
}

func watchUntilTerm(t *testing.T, unit string, args []string) {
	t.Helper()
	cmd := exec.Command(build(t), args...)
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	stderr := bufio.NewReader(errs)
	line, err := stderr.ReadString('\n')
	if err != nil || !strings.Contains(line, "watching") {
		t.Errorf("%s: first line %q, %v", unit, line, err)
	}
	ended := cmd.Process.Signal(syscall.SIGTERM) // an error if it ended by itself: the rest says why
	rest, err := io.ReadAll(stderr)
	err = errors.Join(ended, err)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Errorf("%s: after SIGTERM: %v\n%s", unit, err, rest)
	}
}
