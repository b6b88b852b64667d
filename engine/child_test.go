package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/catalog"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// envChild makes the test binary live one of the lives below.
const envChild = "ENGINE_CHILD"

// orders tell a child, in its environment, what to do.
type orders struct {
	Life  string
	Rules string // a file
	State string
	// Proc mounts /proc anew; Share passes the sockets on to a process of the child's
	// own.
	Proc, Share bool
	Allow       bool // --allow-unknown-owner
	Owners      world.OwnerSource
	Pumps       [][2]int // descriptors to move data from and to
	// Shift puts the child in a time namespace of its own, with CLOCK_MONOTONIC that many
	// seconds ahead; 0 for none.
	Shift int
	// Limit is a file in /proc/sys/user that is 0 until the child is told to raise it.
	Limit string
}

// lives are what children do, in processes of their own. Each says READY first and ends
// when its standard input does.
var lives = map[string]func(orders) error{
	"engine": engineLife, "ancestor": ancestorLife, "counter": counterLife, "locker": lockerLife, "writer": writerLife,
	"inetd": inetdLife, "keeper": keeperLife, "pumps": pumpsLife, "poller": pollerLife,
}

// runChild returns if this process is not a child.
func runChild() {
	text, is := os.LookupEnv(envChild)
	if !is {
		return
	}
	var o orders
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = lives[o.Life](o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func childCommand(o orders, conns ...*socklab.Conn) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	if o.Shift != 0 {
		cmd = exec.Command("unshare", "--time", "--monotonic", strconv.Itoa(o.Shift), "--fork", "--kill-child", exe)
	}
	cmd.Env = append(os.Environ(), envChild+"="+string(text))
	cmd.Stderr = os.Stderr
	for _, c := range conns {
		fd, err := unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, err
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(fd), "socket"))
	}
	return cmd, nil
}

// child is a running child process.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startChild starts a child and hands the sockets over to it.
func startChild(t testing.TB, o orders, conns ...*socklab.Conn) *child {
	t.Helper()
	cmd, err := childCommand(o, conns...)
	must(t, "child", err)
	return runCommand(t, cmd, "", conns...)
}

// runCommand is startChild for a ready-made command, with a login uid unless login is "".
func runCommand(t testing.TB, cmd *exec.Cmd, login string, conns ...*socklab.Conn) *child {
	t.Helper()
	var err error
	c := &child{Cmd: cmd}
	c.in, err = cmd.StdinPipe()
	must(t, "stdin", err)
	out, err := cmd.StdoutPipe()
	must(t, "stdout", err)
	c.out = bufio.NewReader(out)
	must(t, "start", socklab.StartLoggedIn(cmd, login))
	t.Cleanup(func() {
		_ = c.in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, f := range cmd.ExtraFiles {
		must(t, "hand over", f.Close())
	}
	for _, conn := range conns {
		conn.CloseFD()
	}
	if got := c.line(t); got != "READY" {
		t.Fatalf("child says %q", got)
	}
	return c
}

func (c *child) line(t testing.TB) string {
	t.Helper()
	text, err := c.out.ReadString('\n')
	must(t, "child's line", err)
	return strings.TrimSuffix(text, "\n")
}

// rest ends the child and returns what it says.
func (c *child) rest(t testing.TB) string {
	t.Helper()
	must(t, "close stdin", c.in.Close())
	b, err := io.ReadAll(c.out)
	must(t, "child's lines", err)
	return string(b)
}

func waitForEOF() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func childEngine(o orders) (*Engine, *rules.Program, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	all, err := actions.NewRegistry(realActions(log)...)
	if err != nil {
		return nil, nil, err
	}
	p, _, err := rules.Load(rules.Options{Paths: []string{o.Rules}, Catalog: catalog.New(all)})
	if err != nil {
		return nil, nil, err
	}
	e, err := New(Options{
		Sources: []collectors.Plugin{sockdiag.Plugin(), procnet.Plugin()},
		Logger:  log, Live: true, StateFile: o.State, AllowUnknownOwner: o.Allow, Owners: o.Owners,
	})
	return e, p, err
}

// engineLife runs one live cycle and prints what came of it.
func engineLife(o orders) error {
	companion, err := settleIn(o)
	if err != nil {
		return err
	}
	defer companion()
	fmt.Println("READY")
	e, p, err := childEngine(o)
	if err != nil {
		return err
	}
	defer e.Close()
	r, err := e.Cycle(context.Background(), p)
	if err != nil {
		return err
	}
	e.Finish(context.Background(), r)
	fmt.Println(describe(r))
	return errors.Join(r.Errors...)
}

// settleIn sets up the surroundings of the process as ordered; end ends the process that
// it shares its sockets with.
func settleIn(o orders) (end func(), err error) {
	if o.Proc {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return nil, fmt.Errorf("mount /proc: %w", err)
		}
	}
	if !o.Share {
		return func() {}, nil
	}
	cat := exec.Command("cat")
	cat.Stderr = os.Stderr
	cat.ExtraFiles = []*os.File{os.NewFile(3, "socket")}
	in, err := cat.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cat.Start(); err != nil {
		return nil, err
	}
	end = func() {
		_ = in.Close()
		_ = cat.Wait()
	}
	return end, cat.ExtraFiles[0].Close()
}

// ancestorLife runs an engine as a grandchild.
func ancestorLife(o orders) error {
	o.Life = "engine"
	cmd, err := childCommand(o)
	if err != nil {
		return err
	}
	cmd.Stdout = os.Stdout
	if err := cmd.Run(); err != nil {
		return err
	}
	return waitForEOF()
}

// counterLife counts SIGUSR1 and prints how many there were.
func counterLife(orders) error {
	got := make(chan os.Signal, 1000)
	signal.Notify(got, unix.SIGUSR1)
	fmt.Println("READY")
	err := waitForEOF()
	fmt.Println(len(got))
	return err
}

// lockerLife is a live run on the state file.
func lockerLife(o orders) error {
	e, _, err := childEngine(o)
	if err != nil {
		return err
	}
	defer e.Close()
	fmt.Println("READY")
	return waitForEOF()
}

// writtenCooldowns is how many there are in the file of writerLife: enough that a reader would
// often find it half written.
const writtenCooldowns = 5000

// writerLife replaces the state file again and again.
func writerLife(o orders) error {
	s, m, err := memory.OpenState(o.State, true, world.Mono)
	if err != nil {
		return err
	}
	for i := range writtenCooldowns {
		m.Cooldowns["socket "+strconv.Itoa(i)] = memory.Cooldown{At: 1, Until: 1e12}
	}
	if err := s.Write(m); err != nil {
		return err
	}
	fmt.Println("READY")
	for {
		if err := s.Write(m); err != nil {
			return err
		}
	}
}
