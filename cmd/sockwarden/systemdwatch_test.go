package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/systemdlab"
)

// standingRules restart the unit leaky once, and know a listener by its age.
const standingRules = `version: 1
rules:
  - name: leak
    when: unit == "leaky.service" && state == "CLOSE_WAIT"
    then: [restart]
    limits: {cooldown: 30m}
  - name: listens
    when: unit == "leaky.service" && state == "LISTEN" && age > 3
    mode: observe
`

const (
	// watcher is the shipped unit, and watcherLog is where its log goes: there is no journal.
	watcher    = "sockwarden.service"
	watcherLog = systemdlab.Inside + "/watcher.log"
)

// watches writes a drop-in of the shipped unit, which stays as it is but for that.
func (l *lab) watches(command string, more ...string) {
	l.t.Helper()
	l.Unit(watcher+".d/zz-test.conf", "[Service]\nExecStart=\nExecStart="+systemdlab.Program+" watch "+command+"\nStandardError=append:"+watcherLog+"\n"+strings.Join(more, "\n")+"\n")
}

// status waits until the status of the watcher matches.
func (l *lab) status(want string) {
	l.t.Helper()
	match := regexp.MustCompile(want)
	text := ""
	defer func() {
		if l.t.Failed() {
			l.t.Logf("its status is %q", text)
		}
	}()
	l.Until("the status is "+want, func() bool { text = l.Property(watcher, "StatusText"); return match.MatchString(text) })
}

// TestSystemdWatches has a real systemd run the shipped unit: it starts when cycles run,
// keeps what it knows over restarts, and what people want over reboots, and is restarted if
// a cycle hangs, but not because its interval is long.
func TestSystemdWatches(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	l := newSystemd(t)
	l.start("leaky.service", 9001, 3)
	l.ship()
	t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(l.Dir, "watcher.log")); t.Failed() {
			t.Logf("the watcher: %s%v", text, err)
		}
	})
	l.install(standingRules)
	// It starts only if BPF works, for all that the unit forbids itself.
	l.watches("--live --interval 1s --events on --owners bpf", "RestartSec=100ms")
	before := l.invocation("leaky.service")
	l.startsLate()
	if text := l.Property(watcher, "StatusText"); !strings.HasPrefix(text, "live, 2 rules, generation ") {
		t.Errorf("it begins with %q", text)
	}
	l.Until("the unit is restarted", func() bool { return l.invocation("leaky.service") != before })
	l.exposure()
	l.says(`^silence 1: rule listens, until [0-9:]+, spares \d now\n$`, "silence", "add", "--for", "1h", "--rule", "listens")

	// Three leaks wait for the end of the cool-down, and the new listener gets old.
	l.status(`, 4 matched, 0 acted on$`)
	before = l.invocation("leaky.service")
	if counts := l.counted(); counts != "map[done:1], map[done:1]" {
		t.Errorf("it counts %s", counts)
	}
	l.Systemctl("restart", watcher)
	l.status(`cycle of .*, \d matched`)
	if text := l.Property(watcher, "StatusText"); !strings.HasSuffix(text, ", 4 matched, 0 acted on") {
		t.Errorf("ages or cool-downs are forgotten: %q", text)
	}
	if counts := l.counted(); counts != "map[done:1], map[done:1]" {
		t.Errorf("after a restart it counts %s", counts)
	}
	if now := l.silenced(); !slices.Equal(now, []int{1}) {
		t.Errorf("after a restart the silences are %d", now)
	}
	l.says(`paused`, "pause", "30m")
	l.status(`^live, paused by .* until `)
	l.Systemctl("restart", watcher)
	l.status(`^live, paused by .* until .*cycle of `)
	if now := l.invocation("leaky.service"); now != before {
		t.Error("it was restarted again")
	}
	l.reboots()
	l.reloads()
	l.writesElsewhere("--live --interval 1s --events on --owners bpf")
	l.Systemctl("stop", watcher)
	if result := l.Property(watcher, "Result"); result != "success" {
		t.Errorf("it ends with %s", result)
	}
	l.watchdog()
}

// reloads has systemd reload the watcher: that fails if the rules are rejected, and the
// watcher goes on.
func (l *lab) reloads() {
	l.t.Helper()
	l.Systemctl("reload", watcher)
	l.status(`^live, 2 rules`)
	l.install(strings.Replace(standingRules, "CLOSE_WAIT", "CLOSEWAIT", 1))
	if code, _, errs := l.Run("systemctl", "reload", watcher); code == 0 {
		l.t.Errorf("the reload of rules that are wrong succeeds: %s", errs)
	}
	l.status(`^rules rejected, still on .*CLOSEWAIT.*, live, 2 rules`)
	if state := l.Property(watcher, "ActiveState"); state != "active" {
		l.t.Errorf("after that the watcher is %s", state)
	}
	l.install(strings.Replace(standingRules, "30m", "31m", 1))
	l.Systemctl("reload", watcher)
	l.status(`^live, 2 rules`)
}

// exposure asks systemd how exposed the running unit is.
func (l *lab) exposure() {
	l.t.Helper()
	code, out, errs := l.Run("systemd-analyze", "security", "--no-pager", watcher)
	found := regexp.MustCompile(`Overall exposure level for sockwarden\.service: ([0-9.]+)`).FindStringSubmatch(out)
	if code != 0 || found == nil {
		l.t.Errorf("systemd-analyze exits %d: %s%s", code, out, errs)
		return
	}
	if level, err := strconv.ParseFloat(found[1], 64); err != nil || level > 3.3 {
		l.t.Errorf("its exposure is %s, more than 3.3:\n%s", found[1], out)
	}
}

// watchdog waits between two cycles for longer than the watchdog does, and then in a cycle.
func (l *lab) watchdog() {
	l.t.Helper()
	for patience := 6; ; patience *= 2 { // a busy machine may feed it late, but not always
		l.watches("--interval 1h", fmt.Sprintf("WatchdogSec=%ds", patience))
		l.Systemctl("start", watcher)
		l.status(`cycle of `)
		for range 2 {
			fed := l.Property(watcher, "WatchdogTimestampMonotonic")
			l.Until("the watchdog is fed", func() bool { return l.Property(watcher, "WatchdogTimestampMonotonic") != fed })
		}
		n, state := l.Property(watcher, "NRestarts"), l.Property(watcher, "ActiveState")
		l.Systemctl("stop", watcher)
		if n == "0" && state == "active" {
			break
		}
		if patience > 30 {
			l.t.Fatalf("it was restarted %s times", n)
		}
	}

	const slow = "/usr/local/bin/slow"
	if code, _, errs := l.Run("sh", "-c", "printf '#!/bin/sh\nexec sleep 25\n' > "+slow+" && chmod 755 "+slow); code != 0 {
		l.t.Fatal(errs)
	}
	l.watches("--collect "+slow, "WatchdogSec=1s", "RestartSec=100ms")
	l.Systemctl("start", watcher)
	l.Until("the watcher whose cycle hangs is restarted", func() bool { return l.Property(watcher, "NRestarts") != "0" })
	l.Systemctl("stop", watcher)
}
