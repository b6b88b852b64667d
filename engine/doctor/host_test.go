package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/engine/memory"
	"sockwarden/engine/pause"
)

// The doctor tries out the state file, and leaves nothing behind.
func TestStateFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "state.json")
	if c := stateFile(path); c.Level != OK {
		t.Errorf("new: %+v", c)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	must(t, "list", err)
	for _, f := range left {
		if f.Name() != "state.json.lock" {
			t.Errorf("left behind: %s", f.Name())
		}
	}
	lock, err := os.Open(path + ".lock")
	must(t, "open", err)
	defer lock.Close()
	must(t, "lock", unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	if c := stateFile(path); c.Level != Warn || !strings.Contains(c.Detail, memory.ErrLocked.Error()) {
		t.Errorf("locked: %+v", c)
	}
	if c := stateFile(""); c.Level != Warn {
		t.Errorf("none: %+v", c)
	}
	frozen := t.TempDir()
	must(t, "bind", unix.Mount(frozen, frozen, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, "unmount", unix.Unmount(frozen, unix.MNT_DETACH)) })
	must(t, "freeze", unix.Mount("", frozen, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if c := stateFile(filepath.Join(frozen, "state.json")); c.Level != Fail || c.Cure == "" || !strings.Contains(c.Detail, "read-only") {
		t.Errorf("read-only: %+v", c)
	}
}

// Without /proc/sys nobody knows which boot this is.
func TestNoBootID(t *testing.T) {
	if _, is := os.LookupEnv(envInner); is {
		must(t, "mount", unix.Mount("proc", "/proc", "proc", 0, "subset=pid"))
		c := stateFile(filepath.Join(t.TempDir(), "state.json"))
		if c.Level != Fail || !strings.Contains(c.Detail, "/proc/sys is hidden") || !strings.Contains(c.Cure, "ProcSubset=pid") {
			t.Errorf("%+v", c)
		}
		return
	}
	inner(t, "", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS})
}

// A pause is a pause, whoever threw the switch.
func TestPause(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pause.json")
	if c := noPause([]string{path}); c.Level != OK {
		t.Errorf("none: %+v", c)
	}
	must(t, "pause", (&pause.Pause{By: "me"}).Write(path))
	if c := noPause([]string{path}); c.Level != Fail || !strings.Contains(c.Detail, "me") || c.Cure == "" {
		t.Errorf("%+v", c)
	}
}

// Where no inotify instances are left, the check names the limit.
func TestNoInotify(t *testing.T) {
	if _, is := os.LookupEnv(envInner); is {
		c := watching()
		if c.Level != Warn || !strings.Contains(c.Cure, "max_user_instances") {
			t.Errorf("%+v", c)
		}
		return
	}
	if c := watching(); c.Level != OK {
		t.Errorf("%+v", c)
	}
	exe, err := os.Executable()
	must(t, "own executable", err)
	const script = `echo 0 > /proc/sys/user/max_inotify_instances && exec "$0" -test.run=^TestNoInotify$`
	cmd := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "sh", "-c", script, exe)
	cmd.Env = append(os.Environ(), envInner+"=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
