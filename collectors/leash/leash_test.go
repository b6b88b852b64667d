package leash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// envStart makes the test binary start a program and wait to be killed.
const envStart = "LEASH_START"

func TestMain(m *testing.M) {
	if path := os.Getenv(envStart); path != "" {
		if _, err := Start(Program{Argv: []string{path}, Files: [3]uintptr{0, 1, 2}, Timeout: time.Hour}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_ = unix.Pause()
	}
	socklab.Main(m)
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// script writes a shell script; $here is its directory.
func script(t testing.TB, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	must(t, "write", os.WriteFile(path, []byte("#!/bin/sh\nhere=$(dirname $0)\n"+body), 0o755))
	return path
}

func start(t testing.TB, path string, timeout time.Duration) *Running {
	t.Helper()
	r, err := Start(Program{Argv: []string{path}, Files: [3]uintptr{0, 1, 2}, Timeout: timeout})
	must(t, "Start", err)
	t.Cleanup(func() {
		r.Stop()
		await(t, r)
	})
	return r
}

func await(t testing.TB, r *Running) (e Ending) {
	t.Helper()
	socklab.WaitFor(t, "the end of the program", func() (ended bool) {
		e, ended = r.Ended(time.Second)
		return ended
	})
	if again, ended := r.Ended(0); !ended || again != e {
		t.Errorf("%+v, then %+v, %t", e, again, ended)
	}
	return e
}

// written waits for n lines in a file beside the program.
func written(t testing.TB, path, name string, n int) []string {
	t.Helper()
	var lines []string
	socklab.WaitFor(t, name, func() bool {
		text, _ := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		lines = strings.Fields(string(text))
		return len(lines) >= n && strings.HasSuffix(string(text), "\n")
	})
	return lines
}

// longer tries with more and more time: on a busy machine a program may not get far in
// little.
func longer(t testing.TB, timeout time.Duration, try func(timeout time.Duration) (farEnough bool)) {
	t.Helper()
	for ; !try(timeout); timeout *= 2 {
		if timeout > time.Minute {
			t.Fatalf("the program does not get far in %s", timeout)
		}
	}
}

// escapes are the ways in which a program leaves its parent. Each records two processes
// that would go on.
var escapes = map[string]string{
	"child": `sleep 1000 & echo $! >> $here/pids; echo $$ >> $here/pids; wait`,
	"deaf":  `trap '' TERM HUP INT QUIT; sleep 1000 & echo $! >> $here/pids; echo $$ >> $here/pids; wait`,
	"setsid": `setsid sh -c 'echo $$ >> '$here'/pids; exec sleep 1000' &
echo $$ >> $here/pids; wait`,
	"double fork": `(setsid sh -c 'echo $$ >> '$here'/pids; sleep 1000 & echo $! >> '$here'/pids; wait' &) ; sleep 1000`,
	"daemon of a daemon": `(setsid sh -c '
(setsid sh -c "echo \$\$ >> '$here'/pids; (sleep 1000 & echo \$! >> '$here'/pids); sleep 1000" &); sleep 1000' &); sleep 1000`,
	"stopped": `sleep 1000 & kill -STOP $!; echo $! >> $here/pids; echo $$ >> $here/pids; wait`,
	"no environment": `env -i setsid sh -c 'echo $$ >> '$here'/pids; exec sleep 1000' &
echo $$ >> $here/pids; wait`,
	"spawning": `while :; do setsid sleep 1000 & echo $! >> $here/pids; sleep 0.01; done`,
}

func gone(t testing.TB, pids []string) {
	t.Helper()
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		must(t, "pid", err)
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("process %d is left: %v", pid, err)
		}
	}
}

func childless(t testing.TB) {
	t.Helper()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: %+v, %v", info, err)
	}
}

// Whatever a program does, nothing of it is left once its time is over, it is stopped, or
// the process that started it is killed.
func TestNothingIsLeft(t *testing.T) {
	socklab.Need(t)
	for name, body := range escapes {
		t.Run(name, func(t *testing.T) {
			t.Run("timeout", func(t *testing.T) {
				longer(t, 700*time.Millisecond, func(timeout time.Duration) (farEnough bool) {
					path := script(t, body)
					began := time.Now()
					r := start(t, path, timeout)
					if e := await(t, r); e.Reason != TimedOut || e.Err != nil {
						t.Errorf("%+v", e)
					}
					if took := time.Since(began); took < timeout {
						t.Errorf("after %s", took)
					}
					text, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "pids"))
					if strings.Count(string(text), "\n") < 2 {
						return false
					}
					gone(t, written(t, path, "pids", 2))
					childless(t)
					return true
				})
			})
			t.Run("stop", func(t *testing.T) {
				path := script(t, body)
				r := start(t, path, time.Hour)
				written(t, path, "pids", 2)
				r.Stop()
				if e := await(t, r); e.Reason != Stopped || e.Err != nil || e.Status.Signal() != unix.SIGKILL {
					t.Errorf("%+v", e)
				}
				gone(t, written(t, path, "pids", 2))
				childless(t)
			})
			t.Run("killed", func(t *testing.T) {
				path := script(t, body)
				starter := exec.Command("/proc/self/exe")
				starter.Stderr = os.Stderr
				starter.Env = append(os.Environ(), envStart+"="+path)
				must(t, "start", starter.Start())
				written(t, path, "pids", 2)
				must(t, "kill", starter.Process.Kill())
				_ = starter.Wait()
				// We are the first process here, so the keeper is now our child.
				socklab.WaitFor(t, "the end of the keeper", func() bool {
					_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
					return errors.Is(err, unix.ECHILD)
				})
				gone(t, written(t, path, "pids", 2))
			})
		})
	}
}

