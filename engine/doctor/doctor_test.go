package doctor

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/abort"
	"sockwarden/actions/destroy"
	"sockwarden/actions/exec"
	"sockwarden/actions/log"
	"sockwarden/actions/repair"
	"sockwarden/actions/restart"
	"sockwarden/actions/shutdown"
	"sockwarden/actions/signal"
	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/stuck"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// byName returns the checks by their names, which must differ.
func byName(t testing.TB, checks []Check) map[string]Check {
	t.Helper()
	all := map[string]Check{}
	for _, c := range checks {
		if _, twice := all[c.Name]; twice || c.Name == "" || c.Detail == "" {
			t.Errorf("twice %t: %+v", twice, c)
		}
		if c.Level != OK && c.Level != Warn && c.Level != Fail {
			t.Errorf("level of %+v", c)
		}
		all[c.Name] = c
	}
	return all
}

// runWithout runs the checks without some capabilities.
func runWithout(t *testing.T, p *rules.Program, drop ...int) map[string]Check {
	t.Helper()
	var checks []Check
	must(t, "without capabilities", socklab.WithoutCapability(t, func() error {
		checks = Run(stuck.OnThisThread(t.Context()), plan(t, p))
		return nil
	}, drop...))
	return byName(t, checks)
}

// plan is a live run with a state file of its own.
func plan(t testing.TB, p *rules.Program) *Plan {
	t.Helper()
	return &Plan{Program: p, Actions: all(t), StateFile: filepath.Join(t.TempDir(), "state.json")}
}

func works(checks map[string]Check) bool {
	var all []Check
	for _, c := range checks {
		all = append(all, c)
	}
	return Works(all)
}

// sockets returns all sockets of the namespace, by cookie.
func sockets(t testing.TB) map[uint64]string {
	t.Helper()
	all := map[uint64]string{}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP, collectors.UDP}, States: collectors.AllStates}
	for s, err := range sockdiag.Plugin().New(-1).Collect(t.Context(), q) {
		must(t, "dump", err)
		all[s.Cookie] = fmt.Sprintf("%s %s port %d", s.Protocol, s.State, s.LocalPort)
	}
	return all
}

// leavesNothing fails the test if there are new sockets afterwards.
func leavesNothing(t *testing.T, f func()) {
	t.Helper()
	before := sockets(t)
	f()
	for cookie, s := range sockets(t) {
		if _, was := before[cookie]; !was {
			t.Errorf("left behind: %s", s)
		}
	}
}

// With everything that it needs, a live run would work, and each check says what it
// found.
func TestAllWell(t *testing.T) {
	socklab.LeakCheck(t)
	socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	checks := byName(t, Run(t.Context(), plan(t, nil)))
	for name, detail := range map[string]string{
		"kernel": "Linux ", "kernel option": "CONFIG_INET_DIAG_DESTROY", "sock_diag": " tcp, ", "MPTCP": "0 mptcp sockets to be seen", "self-test": "destroyed and is gone",
		"CAP_NET_ADMIN": "destroying", "CAP_SYS_PTRACE": "owners", "CAP_DAC_READ_SEARCH": "descriptors", "CAP_KILL": "signalling", "CAP_SYS_ADMIN": "namespaces",
		"namespaces": "1 network namespace besides", "/proc": "all processes", "cgroups": "version", "containers": "no engine listens", "BPF": "owners",
		"state file": "can be written", "pause": "none is in force", "silences": "none is in force", "inotify": "watch hears",
	} {
		c, ok := checks[name]
		if !ok || c.Level != well(name) || !strings.Contains(c.Detail, detail) || c.Cure != "" {
			t.Errorf("%s: %+v (%t)", name, c, ok)
		}
		delete(checks, name)
	}
	if len(checks) > 0 {
		t.Errorf("unexpected: %v", checks)
	}
}

// well is the level of a check that finds everything in order on this kernel.
func well(name string) Level {
	if name == "kernel" && socklab.KernelBefore(6, 11) {
		return Warn
	}
	return OK
}

