package doctor

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// envInner turns the test into the inner process, with /proc mounted as its value says.
const envInner = "DOCTOR_TEST_INNER"

// inner returns what processes reports in a child made as given.
func inner(t *testing.T, mount string, attr *syscall.SysProcAttr) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()[:strings.IndexByte(t.Name()+"/", '/')]+"$", "-test.v")
	cmd.Env = append(os.Environ(), envInner+"="+mount)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// The check says what cannot be seen, with the cure.
func TestProcesses(t *testing.T) {
	if mount, is := os.LookupEnv(envInner); is {
		if mount != "" {
			must(t, "mount", unix.Mount("proc", "/proc", "proc", 0, ""))
		}
		c := processes(t.Context())
		fmt.Printf("%s: %s (%s)\n", c.Level, c.Detail, c.Cure)
		return
	}
	socklab.Need(t)
	inside := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	for _, test := range []struct {
		name, mount, want string
		attr              *syscall.SysProcAttr
		socket            bool
	}{
		{"all", "", "ok: all processes of this PID namespace are listed, and hold all sockets of its network ()", nil, true},
		{"inside, nobody outside", "proc", "ok: all processes of this PID namespace are listed", inside, false},
		{"inside", "proc", "fail: this PID namespace does not show who holds 1 socket here: live runs spare those (run it with --pid=host, or --allow-unknown-owner)", inside, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.socket {
				socklab.Make(t, socklab.Listen, socklab.IPv4)
			}
			if got := inner(t, test.mount, test.attr); !strings.Contains(got, test.want) {
				t.Errorf("not %s but %s", test.want, got)
			}
		})
	}
	t.Run("hidepid", func(t *testing.T) {
		if !socklab.HasUsers() {
			socklab.Lacks(t, unix.EINVAL)
		}
		nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if got := inner(t, "", nobody); !strings.Contains(got, "fail: doctor.test[1] cannot be examined (EACCES): live runs spare all sockets") {
			t.Error(got)
		}
		must(t, "mount", unix.Mount("proc", "/proc", "proc", 0, "hidepid=2"))
		t.Cleanup(func() { must(t, "unmount", unix.Unmount("/proc", unix.MNT_DETACH)) })
		if got := inner(t, "", nobody); !strings.Contains(got, "fail: it hides processes (hidepid=") {
			t.Error(got)
		}
		if c := processes(t.Context()); c.Level != OK {
			t.Errorf("with all capabilities: %+v", c)
		}
	})
}
