package exec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors"
	"sockwarden/collectors/leash"
	"sockwarden/collectors/socklab"
)

// input runs a program that keeps its input.
func input(t *testing.T, target actions.Target) (text string, object map[string]any) {
	t.Helper()
	program := script(t, `cat > $(dirname $0)/input`)
	if out := await(t, started(t, program, 0, target)); out.Result != actions.Done {
		t.Fatalf("%+v", out)
	}
	text = said(t, program, "input")
	must(t, "decode", json.Unmarshal([]byte(text), &object))
	return text, object
}

// The finding is one line of JSON with the documented names, and only with known values.
func TestInput(t *testing.T) {
	actiontest.LeakCheck(t)
	h := actiontest.HeldOnProcess(t, socklab.HolderOptions{Comm: "x\"\n\xff\\"})
	h.Target.Labels = map[string]string{"severity": "warning", "note": "it's <hung> & \"old\"\n"}
	h.Target.Sockets[0].Facts.Age = collectors.Age{Min: 61.5, Source: collectors.AgeObserved}
	h.Target.Sockets[0].Facts.Known.Add(collectors.Fields(collectors.FieldAge, collectors.FieldAgeSource))
	text, got := input(t, h.Target)
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "}\n") {
		t.Errorf("not one line: %q", text)
	}
	sockets, _ := got["sockets"].([]any)
	if len(sockets) != 1 {
		t.Fatalf("sockets: %v", got["sockets"])
	}
	socket, _ := sockets[0].(map[string]any)
	delete(got, "sockets")
	want := map[string]any{
		"rule": "test", "host": "here", "labels": map[string]any{"severity": "warning", "note": "it's <hung> & \"old\"\n"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	for name, want := range map[string]any{
		"protocol": "tcp", "state": "CLOSE_WAIT", "age": 61.5, "age_source": "observed", "netns": "host", "host": "here",
		"local_addr": "10.9.0.1", "port": float64(h.Conn.Local.Port()), "remote_addr": "10.9.0.2", "remote_port": float64(h.Conn.Remote.Port()),
		"pid": float64(h.Holder.PID), "process": "x\"\n\ufffd\\", "inode": float64(h.Target.Sockets[0].Socket.Inode),
		"cookie": fmt.Sprintf("%x", h.Target.Sockets[0].Socket.Cookie), "uid": 0.0,
	} {
		if !reflect.DeepEqual(socket[name], want) {
			t.Errorf("%s: %v (%T), not %v", name, socket[name], socket[name], want)
		}
	}
	for name := range socket {
		if _, ok := collectors.FieldByName(name); !ok {
			t.Errorf("%s is not a documented field", name)
		}
	}
	if _, there := socket["age_max"]; there {
		t.Error("age_max is not known")
	}
}

// Nothing is null, and sockets without owners differ from those with several.
func TestInputOwners(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv6)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Keep: true})
	orphan := socklab.Make(t, socklab.FinWait2Orphan, socklab.IPv4)
	text, got := input(t, actions.Target{Rule: "r", Sockets: []actions.Sealed{actiontest.Sealed(t, c), actiontest.Sealed(t, orphan)}})
	if strings.Contains(text, "null") || !reflect.DeepEqual(got["labels"], map[string]any{}) {
		t.Errorf("%s", text)
	}
	sockets := got["sockets"].([]any)
	if len(sockets) != 2 {
		t.Fatalf("%s", text)
	}
	if owners := sockets[0].(map[string]any)["owner_processes"].([]any); len(owners) != 2 {
		t.Errorf("owners: %v", owners)
	}
	second := sockets[1].(map[string]any)
	if second["process"] != "" || second["owned"] != false || second["state"] != "FIN_WAIT2" {
		t.Errorf("an orphan: %v", second)
	}
}

// The input is much larger than a pipe holds, and the program need not read it.
func TestLongInput(t *testing.T) {
	actiontest.LeakCheck(t)
	one := target(t)
	one.Labels = map[string]string{"long": strings.Repeat("x", 3<<20)}
	text, _ := input(t, one)
	if len(text) < 3<<20 {
		t.Errorf("%d bytes", len(text))
	}
	if out := await(t, started(t, script(t, "exit 0"), 0, one)); out.Result != actions.Done {
		t.Errorf("not read: %+v", out)
	}
}

