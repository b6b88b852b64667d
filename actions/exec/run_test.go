package exec

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors/socklab"
)

// exists waits until a program has made a file beside itself.
func exists(t *testing.T, program, name string) string {
	t.Helper()
	var text []byte
	socklab.WaitFor(t, name, func() bool {
		text, _ = os.ReadFile(filepath.Join(filepath.Dir(program), name))
		return bytes.HasSuffix(text, []byte("\n"))
	})
	return strings.TrimSpace(string(text))
}

// Nobody waits for the program; Verify is called until it has ended.
func TestPending(t *testing.T) {
	actiontest.LeakCheck(t)
	program := script(t, "echo ready > $(dirname $0)/ready; read line < $(dirname $0)/fifo; echo heard $line; exit 3")
	fifo := filepath.Join(filepath.Dir(program), "fifo")
	must(t, "mkfifo", unix.Mkfifo(fifo, 0o600))
	e := started(t, program, 0, target(t))
	exists(t, program, "ready")
	for range 3 {
		if out := e.Verify(t.Context()); out != (actions.Outcome{Result: actions.StillRunning, Pending: true}) {
			t.Fatalf("Verify: %+v", out)
		}
	}
	must(t, "write", os.WriteFile(fifo, []byte("it\n"), 0))
	if out := await(t, e); out.Result != actions.Failed || out.Err.Error() != "exit code 3: heard it" {
		t.Errorf("%+v", out)
	}
	childless(t)
}

// family starts a program that ignores every signal it can, with a child in its own
// session, and returns both.
func family(t *testing.T, timeout time.Duration) (e *effect, child int) {
	t.Helper()
	program := script(t, `trap '' TERM HUP INT
(setsid sh -c 'echo $$ > '$(dirname $0)'/child; exec sleep 1000' > $(dirname $0)/said 2>&1 &)
echo "the last words"
sleep 1000
`)
	e = started(t, program, timeout, target(t))
	t.Cleanup(func() {
		if said, err := os.ReadFile(filepath.Join(filepath.Dir(program), "said")); t.Failed() {
			t.Logf("the grandchild says %q, %v", said, err)
		}
	})
	socklab.WaitFor(t, "the grandchild, or the end of its time", func() bool {
		text, _ := os.ReadFile(filepath.Join(filepath.Dir(program), "child"))
		if bytes.HasSuffix(text, []byte("\n")) {
			var err error
			child, err = strconv.Atoi(strings.TrimSpace(string(text)))
			must(t, "child", err)
		}
		return child != 0 || !e.Verify(t.Context()).Pending
	})
	return e, child
}

// longer tries with more and more time: on a busy machine a program may not get far in
// little. It gets no more than a minute.
func longer(t *testing.T, try func(timeout time.Duration) (farEnough bool)) {
	t.Helper()
	for timeout := 700 * time.Millisecond; !try(timeout); timeout *= 2 {
		if timeout > time.Minute {
			t.Fatalf("the program does not get far in %s", timeout)
		}
	}
}

// killed checks that nothing of the family is left.
func killed(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the grandchild %d is left: %v", pid, err)
	}
	childless(t)
}

// When its time is over, the program is killed with everything that it started.
func TestTimeout(t *testing.T) {
	actiontest.LeakCheck(t)
	longer(t, func(timeout time.Duration) (farEnough bool) {
		start := time.Now()
		e, child := family(t, timeout)
		out := await(t, e)
		if took := time.Since(start); took < timeout {
			t.Errorf("it took %s", took)
		}
		if out.Result != actions.Timeout || out.Err == nil || !strings.HasPrefix(out.Err.Error(), "killed after "+timeout.String()) {
			t.Fatalf("%+v", out)
		}
		if out.Result.Climbs() || out.Result.Succeeded() {
			t.Error("it climbs, or is a success")
		}
		if child == 0 {
			return false
		}
		killed(t, child)
		return strings.HasSuffix(out.Err.Error(), ": the last words")
	})
}

// Its time also ends while nobody asks, for example while a watcher waits for the kernel.
func TestTimeoutUnasked(t *testing.T) {
	actiontest.LeakCheck(t)
	longer(t, func(timeout time.Duration) (farEnough bool) {
		e, child := family(t, timeout)
		if child == 0 {
			return false
		}
		socklab.WaitFor(t, "the end of the grandchild", func() bool { return errors.Is(unix.Kill(child, 0), unix.ESRCH) })
		if out := await(t, e); out.Result != actions.Timeout {
			t.Errorf("%+v", out)
		}
		killed(t, child)
		return true
	})
}

