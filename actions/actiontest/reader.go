package actiontest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// Reader is cat(1), reading a connection to its end.
type Reader struct {
	Out, Err strings.Builder // what it wrote; read it after End

	cmd   *exec.Cmd
	ended chan struct{}
}

// Read starts cat(1) as the only holder of the connection and returns when it waits for
// data.
func Read(t testing.TB, c *socklab.Conn) *Reader {
	t.Helper()
	must(t, "set blocking", unix.SetNonblock(c.FD, false))
	fd, err := unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, 3)
	must(t, "dup", err)
	c.CloseFD()
	r := &Reader{cmd: exec.Command("cat"), ended: make(chan struct{})}
	in := os.NewFile(uintptr(fd), "connection")
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr, r.cmd.Env = in, &r.Out, &r.Err, []string{"LC_ALL=C"}
	must(t, "start cat", r.cmd.Start())
	must(t, "close", in.Close())
	go func() {
		_ = r.cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended
	})
	call := fmt.Sprintf("%d 0x0 ", unix.SYS_READ)
	socklab.WaitFor(t, "cat to read", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", r.cmd.Process.Pid))
		return err == nil && strings.HasPrefix(string(b), call)
	})
	return r
}

// End waits until cat(1) has ended and returns its exit code.
func (r *Reader) End(t testing.TB) int {
	t.Helper()
	socklab.WaitFor(t, "the end of cat", func() bool {
		select {
		case <-r.ended:
			return true
		default:
			return false
		}
	})
	return r.cmd.ProcessState.ExitCode()
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
