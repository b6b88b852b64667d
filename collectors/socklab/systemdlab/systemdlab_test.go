package systemdlab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

// Units start and are known, write nothing into directories of the host, and leave
// nothing behind.
func TestManager(t *testing.T) {
	socklab.LeakCheck(t)
	var group string
	var pid int
	t.Run("lives", func(t *testing.T) {
		m := Start(t, "/bin/sleep")
		group = m.group
		text := "[Unit]\nDefaultDependencies=no\n[Service]\nLogsDirectory=sockwarden-lab\nStateDirectory=sockwarden-lab\nPrivateTmp=yes\nExecStart=" + Program + " 1000\n"
		m.Unit("sleeper.service", text)
		m.Systemctl("start", "sleeper.service")
		if state := m.Property("sleeper.service", "ActiveState"); state != "active" {
			t.Errorf("it is %s", state)
		}
		if _, out, _ := m.Run("cat", m.Write("words", "in the lab")); out != "in the lab" {
			t.Errorf("read %q", out)
		}
		if code, _, errs := m.Run("systemctl", "start", "nosuch.service"); code == 0 || !strings.Contains(errs, "nosuch") {
			t.Errorf("exits %d: %s", code, errs)
		}
		for _, dir := range []string{"/var/log/sockwarden-lab", "/var/lib/sockwarden-lab", Program} {
			if code, _, _ := m.Run("test", "-e", dir); code != 0 {
				t.Errorf("no %s in the lab", dir)
			}
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is on the host: %v", dir, err)
			}
		}
		procs, err := os.ReadFile(filepath.Join(group, "system.slice/sleeper.service/cgroup.procs"))
		if err != nil || len(procs) == 0 {
			t.Errorf("processes of the unit: %q, %v", procs, err)
		}
		// A reboot leaves what is on the disk, and nothing else.
		if code, _, errs := m.Run("sh", "-c", "echo kept > /var/lib/words && echo lost > /run/words"); code != 0 {
			t.Error(errs)
		}
		first := m.pid
		m.Reboot()
		if _, out, _ := m.Run("cat", "/var/lib/words", "/run/words"); out != "kept\n" {
			t.Errorf("after a reboot there is %q", out)
		}
		if state := m.Property("sleeper.service", "ActiveState"); state != "inactive" || m.pid == first {
			t.Errorf("after a reboot it is %s, and systemd process %d", state, m.pid)
		}
		pid = m.pid
	})
	if _, err := os.Stat(group); group == "" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("control group %s: %v", group, err)
	}
	if err := unix.Kill(pid, 0); pid == 0 || !errors.Is(err, unix.ESRCH) {
		t.Errorf("systemd, process %d: %v", pid, err)
	}
}
