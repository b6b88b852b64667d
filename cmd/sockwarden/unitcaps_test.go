package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sockwarden/collectors/socklab"
)

// withoutCapability is what of the probes fails without one capability of the units, all
// others given.
var withoutCapability = map[string][]string{
	"CAP_SYS_PTRACE":      {"abort", "signal"},
	"CAP_DAC_READ_SEARCH": {"fds", "abort", "signal"},
	"CAP_SYS_ADMIN":       {"namespaces", "BPF"},
	"CAP_NET_ADMIN":       {"mark", "destroy"},
	"CAP_KILL":            {"signal"},
}

// capabilityRules act on what one process of another user holds.
const capabilityRules = `version: 1
rules:
  - {name: destroys, when: state == "CLOSE_WAIT" and port == PORT1, then: [destroy]}
  - {name: aborts, when: state == "CLOSE_WAIT" and port == PORT2, then: [abort]}
  - {name: signals, when: state == "CLOSE_WAIT" and port == PORT3, then: [{signal: WINCH}]}
`

// unitCapabilities are the capabilities that a unit or drop-in leaves itself.
func unitCapabilities(t *testing.T, file string) (names []string) {
	t.Helper()
	for _, line := range commandsIn(t, filepath.Join(root, "examples/systemd", file), regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`)) {
		names = append(names, strings.Fields(line)...)
	}
	return names
}

// bounded is sockwarden as root with these capabilities, as in a unit.
type bounded struct {
	t            *testing.T
	ns           *socklab.Namespace
	capabilities []string
	holder       string // a program that anybody may run
	rules        string
	port         int
}

// publicHolder is the program that holds sockets, where every user can run it.
func publicHolder(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "holdsockets")
	if err := errors.Join(copyProgram(exe, program), os.Chmod(filepath.Dir(filepath.Dir(program)), 0o755)); err != nil {
		t.Fatal(err)
	}
	return program
}

// run runs it and returns its output.
func (b bounded) run(args ...string) (out string, ok bool) {
	set := "-all"
	for _, c := range b.capabilities {
		set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	cmd := exec.Command("setpriv", append([]string{"--no-new-privs", "--bounding-set=" + set, build(b.t)}, args...)...)
	var text []byte
	err := b.ns.Do(func() (err error) {
		text, err = cmd.CombinedOutput()
		return err
	})
	return string(text), err == nil
}

// probes reports what works.
func (b bounded) probes() (works map[string]bool, all string) {
	holds := fmt.Sprintf("port in [%d..%d] and state == \"CLOSE_WAIT\"", b.port+1, b.port+3)
	list, _ := b.run("list", holds, "-o", "jsonl", "--columns", "port,process,fds,mark")
	elsewhere, entered := b.run("list", "--netns", "elsewhere")
	audit, bpf := b.run("audit", "--rules", b.rules, "--state-file", "none", "--owners", "bpf")
	all = list + elsewhere + audit
	// One by one: what is not permitted ends everything of a run.
	did := func(result, rule string) bool {
		live, _ := b.run("run", "--live", "--rules", b.rules, "--rule", rule, "--state-file", "none", "-o", "json")
		all += live
		return regexp.MustCompile(`"result": "(` + result + `)"`).MatchString(live)
	}
	works = map[string]bool{
		"fds": strings.Count(list, `"fds":`) == 3, "mark": strings.Count(list, `"mark":`) == 3, "namespaces": entered, "BPF": bpf,
		"destroy": did("fd_still_held|gone", "destroys"), "abort": did("fd_still_held|gone", "aborts"), "signal": did("done", "signals"),
	}
	return works, all
}

// TestUnitCapabilities: the units have exactly the capabilities that they need. With all of
// them everything works for a process of another user; without any one something does not,
// as the table of docs/service.md says.
func TestUnitCapabilities(t *testing.T) {
	if apart(t) {
		return
	}
	socklab.Need(t)
	if os.Geteuid() != 0 || socklab.IsNobody() {
		t.Skip("units run as root")
	}
	dry, live := unitCapabilities(t, "sockwarden.service"), unitCapabilities(t, "live.conf")
	if other := unitCapabilities(t, "sockwarden-run.service"); !slices.Equal(dry, other) {
		t.Errorf("two dry units have %s and %s", dry, other)
	}
	all := append(slices.Clone(dry), live...)
	if known := slices.Sorted(maps.Keys(withoutCapability)); !slices.Equal(slices.Sorted(slices.Values(all)), known) {
		t.Errorf("the units have %s, and %s are tried", all, known)
	}
	documentedCapabilities(t, dry, live)
	socklab.NewNamespace(t, "elsewhere")
	ns := socklab.NewNamespace(t, "unit")
	build(t)
	holder := publicHolder(t)
	var tries sync.WaitGroup
	for i, less := range append([]string{"none"}, all...) {
		b := bounded{t: t, ns: ns, holder: holder, port: 21100 + 10*i, capabilities: slices.DeleteFunc(slices.Clone(all), func(c string) bool { return c == less })}
		b.rules = filepath.Join(t.TempDir(), "rules.yaml")
		ports := strings.NewReplacer("PORT1", fmt.Sprint(b.port+1), "PORT2", fmt.Sprint(b.port+2), "PORT3", fmt.Sprint(b.port+3))
		if err := os.WriteFile(b.rules, []byte(ports.Replace(capabilityRules)), 0o600); err != nil {
			t.Fatal(err)
		}
		b.holdAsNobody()
		tries.Go(func() {
			works, out := b.probes()
			var fails []string
			for probe, ok := range works {
				if !ok {
					fails = append(fails, probe)
				}
			}
			slices.Sort(fails)
			if want := slices.Sorted(slices.Values(withoutCapability[less])); !slices.Equal(fails, want) {
				t.Errorf("without %s these fail: %s, not %s\n%s", less, fails, want, out)
			}
		})
	}
	tries.Wait()
}

// holdAsNobody has a process of another user hold a connection on each of the three ports.
func (b bounded) holdAsNobody() {
	b.t.Helper()
	cmd := exec.Command(b.holder)
	for i := range 3 {
		cmd.Args = append(cmd.Args, fmt.Sprintf("port=%d", b.port+i+1), "close_wait=1")
	}
	cmd.Env = append(os.Environ(), socklab.EnvInside+"=furnished")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = b.ns.Do(cmd.Start)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "READY\n" {
		b.t.Fatalf("holdsockets: %q, %v", line, err)
	}
}

// documentedCapabilities checks the table of docs/service.md: each capability with the unit
// that has it, and what does not work without it.
func documentedCapabilities(t *testing.T, dry, live []string) {
	t.Helper()
	rows := commandsIn(t, filepath.Join(root, "docs/service.md"), regexp.MustCompile("(?m)^\\| (`CAP_.*)$"))
	if len(rows) != len(dry)+len(live) {
		t.Errorf("%d rows", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(row, " | ")
		name, unit := strings.Trim(cells[0], "`"), cells[1]
		if want := map[bool]string{true: "both", false: "live"}[slices.Contains(dry, name)]; unit != want || !slices.Contains(append(slices.Clone(dry), live...), name) {
			t.Errorf("%s: the unit is %s", name, unit)
		}
		for _, fails := range withoutCapability[name] {
			if !strings.Contains(cells[2], fails) {
				t.Errorf("%s: it does not say that this fails without it: %s", name, fails)
			}
		}
	}
}
