package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sockwarden/collectors/socklab"
	"sockwarden/engine/pause"
)

// update makes golden rewrite its files: UPDATE_GOLDEN=1 go test ./cmd/sockwarden.
var update = os.Getenv("UPDATE_GOLDEN") == "1"

func TestMain(m *testing.M) {
	commands := map[string]func(){
		"sockwarden":  func() { os.Exit(realMain()) },
		"holdsockets": holdSockets,
		"nonetlink":   noNetlink,
		"behave":      behave,
	}
	if _, isCommand := commands[filepath.Base(os.Args[0])]; !isCommand {
		socklab.Enter()
		socklab.Waiting()
	}
	testscript.Main(cleaning{m}, commands)
}

// cleaning runs the tests and then removes the program that they built.
type cleaning struct{ m *testing.M }

func (c cleaning) Run() int {
	code := c.m.Run()
	if binary != "" {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
	return code
}

// TestScripts runs testdata/script/*.txt, each in a network namespace of its
// own ($NETNS) and with a private state file. Besides the commands of testscript there are
//
//	sw [-exit N] ARGS...       sockwarden, which must exit with N (0)
//	refused ARGS  ...          sw where the kernel refuses netlink sockets
//	server NAME ARGS...        a background process with sockets, see holdSockets
//	unprivileged ARGS...       sw as nobody, without capabilities
//	service ARGS...            sw as nobody, with what a live run needs
//	blind ARGS...              sw as nobody, who may destroy but not see whose sockets
//	told ARGS...               the same, but may also ask the kernel by BPF
//	lesser ARGS...             sw as root, who may not see what others hold
//	golden NAME                compares stdout, made repeatable, with testdata/golden
//	alive NAME, ! alive NAME   whether that process still runs; end NAME ends it
func TestScripts(t *testing.T) { scripts(t, "testdata/script") }

// TestSerialScripts runs the script that throws a switch for the whole machine.
func TestSerialScripts(t *testing.T) {
	t.Cleanup(func() { _, _ = pause.Resume(pause.Machine) }) // what a failed script leaves would hold up all others
	scripts(t, "testdata/serial")
}

func scripts(t *testing.T, dir string) {
	socklab.Need(t)
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup:               setupScript,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"sw":           func(ts *testscript.TestScript, _ bool, args []string) { sw(ts, nil, args) },
			"unprivileged": func(ts *testscript.TestScript, _ bool, args []string) { sw(ts, nobody, args) },
			"service":      func(ts *testscript.TestScript, _ bool, args []string) { sw(ts, service, args) },
			"blind":        func(ts *testscript.TestScript, _ bool, args []string) { sw(ts, asNobody("net_admin"), args) },
			"told": func(ts *testscript.TestScript, _ bool, args []string) {
				sw(ts, asNobody("net_admin", "bpf", "perfmon"), args)
			},
			"lesser":  func(ts *testscript.TestScript, _ bool, args []string) { sw(ts, lesser, args) },
			"refused": func(ts *testscript.TestScript, _ bool, args []string) { sw(ts, []string{"nonetlink"}, args) },
			"server":  server,
			"golden":  golden,
			"end":     endServer,
			"alive":   alive,
		},
	})
}

// nobody runs a command as uid 65534 without any capability.
var nobody = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"}

// service runs a command as uid 65534 with what a service's user would have.
var service = asNobody("net_admin", "sys_ptrace", "dac_read_search")

// lesser runs a command as root without what it needs to see what others hold.
var lesser = []string{"setpriv", "--bounding-set=-sys_ptrace,-dac_read_search,-dac_override,-bpf,-perfmon,-sys_admin"}

// asNobody runs a command as uid 65534 with some capabilities.
func asNobody(capabilities ...string) []string {
	caps := "+" + strings.Join(capabilities, ",+")
	return []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=" + caps, "--ambient-caps=" + caps}
}

type netnsKey struct{}

type serversKey struct{}