// The program's environment reveals nothing of ours.
func TestSurroundings(t *testing.T) {
	actiontest.LeakCheck(t)
	t.Setenv("SECRET", "x")
	// Descriptors that we inherited can lack FD_CLOEXEC.
	r, w, err := os.Pipe()
	must(t, "pipe", err)
	defer r.Close()
	defer w.Close()
	bare, err := unix.Dup(int(r.Fd()))
	must(t, "dup", err)
	defer unix.Close(bare)
	program := script(t, `cd "$(dirname $0)" && here=$OLDPWD
echo "$here" > cwd; echo "$#" > args
env -u PWD -u OLDPWD > env
ls -l /proc/self/fd > fds
cat /proc/self/stat > stat
`)
	if out := await(t, started(t, program, 0, target(t))); out.Result != actions.Done {
		t.Fatalf("%+v", out)
	}
	for name, want := range map[string]string{"cwd": "/\n", "args": "0\n"} {
		if got := said(t, program, name); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
	if got, want := lines(said(t, program, "env")), []string{"LANG=C", "PATH=" + leash.Path}; !slices.Equal(got, want) {
		t.Errorf("environment %q", got)
	}
	var fds []string
	for line := range strings.Lines(said(t, program, "fds")) {
		before, to, found := strings.Cut(line, " -> ")
		if words := strings.Fields(before); found && !strings.HasPrefix(to, "/proc/") { // not those of ls itself
			fds = append(fds, words[len(words)-1])
		}
	}
	if !slices.Equal(fds, []string{"0", "1", "2"}) {
		t.Errorf("descriptors %v:\n%s", fds, said(t, program, "fds"))
	}
	if fields := strings.Fields(said(t, program, "stat")); len(fields) < 6 || fields[4] == fmt.Sprint(unix.Getpgrp()) {
		t.Errorf("it is in our process group: %v", fields)
	}
}

func TestEndings(t *testing.T) {
	actiontest.LeakCheck(t)
	for name, c := range map[string]struct {
		body, detail, err string
		result            actions.Result
	}{
		"silent success":  {body: "exit 0", result: actions.Done},
		"success":         {body: "echo one; echo two >&2", result: actions.Done, detail: "one two"},
		"exit code":       {body: "echo it went wrong >&2; exit 3", result: actions.Failed, err: "exit code 3: it went wrong"},
		"silent failure":  {body: "exit 255", result: actions.Failed, err: "exit code 255"},
		"signal":          {body: "echo bye; kill -SEGV $$", result: actions.Failed, err: "ended by SIGSEGV: bye"},
		"killed":          {body: "kill -KILL $$", result: actions.Failed, err: "ended by SIGKILL"},
		"escape sequence": {body: `printf 'a\033[2Jb\a\r\n\tc\351\342\200\256d'`, result: actions.Done, detail: "a?[2Jb? c??d"},
		// Other paths to the same output.
		"device files": {body: "echo one > /dev/stderr; echo two > /dev/stdout", result: actions.Done, detail: "one two"},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, c.body)
			text := ""
			if out.Err != nil {
				text = out.Err.Error()
			}
			if out.Result != c.result || out.Detail != c.detail || text != c.err || out.Pending {
				t.Errorf("%+v", out)
			}
		})
	}
}

func TestString(t *testing.T) {
	e, err := prepare(t, "/bin/true", 0, target(t))
	must(t, "Prepare", err)
	if e.String() != "exec /bin/true" {
		t.Errorf("%q", e)
	}
}

// Nothing starts if nothing of the target is left, and the input omits what is gone.
func TestTargetGone(t *testing.T) {
	actiontest.LeakCheck(t)
	one, two := socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv4)
	both := actions.Target{Sockets: []actions.Sealed{actiontest.Sealed(t, one), actiontest.Sealed(t, two)}}
	one.CloseFD()
	socklab.WaitFor(t, "the end of the socket", func() bool { _, there := one.Now(); return !there })
	_, got := input(t, both)
	if sockets := got["sockets"].([]any); len(sockets) != 1 || sockets[0].(map[string]any)["port"] != float64(two.Local.Port()) {
		t.Errorf("%v", got)
	}

	program := script(t, "> $(dirname $0)/ran")
	e, err := prepare(t, program, 0, both)
	must(t, "Prepare", err)
	must(t, "shutdown", unix.Shutdown(two.Peer, unix.SHUT_WR))
	socklab.WaitFor(t, "CLOSE_WAIT", func() bool { state, _ := two.Now(); return state == collectors.CloseWait })
	for range 2 {
		if out := e.Apply(t.Context()); out.Result != actions.Changed || out.Err != nil {
			t.Errorf("Apply: %+v", out)
		}
	}
	if out := e.Verify(t.Context()); out.Result != actions.Changed {
		t.Errorf("Verify: %+v", out)
	}
	if e, err := prepare(t, program, 0, both); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("Prepare: %v, %v", e, err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(program), "ran")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was started: %v", err)
	}
	childless(t)
}