// What a program leaves behind when it ends by itself is left alone, and nobody waits for
// it.
func TestLeftBehind(t *testing.T) {
	socklab.Need(t)
	path := script(t, `(setsid sleep 1000 & echo $! >> $here/pids); exit 7`)
	if e := await(t, start(t, path, time.Hour)); e.Reason != None || e.Status.ExitStatus() != 7 || e.Err != nil {
		t.Errorf("%+v", e)
	}
	pid, err := strconv.Atoi(written(t, path, "pids", 1)[0])
	must(t, "pid", err)
	must(t, "it was killed", unix.Kill(pid, 0))
	must(t, "kill", unix.Kill(pid, unix.SIGKILL))
	if os.Getpid() == 1 {
		_, err = unix.Wait4(pid, nil, 0, nil) // our child now
		must(t, "wait", err)
	}
}

func TestEndings(t *testing.T) {
	socklab.Need(t)
	for body, want := range map[string]syscall.WaitStatus{
		"exit 0":        0,
		"exit 255":      255 << 8,
		"kill -SEGV $$": syscall.WaitStatus(unix.SIGSEGV),
		"kill -TERM $$": syscall.WaitStatus(unix.SIGTERM),
		"kill -KILL $$": syscall.WaitStatus(unix.SIGKILL),
		"kill -TERM $PPID; kill -HUP $PPID; kill -INT $PPID; kill -QUIT $PPID; exit 3": 3 << 8, // a unit that is stopped
		"kill -PIPE $$": syscall.WaitStatus(unix.SIGPIPE), // not ignored
	} {
		e := await(t, start(t, script(t, body), time.Hour))
		if core := syscall.WaitStatus(0x80); e.Status&^core != want || e.Reason != None || e.Err != nil {
			t.Errorf("%s: %+v", body, e)
		}
	}
	childless(t)
}

// A program that ended in time is not late, even if nobody asked until later.
func TestAskedLate(t *testing.T) {
	socklab.Need(t)
	longer(t, time.Second, func(timeout time.Duration) (inTime bool) {
		began := time.Now()
		r := start(t, "/bin/true", timeout)
		var info unix.Siginfo
		must(t, "waitid", unix.Waitid(unix.P_PID, r.keeper, &info, unix.WEXITED|unix.WNOWAIT, nil))
		inTime = time.Since(began) < timeout
		socklab.WaitFor(t, "the end of its time", func() bool { return time.Since(began) > timeout })
		if e := await(t, r); inTime && e != (Ending{}) {
			t.Errorf("%+v", e)
		}
		return inTime
	})
}

func TestNotStarted(t *testing.T) {
	socklab.Need(t)
	none := filepath.Join(t.TempDir(), "none")
	text := filepath.Join(t.TempDir(), "text")
	must(t, "write", os.WriteFile(text, []byte("no program"), 0o755))
	for path, want := range map[string]error{none: fs.ErrNotExist, text: unix.ENOEXEC, t.TempDir(): fs.ErrPermission} {
		if e := await(t, start(t, path, time.Hour)); !errors.Is(e.Err, want) || !strings.HasPrefix(e.Err.Error(), "start "+path+": ") {
			t.Errorf("%s: %+v", path, e)
		}
	}
	childless(t)
}

// Without its keeper the program ends.
func TestKeeperKilled(t *testing.T) {
	socklab.Need(t)
	path := script(t, "echo $$ >> $here/pids; exec sleep 1000")
	r := start(t, path, time.Hour)
	pids := written(t, path, "pids", 1)
	must(t, "kill", unix.Kill(r.keeper, unix.SIGKILL))
	if e := await(t, r); e.Err == nil || !strings.Contains(e.Err.Error(), "killed with its keeper") {
		t.Errorf("%+v", e)
	}
	if os.Getpid() == 1 {
		pid, _ := strconv.Atoi(pids[0])
		_, err := unix.Wait4(pid, nil, 0, nil)
		must(t, "wait", err)
	}
	gone(t, pids)
}

// Both ways to find children find the same ones, and no others.
func TestChildren(t *testing.T) {
	socklab.Need(t)
	var want []int
	for range 3 {
		cmd := exec.Command("sh", "-c", "sleep 1000; :") // with a child of its own
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Stderr = os.Stderr
		must(t, "start", cmd.Start())
		want = append(want, cmd.Process.Pid)
		t.Cleanup(func() {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			_ = cmd.Wait()
			if os.Getpid() == 1 {
				_, _ = unix.Wait4(-cmd.Process.Pid, nil, 0, nil)
			}
		})
	}
	listed, ok := listedChildren()
	if !ok {
		t.Fatal("this kernel has no lists of children")
	}
	searched := searchedChildren()
	slices.Sort(listed)
	slices.Sort(searched)
	slices.Sort(want)
	if !slices.Equal(listed, want) || !slices.Equal(searched, want) {
		t.Errorf("listed %v, searched %v, want %v", listed, searched, want)
	}
}

// The name under which the keeper runs does nothing for anybody else.
func TestNobodysKeeper(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{keeperName, "1h", "/bin/true"}
	var exit *exec.ExitError
	if out, err := cmd.CombinedOutput(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

// BenchmarkRun measures the cost of running a program that does nothing.
func BenchmarkRun(b *testing.B) {
	socklab.Need(b)
	for b.Loop() {
		r, err := Start(Program{Argv: []string{"/bin/true"}, Files: [3]uintptr{0, 1, 2}, Timeout: time.Minute})
		must(b, "Start", err)
		if e, ended := r.Ended(time.Minute); !ended || e != (Ending{}) {
			b.Fatalf("%+v, %t", e, ended)
		}
	}
}
