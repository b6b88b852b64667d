package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sockwarden/collectors/socklab/systemdlab"
	"sockwarden/engine/watch"
)

// asked is what the watcher answers to status.
func (l *lab) asked() *watch.Status {
	l.t.Helper()
	var st watch.Status
	code, out, errs := l.Run(systemdlab.Program, "status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		l.t.Fatalf("status: exits %d: %v\n%s%s", code, err, out, errs)
	}
	return &st
}

// ruleStatus is what the watcher says of a rule.
func (l *lab) ruleStatus(name string) (of watch.RuleStatus) {
	l.t.Helper()
	for _, r := range l.asked().ByRule {
		if r.Rule == name {
			return r
		}
	}
	l.t.Errorf("the watcher has no rule %s", name)
	return of
}

// counted is how many restarts of the rule leak the watcher knows of in the last hour and
// in the last day.
func (l *lab) counted() string {
	l.t.Helper()
	of := l.ruleStatus("leak")
	return fmt.Sprintf("%v, %v", of.Hour, of.Day)
}

// results is how many results a rule has had in the last hour.
func (l *lab) results(rule string) (n int) {
	l.t.Helper()
	for _, count := range l.ruleStatus(rule).Hour {
		n += count
	}
	return n
}

// silenced are the numbers of the silences that the watcher obeys.
func (l *lab) silenced() (ids []int) {
	l.t.Helper()
	for _, s := range l.asked().Silences {
		ids = append(ids, s.ID)
	}
	return ids
}

// reboots has the machine of a paused watcher lose its power: the pause and silences are in
// force as soon as it runs again, and cool-downs are not.
func (l *lab) reboots() {
	l.t.Helper()
	l.Reboot()
	l.start("leaky.service", 9001, 3)
	before := l.invocation("leaky.service")
	l.Systemctl("start", watcher)
	l.status(`^live, paused by .* until .*cycle of .*, [34] matched, 0 acted on$`)
	if now := l.silenced(); !slices.Equal(now, []int{1}) {
		l.t.Errorf("after a reboot the silences are %d", now)
	}
	if now := l.invocation("leaky.service"); now != before {
		l.t.Error("a pause does not outlive a reboot")
	}
	l.says(`^resumed\n$`, "resume")
	l.Until("the unit is restarted once more", func() bool { return l.invocation("leaky.service") != before })
}

// writesElsewhere runs the watcher in a unit that may not write what outlives a reboot: a
// silence goes where the watcher reads it, and whoever adds it hears that a reboot ends it.
func (l *lab) writesElsewhere(command string) {
	l.t.Helper()
	l.watches(command, "StateDirectory=")
	l.Systemctl("restart", watcher)
	l.says(`^silence 2: rule leak, until .*\nit also ends with a reboot, as it is kept in /run/sockwarden/silences\.json\n$`, "silence", "add", "--for", "1h", "--rule", "leak")
	if now := l.silenced(); !slices.Equal(now, []int{2, 1}) {
		l.t.Errorf("the silences are %d", now)
	}
	if code, _, errs := l.Run(systemdlab.Program, "silence", "remove", "1"); code == 0 || !regexp.MustCompile(`read-only file system.*--control none`).MatchString(errs) {
		l.t.Errorf("the removal of one that the watcher cannot write exits %d: %s", code, errs)
	}
	l.says(`^removed silence 1\n$`, "silence", "remove", "1", "--control", "none")
	l.Systemctl("stop", watcher)
}

// startsLate starts the watcher while somebody is writing its rules: it ends, and systemd
// starts it again until they are complete.
func (l *lab) startsLate() {
	l.t.Helper()
	const writer = "writer.service"
	l.Unit(writer, "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sh -c 'exec 3>>/etc/sockwarden/rules.yaml; exec sleep 1000'\n")
	l.Systemctl("start", writer)
	l.Until("the rules are open for writing", func() bool {
		target, _ := l.Command("readlink", "/proc/"+l.Property(writer, "MainPID")+"/fd/3").Output()
		return strings.TrimSpace(string(target)) == "/etc/sockwarden/rules.yaml"
	})
	l.Systemctl("start", "--no-block", watcher)
	l.Until("the watcher ends and is to be started again", func() bool { return l.Property(watcher, "NRestarts") != "0" })
	l.Systemctl("stop", writer)
	l.Until("it has started", func() bool { return l.Property(watcher, "ActiveState") == "active" })
}
