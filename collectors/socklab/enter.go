package socklab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// EnvInside tells a process that it already runs inside the namespaces. Pass it on
	// when you start the test binary with a clean environment.
	EnvInside = "SOCKLAB_INSIDE"
	// EnvRequire makes tests fail, rather than skip, where the kernel refuses
	// namespaces. CI sets it to 1.
	EnvRequire = "SOCKWARDEN_REQUIRE_KERNEL"
	// EnvRace has the options of the race detector, so that it does not delay the end of
	// each process that tests start by a second. Pass it on, too.
	EnvRace = "GORACE"

	insideBare      = "bare"      // the namespaces exist, but nothing is set up in them
	insideFurnished = "furnished" // set up by an ancestor
)

// refused is why there are no namespaces; nil when there are.
var refused error

// Main runs the tests of a package in fresh namespaces and exits with their status. A
// TestMain needs nothing else. Flags, coverage and fuzzing work as usual: the test binary
// runs again with the same arguments.
func Main(m interface{ Run() int }) {
	Enter()
	Waiting()
	os.Exit(m.Run())
}

// Waiting lets four parallel tests run at a time where nobody asks for another number:
// those that run apart wait most of the time.
func Waiting() {
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
}

// Enter is the first half of Main, for a TestMain that has more to do. It returns only in
// the process inside the namespaces, or if the kernel refused them.
func Enter() {
	runHolder()
	switch os.Getenv(EnvInside) {
	case "":
		var code int
		if code, refused = reexec(); refused == nil {
			os.Exit(code)
		}
	case insideBare:
		if refused = furnish(); refused == nil {
			refused = os.Setenv(EnvInside, insideFurnished)
		}
		hurryChildren()
	default:
		refused = openNamespaces()
	}
}

// hurryChildren makes processes that the tests start end at once under the race detector.
// It would hold each up for a second at its end (atexit_sleep_ms), in case another
// goroutine is about to race.
func hurryChildren() {
	_ = os.Setenv(EnvRace, strings.TrimSpace("atexit_sleep_ms=0 "+os.Getenv(EnvRace)))
}

// Need skips the test if the kernel refused namespaces, or fails it if they are required.
// The other functions of this package call it.
func Need(t testing.TB) {
	t.Helper()
	if refused == nil && home != nil {
		return
	}
	err := refused
	if err == nil {
		err = errors.New("TestMain does not call socklab.Main")
	}
	Lacks(t, err)
}

// Lacks skips the test if this host lacks something, or fails it where everything is
// required, as in CI.
func Lacks(t testing.TB, err error) {
	t.Helper()
	if os.Getenv(EnvRequire) == "1" {
		t.Fatalf("socklab: %v (%s=1)", err, EnvRequire)
	}
	t.Skipf("socklab: %v", err)
}

// reexec runs this binary again in new namespaces and waits for it. It returns an error
// only if the binary could not be started there.
func reexec() (int, error) {
	runtime.LockOSThread() // the death signal below is tied to the thread
	defer runtime.UnlockOSThread()
	const flags = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID
	var cmd *exec.Cmd
	err := error(unix.EPERM)
	if os.Geteuid() == 0 {
		cmd, err = start(&syscall.SysProcAttr{Cloneflags: flags})
	}
	if err != nil && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) {
		cmd, err = start(&syscall.SysProcAttr{
			Cloneflags:  flags | unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		})
	}
	if err != nil {
		return 0, fmt.Errorf("new namespaces: %w", err)
	}
	defer forwardSignals(cmd.Process)()
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "socklab:", err)
		return 2, nil
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		fmt.Fprintln(os.Stderr, "socklab: the tests were ended by", ws.Signal())
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

func start(attr *syscall.SysProcAttr) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("own executable: %w", err)
	}
	attr.Pdeathsig = unix.SIGKILL
	cmd := exec.Command(exe)
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), EnvInside+"="+insideBare)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, nil
}

// forwardSignals passes on what `go test` sends to this process alone. An interrupt from
// the terminal reaches the child anyway.
func forwardSignals(p *os.Process) (stop func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	go func() {
		for s := range ch {
			if s != unix.SIGINT {
				_ = p.Signal(s)
			}
		}
	}()
	return func() { signal.Stop(ch); close(ch) }
}

// furnish sets up the namespaces that this process was started in: mounts stay invisible
// outside, /proc shows only processes of the lab, /run is empty, lo is up and the peer is
// linked.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", flags, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if _, err := os.Stat(kept); err == nil {
		if err := unix.Mount("tmpfs", kept, "tmpfs", flags, "mode=0755"); err != nil {
			return fmt.Errorf("mount %s: %w", kept, err)
		}
	}
	if err := os.Mkdir(netnsDir, 0o755); err != nil {
		return err
	}
	if err := linkUp("lo"); err != nil {
		return err
	}
	h, err := openNamespace("home", "/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	home = h
	if peer, err = addNamespace(peerName); err != nil {
		return err
	}
	peerErr = linkPeer()
	return nil
}