func setupScript(env *testscript.Env) error {
	name := "s" + strconv.Itoa(os.Getpid()) + "-" + strings.TrimSuffix(filepath.Base(env.WorkDir), ".txt")
	name = regexp.MustCompile(`[^a-z0-9-]`).ReplaceAllString(name, "-")
	if len(name) > 60 {
		name = name[:60]
	}
	for _, args := range [][]string{{"netns", "add", name}, {"-n", name, "link", "set", "lo", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	servers := map[string]*exec.Cmd{}
	env.Values[netnsKey{}] = name
	env.Values[serversKey{}] = servers
	env.Defer(func() {
		for _, cmd := range servers {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip netns del %s: %v: %s\n", name, err, out)
		}
	})
	for _, name := range []string{socklab.EnvInside, socklab.EnvRace} {
		env.Setenv(name, os.Getenv(name))
	}
	examples, err := filepath.Abs(filepath.Join(root, "examples"))
	if err != nil {
		return err
	}
	env.Setenv("EXAMPLES", examples)
	env.Setenv("NO_COLOR", "1")
	env.Setenv("NETNS", name)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("STATE", filepath.Join(env.WorkDir, "state.json"))
	// Scripts run in parallel: the unprivileged must reach the program and the files.
	return errors.Join(os.Chmod(filepath.Dir(env.WorkDir), 0o755), os.Chmod(env.WorkDir, 0o755))
}

// sw runs sockwarden in the script's namespace.
func sw(ts *testscript.TestScript, prefix, args []string) {
	want := 0
	if len(args) > 1 && args[0] == "-exit" {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		want, args = n, args[2:]
	}
	name, _ := ts.Value(netnsKey{}).(string)
	full := append([]string{"netns", "exec", name}, prefix...)
	full = append(append(full, "sockwarden"), args...)
	err := ts.Exec("ip", full...)
	got := 0
	var exit *exec.ExitError
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // as testscript returns it
			exit = e
			got = exit.ExitCode()
		} else {
			ts.Fatalf("sockwarden: %v", err)
		}
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// server starts a background process with sockets and waits until they exist.
func server(ts *testscript.TestScript, _ bool, args []string) {
	name, _ := ts.Value(netnsKey{}).(string)
	servers, _ := ts.Value(serversKey{}).(map[string]*exec.Cmd)
	cmd := exec.Command("ip", append([]string{"netns", "exec", name, "holdsockets"}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	path, err := exec.LookPath("ip")
	ts.Check(err)
	cmd.Path = path
	ts.Check(cmd.Start())
	servers[args[0]] = cmd
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "READY\n" {
		ts.Fatalf("server %v: %q %v", args, line, err)
	}
	ts.Setenv("PID_"+args[0], strconv.Itoa(cmd.Process.Pid))
}

func endServer(ts *testscript.TestScript, _ bool, args []string) {
	servers, _ := ts.Value(serversKey{}).(map[string]*exec.Cmd)
	ts.Check(servers[args[0]].Process.Kill())
	_ = servers[args[0]].Wait()
	delete(servers, args[0])
}

// alive checks whether a server still runs.
func alive(ts *testscript.TestScript, neg bool, args []string) {
	servers, _ := ts.Value(serversKey{}).(map[string]*exec.Cmd)
	cmd := servers[args[0]]
	if neg {
		_ = cmd.Wait() // returns if it has ended; otherwise the test hangs and says so
		delete(servers, args[0])
		return
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		ts.Fatalf("server %s: %v", args[0], err)
	}
}

// repeatable replaces what differs from run to run.
var repeatable = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\[\d+\]`), "[PID]"},
	{regexp.MustCompile(`generation [0-9a-f]{7}`), "generation GENERATI"},
	{regexp.MustCompile(`\(\d+\.\d\ds\)`), "(TIME)"},
	{regexp.MustCompile(`127\.0\.0\.1:[3-6]\d{4}`), "127.0.0.1:EPHEMERAL"},
	{regexp.MustCompile(`timewait \d+s`), "timewait Ns"},
	{regexp.MustCompile(`note: \d+ sockets? in \d+ other network namespaces? not looked at; --netns all shows them\n`), ""},
	{regexp.MustCompile(` +((>=)?\d+s|\?) `), " AGE "},
	{regexp.MustCompile(`(?m) +((>=)?\d+s|\?)$`), " AGE"},
	{regexp.MustCompile(`within [0-9ms]+,`), "within TIME,"},
	{regexp.MustCompile(`\(\d+ of \d+\)`), "(FDS of LIMIT)"},
	{regexp.MustCompile(`go1\.\S+ \S+`), "GOVERSION PLATFORM"},
	{regexp.MustCompile(`devel\S*`), "VERSION"},
	{regexp.MustCompile(`\d+/\d+ `), "FDS/LIMIT "},
	{regexp.MustCompile(` {2,}`), "  "},
}

func repeated(text string) string {
	for _, r := range repeatable {
		text = r.re.ReplaceAllString(text, r.with)
	}
	return text
}

func golden(ts *testscript.TestScript, _ bool, args []string) {
	got := ts.ReadFile("stdout")
	got = repeated(strings.ReplaceAll(got, ts.Getenv("WORK"), "$WORK"))
	dir, _ := os.Getwd()
	path := filepath.Join(dir, "testdata/golden", args[0])
	if update {
		ts.Check(os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	ts.Check(err)
	if got != string(want) {
		ts.Fatalf("stdout differs from %s; UPDATE_GOLDEN=1 rewrites it\n--- want\n%s\n--- got\n%s", args[0], want, got)
	}
}
