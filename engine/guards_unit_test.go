package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// inUnit makes /proc show a process in a control group below system.slice, but only to
// the tests.
func inUnit(t *testing.T, h *socklab.Holder, path string) {
	t.Helper()
	inCgroups(t, h, "0::/system.slice/"+path+"\n")
}

func inCgroups(t *testing.T, h *socklab.Holder, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cgroup")
	must(t, "write", os.WriteFile(path, []byte(text), 0o644))
	must(t, "mount", unix.Mount(path, fmt.Sprintf("/proc/%d/cgroup", h.PID), "", unix.MS_BIND, ""))
}

// restarting returns an engine with an action on units that does nothing.
func restarting(t *testing.T) *lab {
	t.Helper()
	restart := outcomes("again", actions.Outcome{Result: actions.Done})
	plugin := restart.plugin()
	plugin.Scope = actions.ScopeUnit
	l := newLab(t, Options{})
	l.actions = registry(t, plugin)
	return l
}

// A unit is not restarted if anything guarded ends with it: what is in its control group
// or below, but not what only has a similar name.
func TestGuardUnit(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	id := strings.Repeat("0123456789abcdef", 4)
	for path, guarded := range map[string]bool{
		"0::/system.slice/web.service\n":                                                    true,
		"0::/system.slice/web.service/sub.service\n":                                        true,
		"0::/system.slice/web.service/a/b/sub.scope\n":                                      true,
		"0::/system.slice/web.service/docker/" + id + "\n":                                  true,
		"4:memory:/docker/" + id + "\n0::/system.slice/web.service\n":                       true,
		"4:memory:/\n1:name=systemd:/system.slice/web.service/sub.service\n0::/\n":          true,
		"0::/system.slice/web.service2\n":                                                   false,
		"0::/system.slice/web.service-x/sub.service\n":                                      false,
		"0::/system.slice/other.service\n":                                                  false,
		"0::/system.slice\n":                                                                false,
		"0::/user.slice/user-0.slice/user@0.service/app.slice/web.service\n":                false,
		"0::/docker/" + id + "/system.slice/web.service\n":                                  false,
		"4:memory:/system.slice/my-web.service\n0::/system.slice/x-web.service/a.service\n": false,
	} {
		t.Run(path, func(t *testing.T) {
			hung := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
			inUnit(t, holder(t, hung), "web.service")
			sshd := socklab.StartHolder(t, socklab.HolderOptions{Program: "sshd"})
			inCgroups(t, sshd, path)
			l := restarting(t)
			f := findingOf(t, l.run(t, l.rules(t, ruleFile(port(hung), "again"))), hung)
			if guarded {
				expect(t, f, report.DecideGuarded, fmt.Sprintf("web.service has also sshd[%d]: protected process sshd", sshd.PID))
			} else {
				expect(t, f, report.DecideAct, "", actions.Would)
			}
		})
	}
}

// Processes outside any unit do not share one, and an action on processes does not
// concern a unit.
func TestGuardNoUnit(t *testing.T) {
	hung := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	h := holder(t, hung)
	inCgroups(t, h, "0::/\n")
	inCgroups(t, socklab.StartHolder(t, socklab.HolderOptions{Program: "sshd"}), "0::/\n")
	l := restarting(t)
	expect(t, findingOf(t, l.run(t, l.rules(t, ruleFile(port(hung), "again"))), hung), report.DecideAct, "", actions.Would)
	other := newLab(t, Options{})
	expect(t, findingOf(t, other.run(t, other.rules(t, ruleFile(port(hung), "{signal: TERM}"))), hung), report.DecideAct, "", actions.Would)
}

// Restarting a unit ends all of its processes, so what all of them serve counts,
// including in units and containers below it.
func TestCollateralOfUnits(t *testing.T) {
	worker, hung, _ := crowd(t, 0)
	server, _, _ := crowd(t, 1)
	below, _, _ := crowd(t, 2)
	stranger, _, _ := crowd(t, 4)
	for h, unit := range map[*socklab.Holder]string{
		worker: "web.service", server: "web.service", below: "web.service/payload/sub.service", stranger: "web.service2",
	} {
		inUnit(t, h, unit)
	}
	l := restarting(t)
	text := ruleFile(port(hung), "again", "limits: {max_collateral: 2}")
	expect(t, findingOf(t, l.run(t, l.rules(t, text)), hung), report.DecideLimited, "max_collateral 2: 3 established connections would die with web.service")
	f := findingOf(t, l.run(t, l.rules(t, strings.Replace(text, "collateral: 2", "collateral: 3", 1))), hung)
	expect(t, f, report.DecideAct, "", actions.Would)
	if f.Collateral != 3 {
		t.Errorf("collateral %d", f.Collateral)
	}
}