// A request to stop ends the program and reports that, not a timeout.
func TestCancelled(t *testing.T) {
	actiontest.LeakCheck(t)
	e, child := family(t, 0)
	if out := e.Verify(t.Context()); !out.Pending {
		t.Fatalf("Verify: %+v", out)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if out := e.Verify(ended); !out.Pending || unix.Kill(child, 0) != nil {
		t.Fatalf("Verify, which only looks: %+v", out)
	}
	out := e.Stop(t.Context())
	if out.Pending || out.Result != actions.Failed || out.Err.Error() != "stopped before its end, with the run or the rule that it was for: the last words" {
		t.Errorf("%+v", out)
	}
	killed(t, child)
}

// A program that ended before anybody asked is not late, and is not killed.
func TestEndedBeforeTimeout(t *testing.T) {
	actiontest.LeakCheck(t)
	longer(t, func(timeout time.Duration) (inTime bool) {
		program := script(t, "echo done")
		began := time.Now()
		e := started(t, program, timeout, target(t))
		socklab.WaitFor(t, "the end of its time", func() bool { return time.Since(began) > timeout })
		out := await(t, e)
		if out.Result == actions.Timeout {
			return false
		}
		if out.Result != actions.Done || out.Detail != "done" {
			t.Errorf("%+v", out)
		}
		if out := e.Stop(t.Context()); out.Result != actions.Done {
			t.Errorf("asked to stop later: %+v", out)
		}
		return true
	})
}

// A daemon that the program leaves behind delays nobody.
func TestLeftBehind(t *testing.T) {
	actiontest.LeakCheck(t)
	program := script(t, "sleep 1000 & echo $! > $(dirname $0)/child; echo started")
	e := started(t, program, 0, target(t))
	if out := await(t, e); out.Result != actions.Done || out.Detail != "started" {
		t.Errorf("%+v", out)
	}
	child, err := strconv.Atoi(exists(t, program, "child"))
	must(t, "child", err)
	must(t, "it was killed", unix.Kill(child, 0))
	must(t, "kill", unix.Kill(child, unix.SIGKILL))
	if os.Getpid() == 1 {
		_, err = unix.Wait4(child, nil, 0, nil) // our child now
		must(t, "wait", err)
	}
	childless(t)
}

// However much the program prints, only a little is kept.
func TestHugeOutput(t *testing.T) {
	actiontest.LeakCheck(t)
	e := started(t, script(t, "head -c 100000000 /dev/zero | tr '\\0' x; echo the end"), 0, target(t))
	out := await(t, e)
	if out.Result != actions.Done || len(out.Detail) > maxTail || !strings.HasSuffix(out.Detail, "xxxthe end") {
		t.Errorf("%s, %d bytes", out.Result, len(out.Detail))
	}
	if cap(e.output.kept) > 1<<20 {
		t.Errorf("%d bytes are kept", cap(e.output.kept))
	}
}

// While nobody asks, the program waits, and its output takes no more memory than the pipe
// holds. Endless output ends in time.
func TestEndlessOutput(t *testing.T) {
	actiontest.LeakCheck(t)
	e := started(t, script(t, "exec yes"), time.Second, target(t))
	waiting := func() int {
		n, err := unix.IoctlGetInt(e.output.from, unix.TIOCINQ)
		must(t, "FIONREAD", err)
		return n
	}
	size, err := unix.FcntlInt(uintptr(e.output.from), unix.F_GETPIPE_SZ, 0)
	must(t, "F_GETPIPE_SZ", err)
	if size > pipeSize {
		t.Errorf("the pipe has %d bytes", size)
	}
	socklab.WaitFor(t, "a full pipe", func() bool { return waiting() > size-8192 })
	if out := await(t, e); out.Result != actions.Timeout || !strings.HasSuffix(out.Err.Error(), "y y y") || len(out.Err.Error()) > maxTail+100 {
		t.Errorf("%s: %d bytes", out.Result, len(out.Err.Error()))
	}
	childless(t)
}

// What the program writes to files is its own business: it may keep a log, or a dump.
func TestLargeFile(t *testing.T) {
	actiontest.LeakCheck(t)
	program := script(t, "head -c 20000000 /dev/zero > $(dirname $0)/dump && ulimit -f")
	if out := await(t, started(t, program, 0, target(t))); out.Result != actions.Done || out.Detail != "unlimited" {
		t.Errorf("%+v", out)
	}
}

// The tail is cut by bytes, perhaps within a character.
func TestTail(t *testing.T) {
	actiontest.LeakCheck(t)
	e := started(t, script(t, "for i in 1 2 3 4 5 6 7 8 9 0; do printf '€%.0s' $(seq 1000); done; echo .. "), 0, target(t))
	out := await(t, e)
	if n := len(out.Detail); n > maxTail || n < maxTail-6 || strings.Trim(out.Detail, "?€.") != "" || strings.Count(out.Detail, "?") > 1 {
		t.Errorf("%d bytes: %q", n, out.Detail)
	}
}

// Asking about a program that was never started harms neither other children nor our own
// process group.
func TestVerifyBeforeApply(t *testing.T) {
	actiontest.LeakCheck(t)
	// If it did, only this test would be harmed.
	must(t, "new process group", unix.Setpgid(0, 0))
	other := exec.Command("false") // in our process group
	other.Stderr = os.Stderr
	must(t, "start", other.Start())
	var info unix.Siginfo
	must(t, "waitid", unix.Waitid(unix.P_PID, other.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
	e, err := prepare(t, "/bin/true", time.Nanosecond, target(t))
	must(t, "Prepare", err)
	for range 2 {
		if out := e.Verify(t.Context()); out.Result != actions.Failed || out.Err == nil {
			t.Errorf("Verify: %+v", out)
		}
	}
	if err := other.Wait(); other.ProcessState == nil || other.ProcessState.ExitCode() != 1 {
		t.Errorf("the other: %v", err)
	}
}

// A program that cannot start is reported, and nothing stays open.
func TestNotStarted(t *testing.T) {
	actiontest.LeakCheck(t)
	for name, spoil := range map[string]func(path string){
		"gone":      func(path string) { must(t, "remove", os.Remove(path)) },
		"no format": func(path string) { write(t, path, "no program", 0o755) },
		"no shell":  func(path string) { write(t, path, "#!/not/there\n", 0o755) },
	} {
		program := script(t, "exit 0")
		e, err := prepare(t, program, 0, target(t))
		must(t, "Prepare", err)
		spoil(program)
		if out := e.Apply(t.Context()); out != (actions.Outcome{Result: actions.Done}) {
			t.Errorf("%s: Apply: %+v", name, out)
		}
		if out := await(t, e); out.Result != actions.Failed || out.Err == nil || !strings.HasPrefix(out.Err.Error(), "start "+program+": ") {
			t.Errorf("%s: %+v", name, out)
		}
	}
	childless(t)
}
