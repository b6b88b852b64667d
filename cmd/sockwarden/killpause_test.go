package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
	"sockwarden/engine/pause"
)

// terminal returns the two ends of a pseudo terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	unlock := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err := errors.Join(unlock, err); err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// A pause that somebody sets while kill asks counts: kill does nothing, and its exit code
// says so.
func TestPauseWhileKillAsks(t *testing.T) {
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}})
	master, slave := terminal(t)
	var errs strings.Builder
	cmd := exec.Command(build(t), "kill", "-p", fmt.Sprint(c.Local.Port()), "--rules", "builtin", "--no-color")
	cmd.Stdin, cmd.Stderr = slave, &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	stdout := bufio.NewReader(out)
	if shown, err := stdout.ReadString('?'); err != nil || !strings.Contains(shown, "1 TCP connection would be reset") {
		t.Errorf("%q, %v", shown, err)
	}
	pausing := pause.Pause{Since: time.Now(), Until: time.Now().Add(time.Hour), By: "anna"}
	if err := pausing.Write(pause.Machine); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = pause.Resume(pause.Machine) })
	if _, err := master.WriteString("y\n"); err != nil {
		t.Fatal(err)
	}
	rest, _ := stdout.ReadString(0)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitForbidden || !strings.Contains(rest, "gone 0") ||
		!strings.Contains(errs.String(), "by anna until "+pausing.End()+": what had not begun was left alone") || !strings.Contains(errs.String(), "--despite-pause") {
		t.Errorf("exit code %d\n%s%s", code, rest, errs.String())
	}
	if state, ok := c.Now(); !ok || state != c.Kind.State() {
		t.Errorf("the connection is %v, %v", state, ok)
	}
}
