package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// inCgroup lets f make sockets while this process is in a control group of its own, in
// the unified hierarchy, and returns the group's path.
func inCgroup(t *testing.T, f func()) (path string) {
	t.Helper()
	socklab.Need(t)
	at := t.TempDir()
	if err := unix.Mount("none", at, "cgroup2", 0, ""); err != nil {
		socklab.Lacks(t, fmt.Errorf("mount cgroup2: %w", err))
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	text, err := os.ReadFile("/proc/self/cgroup")
	must(t, "own control group", err)
	own := ""
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "0::"); ok {
			own = strings.TrimSuffix(rest, "\n")
		}
	}
	path = fmt.Sprintf("/test-engine-%d.slice", os.Getpid())
	if err := os.Mkdir(at+path, 0o755); err != nil {
		socklab.Lacks(t, err)
	}
	t.Cleanup(func() { _ = os.Remove(at + path) })
	enter := func(group string) error {
		return os.WriteFile(filepath.Join(at, group, "cgroup.procs"), []byte("0"), 0)
	}
	if err := enter(path); err != nil {
		socklab.Lacks(t, err)
	}
	defer func() { must(t, "back to the own control group", enter(own)) }()
	f()
	return path
}

// A socket's control group is that of the process that has it; if nobody has it, it is
// the group that the socket was made in, if the socket shows it. That group never decides
// the unit or container.
func TestCgroupOfSockets(t *testing.T) {
	var orphan, owned, finished *socklab.Conn
	path := inCgroup(t, func() {
		orphan = socklab.Make(t, socklab.FinWait1Orphan, socklab.IPv4)
		owned = socklab.Make(t, socklab.CloseWait, socklab.IPv6)
		finished = socklab.Make(t, socklab.TimeWait, socklab.IPv4)
	})
	h := holder(t, owned)
	inCgroups(t, h, "0::/system.slice/web.service\n")
	l := newLab(t, Options{})
	r := l.run(t, l.rules(t, ruleFile(`(known(cgroup) or not known(cgroup)) and cgroup != "/nothing" or state == "TIME_WAIT"`, "log", "mode: observe")))
	noErrors(t, r)
	value := func(c *socklab.Conn, field collectors.Field) any {
		t.Helper()
		record := findingOf(t, r, c).Record()
		v, known := collectors.Value(field, &record)
		if !known {
			return nil
		}
		return v
	}
	for what, got := range map[string][2]any{
		"orphan": {value(orphan, collectors.FieldCgroup), path}, "owned": {value(owned, collectors.FieldCgroup), "/system.slice/web.service"},
		"finished": {value(finished, collectors.FieldCgroup), nil}, "unit of the orphan": {value(orphan, collectors.FieldUnit), nil},
		"unit of the owned": {value(owned, collectors.FieldUnit), "web.service"}, "container of the orphan": {value(orphan, collectors.FieldContainerID), nil},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %v, not %v", what, got[0], got[1])
		}
	}
	live := newLab(t, Options{Live: true})
	r = live.run(t, live.rules(t, ruleFile(fmt.Sprintf(`cgroup == %q`, path), "destroy")))
	expect(t, findingOf(t, r, orphan), report.DecideAct, "", "gone")
}

// The engine asks for a socket's control group only where something reads it.
func TestCgroupsAreNotAskedFor(t *testing.T) {
	host := hostWorld(t, world.OwnersProc, 1)
	asked := 0
	was := host.Cgroups
	host.Cgroups = func(ids []uint64) (map[uint64]string, error) {
		asked++
		return was(ids)
	}
	socklab.Make(t, socklab.FinWait1Orphan, socklab.IPv4)
	l := newLab(t, Options{World: host})
	l.run(t, l.rules(t, ruleFile(`unit == "a.service" or state == "FIN_WAIT1"`, "log")))
	if asked != 0 {
		t.Errorf("asked %d times by a rule that does not read it", asked)
	}
	l.run(t, l.rules(t, ruleFile(`cgroup == "/a" or state == "FIN_WAIT1"`, "log")))
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