// The checks name what is missing, with the cure, and say whether a live run would work.
func TestWithoutCapabilities(t *testing.T) {
	for _, test := range []struct {
		drop  int
		name  string
		level Level
		also  map[string]Level // other checks that suffer
	}{
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", Fail, map[string]Level{"self-test": Fail}},
		{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", Fail, nil},
		{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", Fail, nil},
		{unix.CAP_KILL, "CAP_KILL", Warn, nil},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", Warn, nil}, // other threads of the tests still have it
	} {
		t.Run(test.name, func(t *testing.T) {
			checks := runWithout(t, nil, test.drop)
			if c := checks[test.name]; c.Level != test.level || !strings.HasPrefix(c.Detail, "missing, needed for ") || c.Cure == "" {
				t.Errorf("%+v", c)
			}
			for name, c := range checks {
				want, suffers := test.also[name]
				if !suffers {
					want = well(name)
				}
				if name != test.name && c.Level != want || suffers && c.Cure == "" {
					t.Errorf("%+v, want %s", c, want)
				}
			}
			if works(checks) != (test.level != Fail) {
				t.Errorf("works: %t", works(checks))
			}
		})
	}
}

// The self-test leaves neither sockets nor descriptors behind, whether or not it can
// destroy its connection, and harms no other.
func TestSelfTest(t *testing.T) {
	socklab.LeakCheck(t)
	var others []*socklab.Conn
	for _, k := range []socklab.Kind{socklab.Established, socklab.CloseWait, socklab.Listen} {
		others = append(others, socklab.Make(t, k, socklab.IPv4))
	}
	leavesNothing(t, func() {
		for range 20 {
			must(t, "self-test", selfTest(t.Context()))
		}
	})
	leavesNothing(t, func() {
		err := socklab.WithoutCapability(t, func() error { return selfTest(stuck.OnThisThread(t.Context())) }, unix.CAP_NET_ADMIN)
		if !errors.Is(err, collectors.ErrNotPermitted) {
			t.Errorf("without capability: %v", err)
		}
	})
	for _, c := range others {
		if s, ok := c.Now(); !ok || s != c.Kind.State() {
			t.Errorf("%s is %s", c.Kind, s)
		}
	}
}

// Without a usable loopback there is no self-test, and the check says so.
func TestSelfTestWithoutLoopback(t *testing.T) {
	n := socklab.NewNamespace(t, "dark")
	err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		ifr, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil { // down
			return err
		}
		start := time.Now()
		if c := destroyOwnPair(t.Context()); c.Level != Fail || !strings.HasSuffix(c.Detail, "is the interface lo up?") {
			t.Errorf("%+v", c)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		return nil
	})
	must(t, "in the namespace", err)
}

// all are the program's actions, or similar ones.
func all(t testing.TB) *actions.Registry {
	t.Helper()
	return registry(t, destroy.Plugin(), abort.Plugin(), shutdown.Plugin(), repair.Plugin(), signal.Plugin(), restart.Plugin(), exec.Plugin(),
		log.Plugin(slog.New(slog.DiscardHandler)))
}

func registry(t testing.TB, plugins ...actions.Plugin) *actions.Registry {
	t.Helper()
	r, err := actions.NewRegistry(plugins...)
	must(t, "registry", err)
	return r
}

// program compiles rules with all actions.
func program(t testing.TB, text string) *rules.Program {
	t.Helper()
	return programOf(t, all(t), text)
}

// programOf compiles rules with some actions.
func programOf(t testing.TB, some *actions.Registry, text string) *rules.Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	must(t, "write", os.WriteFile(path, []byte("version: 1\nrules:\n"+text), 0o600))
	p, _, err := rules.Load(rules.Options{Paths: []string{path}, Catalog: catalog.New(some)})
	must(t, "load", err)
	return p
}

// For each rule the doctor says what it could not do here. That alone does not keep a
// live run from working.
func TestRules(t *testing.T) {
	p := program(t, `
  - {name: destroys, when: port == 1, then: [destroy]}
  - {name: takes, when: port == 1, then: [{destroy: {method: pidfd}}]}
  - {name: signals, when: port == 1, then: [log, {signal: TERM}, {signal: KILL}]}
  - {name: repairs, when: port == 1, then: [repair]}
  - {name: shuts, when: port == 1, then: [shutdown, abort]}
  - {name: asks, when: process == "nginx", then: [log]}
  - {name: excepts, when: port == 1, unless: user == "root", then: [log]}
  - {name: groups, when: port == 1, group: [pid, port], having: count > 1, then: [log]}
  - {name: ends, when: peer_pid == 7, unless: 'peer_process == "nginx"', then: [log]}
  - {name: logs, when: port == 1, group: port, having: count > 1, then: [log]}
`)
	const fine = "could do all that it says"
	names := []string{"destroys", "takes", "signals", "repairs", "shuts", "asks", "excepts", "groups", "ends", "logs"}
	for name, test := range map[string]struct {
		drop int
		want map[string]string
	}{
		"nothing": {-1, nil},
		"CAP_NET_ADMIN": {unix.CAP_NET_ADMIN, map[string]string{
			"destroys": "destroy would not work (CAP_NET_ADMIN, self-test)",
		}},
		"CAP_KILL": {unix.CAP_KILL, map[string]string{"signals": "signal would not work (CAP_KILL)"}},
		"CAP_SYS_PTRACE": {unix.CAP_SYS_PTRACE, map[string]string{
			"takes": "destroy would not work (CAP_SYS_PTRACE)", "signals": "signal would not work (CAP_SYS_PTRACE)",
			"repairs": "repair would not work (CAP_SYS_PTRACE)", "shuts": "shutdown would not work (CAP_SYS_PTRACE); abort would not work (CAP_SYS_PTRACE)",
			"asks": "owners of other users' sockets are unknown to its condition", "excepts": "its exception spares all sockets of other users",
			"groups": "sockets of other users are in no group by pid",
			"ends":   "owners of other users' sockets are unknown to its condition; its exception spares all sockets of other users",
		}},
		"CAP_SYS_ADMIN": {unix.CAP_SYS_ADMIN, map[string]string{
			"ends": "other ends that are in other network namespaces, or nowhere here, are unknown to its condition; " +
				"its exception may spare all connections but those within a namespace",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var checks map[string]Check
			if test.drop < 0 {
				checks = byName(t, Run(t.Context(), plan(t, p)))
			} else {
				checks = runWithout(t, p, test.drop)
			}
			for _, rule := range names {
				c, want := checks["rule "+rule], Check{Name: "rule " + rule, Level: OK, Detail: fine}
				if lacks := test.want[rule]; lacks != "" {
					want.Level, want.Detail = Warn, lacks
				}
				if c != want {
					t.Errorf("%+v, want %+v", c, want)
				}
				delete(checks, "rule "+rule)
			}
			if works(checks) != (test.drop == -1 || test.drop == unix.CAP_KILL || test.drop == unix.CAP_SYS_ADMIN) {
				t.Errorf("works: %t", works(checks))
			}
		})
	}
}