// Sockets are looked up in their own namespaces.
func TestOtherNamespace(t *testing.T) {
	actiontest.LeakCheck(t)
	n := socklab.NewNamespace(t, "other")
	fd, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, "socket", err)
	defer unix.Close(fd)
	must(t, "listen", unix.Listen(fd, 1))
	all := actiontest.SealAll(t, collectors.TCP, func() (*os.File, error) { return os.Open("/run/netns/other") })
	if len(all) != 1 {
		t.Fatalf("the namespace has %+v", all)
	}
	_, got := input(t, actions.Target{Sockets: all})
	if socket := got["sockets"].([]any)[0].(map[string]any); socket["netns"] != "other" || socket["state"] != "LISTEN" {
		t.Errorf("%v", socket)
	}
	for name, c := range map[string]struct{ err, want error }{
		"namespace gone": {fs.ErrNotExist, collectors.ErrGone},
		"not permitted":  {unix.EACCES, collectors.ErrNotPermitted},
		"other error":    {unix.EMFILE, unix.EMFILE},
	} {
		broken := all[0]
		broken.Open = func() (*os.File, error) { return nil, fmt.Errorf("open: %w", c.err) }
		e, err := prepare(t, "/bin/true", 0, actions.Target{Sockets: []actions.Sealed{broken}})
		if e != nil || !errors.Is(err, c.want) || errors.Is(err, collectors.ErrGone) != errors.Is(c.want, collectors.ErrGone) {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
	home := all[0]
	home.Open = nil
	if e, err := prepare(t, "/bin/true", 0, actions.Target{Sockets: []actions.Sealed{home}}); e != nil || !errors.Is(err, collectors.ErrGone) {
		t.Errorf("in our namespace: %v, %v", e, err)
	}
}

// A command of the system is looked up in fixed places, whatever our own PATH is.
func TestNewCommand(t *testing.T) {
	actiontest.LeakCheck(t)
	t.Setenv("PATH", t.TempDir())
	e, err := NewCommand("print", 0, "printf", "%s|", "a b", "$HOME", "")
	must(t, "NewCommand", err)
	cmd := e.(*effect)
	cmd.timeout = defaultTimeout
	t.Cleanup(func() { end(t, e) })
	if out := e.Apply(t.Context()); out.Result != actions.Done || e.String() != "print" {
		t.Errorf("Apply: %s, %+v", e, out)
	}
	if out := await(t, e); out.Result != actions.Done || out.Detail != "a b|$HOME||" {
		t.Errorf("%+v", out)
	}
	if e, err := NewCommand("x", 0, "no-such-command"); e != nil || !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, %v", e, err)
	}
}

// A connection that waits to be accepted has no process, so its input names the listener.
func TestListenersAreDescribed(t *testing.T) {
	listener := actions.Listener{
		Socket: collectors.Socket{Local: collectors.AddrFrom(netip.MustParseAddr("192.0.2.1")), LocalPort: 8080, Inode: 7},
		Owners: []collectors.Owner{{PID: 77, Name: "web", Unit: "web.service"}},
	}
	b, err := json.Marshal(describe(actions.Target{Sockets: []actions.Sealed{{Listeners: []actions.Listener{listener}}, {}}}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `"listeners":[{"local_addr":"192.0.2.1","owners":[{"container_id":"","pid":77,"process":"web","unit":"web.service"}],"port":8080}]`
	if strings.Count(string(b), want) != 1 || strings.Count(string(b), "listeners") != 1 {
		t.Errorf("%s", b)
	}
}
