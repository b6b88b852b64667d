package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/systemdlab"
)

// unitRules restart the unit leaky for what it leaks, and nothing else.
const unitRules = `version: 1
rules:
  - name: leak
    when: unit == "leaky.service" && state == "CLOSE_WAIT"
    then: [restart]
    limits: {cooldown: 300ms}
`

// watchedRules also end what another unit leaks.
const watchedRules = unitRules + `  - name: forgotten
    when: unit == "forgetful.service" && state == "CLOSE_WAIT"
    then: [destroy]
`

// lab is a real systemd with units whose programs hold sockets.
type lab struct {
	*systemdlab.Manager
	t *testing.T
}

func newSystemd(t *testing.T) *lab {
	t.Helper()
	l := &lab{systemdlab.Start(t, build(t)), t}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := copyProgram(exe, filepath.Join(l.Dir, "bin/holdsockets")); err != nil {
		t.Fatal(err)
	}
	return l
}

// copyProgram copies the test binary to the name that tells it what to be.
func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// start starts a unit whose program keeps connections that its clients have closed, and
// waits until it has all of them.
func (l *lab) start(unit string, port, leaks int) {
	l.t.Helper()
	l.write(unit, port, leaks)
	l.Systemctl("start", unit)
	l.Until(unit+" leaks", func() bool { return l.leaks(unit) == leaks })
}

// write writes such a unit.
func (l *lab) write(unit string, port, leaks int) {
	l.t.Helper()
	l.Unit(unit, fmt.Sprintf(`[Unit]
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
Environment=%s=furnished
ExecStart=%s/bin/holdsockets port=%d close_wait=%d
`, socklab.EnvInside, systemdlab.Inside, port, leaks))
}

// install puts the rules of the watcher in place.
func (l *lab) install(text string) {
	l.t.Helper()
	if code, _, errs := l.Run("cp", l.Write("rules.yaml", text), "/etc/sockwarden/rules.yaml"); code != 0 {
		l.t.Fatal(errs)
	}
}

// leaks counts the sockets that a unit has left in CLOSE_WAIT.
func (l *lab) leaks(unit string) int {
	l.t.Helper()
	code, out, errs := l.Run(systemdlab.Program, "list", "--unit", unit, "-s", "close_wait", "-o", "jsonl")
	if code != 0 {
		l.t.Fatalf("list: exits %d: %s%s", code, out, errs)
	}
	if strings.Count(out, fmt.Sprintf(`"unit":%q`, unit)) != strings.Count(out, "\n") {
		l.t.Errorf("sockets of other units: %s", out)
	}
	return strings.Count(out, "\n")
}

// invocation returns something that differs after each start of a unit.
func (l *lab) invocation(unit string) string {
	l.t.Helper()
	return l.Systemctl("show", unit, "--property=InvocationID,ExecMainStartTimestampMonotonic")
}

// says runs sockwarden beside the units.
func (l *lab) says(want string, args ...string) {
	l.t.Helper()
	code, out, errs := l.Run(append([]string{systemdlab.Program}, args...)...)
	if code != 0 || !regexp.MustCompile(want).MatchString(out) {
		l.t.Errorf("%s: exits %d, not %s\n%s%s", args, code, want, out, errs)
	}
}

// ship installs the units of examples/systemd unchanged, with the drop-in that makes the
// watcher act.
func (l *lab) ship() {
	l.t.Helper()
	for file, unit := range map[string]string{
		"sockwarden.service": "sockwarden.service", "live.conf": "sockwarden.service.d/live.conf",
		"sockwarden-run.service": "sockwarden-run.service", "sockwarden-run.timer": "sockwarden-run.timer",
	} {
		text, err := os.ReadFile(filepath.Join(root, "examples/systemd", file))
		if err != nil {
			l.t.Fatal(err)
		}
		l.Write("units/"+unit, string(text))
	}
	l.Systemctl("daemon-reload")
}

// TestSystemd has a real systemd restart the unit that leaks, and no other: by hand, and
// through the shipped units with everything that they forbid themselves.
func TestSystemd(t *testing.T) {
	l := newSystemd(t)
	l.start("leaky.service", 9001, 3)
	l.start("forgetful.service", 9002, 2)
	forgetful := l.invocation("forgetful.service")
	rules := l.Write("rules.yaml", unitRules)

	l.says(`action restart unit leaky\.service\n(.*\n)?(would act +leak .*\n){3}\n`, "audit", "--rules", rules)
	l.says(`3 +leaky\.service`, "list", "-p", "9001", "-s", "close_wait", "--by", "unit")
	before := l.invocation("leaky.service")
	l.says(`action restart unit leaky\.service\n(.*\n)?(done +leak .*\n){3}\n`, "run", "--live", "--rules", rules, "--state-file", "none")
	if now := l.invocation("leaky.service"); now == before {
		t.Errorf("it was not restarted: %s", now)
	}

	l.ship()
	rules = l.Write("watched.yaml", watchedRules)
	if code, _, errs := l.Run("cp", rules, "/etc/sockwarden/rules.yaml"); code != 0 {
		t.Fatal(errs)
	}
	before = l.invocation("leaky.service")
	l.Systemctl("start", "sockwarden.service")
	restarted := func(why string) {
		t.Helper()
		l.Until("the watcher restarts the unit"+why, func() bool {
			if l.Property("sockwarden.service", "ActiveState") != "active" {
				t.Fatalf("the watcher ended:\n%s", l.Systemctl("show", "sockwarden.service"))
			}
			return l.invocation("leaky.service") != before
		})
	}
	restarted("")
	l.Systemctl("restart", "leaky.service")
	before = l.invocation("leaky.service")
	restarted(" that somebody has restarted")
	l.Until("the watcher destroys what is forgotten", func() bool { return l.leaks("forgetful.service") == 0 })
	if now := l.invocation("forgetful.service"); now != forgetful {
		t.Errorf("another unit was restarted: %s, then %s", forgetful, now)
	}
	l.Systemctl("stop", "sockwarden.service", "leaky.service", "forgetful.service")
	l.rustDesk()

	l.Systemctl("start", "sockwarden-run.timer", "sockwarden-run.service")
	for unit, want := range map[string]string{
		"sockwarden.service": "Result=success", "sockwarden-run.service": "Result=success", "sockwarden-run.timer": "ActiveState=active",
	} {
		if got := l.Systemctl("show", unit, "--property=Result,ActiveState"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", unit, got)
		}
	}
}