// What each kernel can do, by its version.
func TestKernelRelease(t *testing.T) {
	for release, want := range map[string]Level{
		"4.4.0-210-generic": Fail, "4.8.17": Fail, "3.10.0": Fail, "4.9.337": Warn, "4.10.0": Warn, "5.5.19": Warn, "5.6.0": Warn,
		"6.1.0-13-amd64": Warn, "6.10.14": Warn, "6.11.0": OK, "6.18.5": OK, "7.0.0-rc1": OK, "10.2": OK, "odd": OK,
	} {
		c := kernelRelease(host.ParseKernel(release), all(t))
		if c.Level != want || !strings.HasPrefix(c.Detail, "Linux "+release) || (c.Cure != "") != (want == Fail) {
			t.Errorf("%+v, want %s", c, want)
		}
	}
	for release, detail := range map[string]string{
		"5.2.0": "no pidfd_getfd (5.6), so no abort, shutdown and repair; no pidfd_open (5.3), so no signal",
		"5.5.0": "no pidfd_getfd (5.6), so no abort, shutdown and repair", "5.6.0": "FIN_WAIT1 orphans",
	} {
		if c := kernelRelease(host.ParseKernel(release), all(t)); !strings.Contains(c.Detail, detail) {
			t.Errorf("%+v, not %q", c, detail)
		}
	}
}

// The configuration of a kernel, compressed or not.
func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	const text = "CONFIG_A=y\nCONFIG_INET_DIAG_DESTROY=y\n"
	plain, packed, odd := filepath.Join(dir, "config"), filepath.Join(dir, "config.gz"), filepath.Join(dir, "odd.gz")
	must(t, "write", os.WriteFile(plain, []byte(text), 0o600))
	must(t, "write", os.WriteFile(odd, []byte(text), 0o600))
	f, err := os.Create(packed)
	must(t, "create", err)
	z := gzip.NewWriter(f)
	_, err = z.Write([]byte(text))
	must(t, "write", errors.Join(err, z.Close(), f.Close()))
	for _, path := range []string{plain, packed} {
		if got, err := readConfig(path); err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for _, path := range []string{odd, filepath.Join(dir, "none")} {
		if got, err := readConfig(path); err == nil {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// In JSON, a check without a cure has no such field.
func TestCheckJSON(t *testing.T) {
	b, err := json.Marshal([]Check{{Name: "a", Level: OK, Detail: "b"}, {Name: "c", Level: Fail, Detail: "d", Cure: "e"}})
	must(t, "marshal", err)
	if want := `[{"name":"a","level":"ok","detail":"b"},{"name":"c","level":"fail","detail":"d","cure":"e"}]`; string(b) != want {
		t.Errorf("%s", b)
	}
}

// A rule whose action needs a missing program gets a check that says so.
func TestProgramOfAction(t *testing.T) {
	for mode, level := range map[rules.Mode]Level{rules.ModeEnforce: Fail, rules.ModeObserve: Warn} {
		p := program(t, "  - {name: r, mode: "+string(mode)+", when: port == 1, then: [log, {exec: /none/such}]}\n")
		checks := ruleChecks(t.Context(), &Plan{Program: p, Actions: all(t)}, nil)
		want := Check{Name: "rule r", Level: level, Detail: "exec would not work: program /none/such: no such file or directory"}
		if len(checks) != 1 || checks[0] != want {
			t.Errorf("%+v, want %+v", checks, want)
		}
	}
}
