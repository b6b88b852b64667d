package leash

import (
	"encoding/binary"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperName is the name under which this binary acts as a keeper, in argv[0] and as its
// comm.
const keeperName = "sockwarden-hook"

// What the keeper sends over its socket before it ends: one byte for the reason, and a
// wait status or an errno.
const (
	saysEnded      = 'e'
	saysNotStarted = 's'
	endedLen       = 6 // bytes

	control = 3 // the descriptor of the socket
)

// Any binary with this package, even a test, can be a keeper: init runs before main has
// seen an argument.
func init() {
	if len(os.Args) >= 3 && os.Args[0] == keeperName {
		// Exit at once: under the race detector os.Exit takes a second.
		syscall.Exit(keep(os.Args[1], os.Args[2:]))
	}
}

// keep runs a program to its end and tells how it ended.
func keep(timeout string, argv []string) int {
	// The thread that starts the program must live as long: its death sends a signal.
	runtime.LockOSThread()
	limit, err := time.ParseDuration(timeout)
	if _, notSocket := unix.GetsockoptInt(control, unix.SOL_SOCKET, unix.SO_TYPE); notSocket != nil || err != nil {
		return 2 // not started by this package
	}
	unix.CloseOnExec(control)
	_ = os.WriteFile("/proc/self/comm", []byte(keeperName), 0)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return say(saysNotStarted, None, errno(err))
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	// When the unit stops, all its processes get these signals: the program decides what
	// they mean, and the keeper must live to see its end.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM)
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{ //nolint:gosec // running it is the purpose; the caller has checked it
		Dir: "/", Env: os.Environ(), Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return say(saysNotStarted, None, errno(err))
	}
	stop := make(chan struct{})
	go func() { // whatever ends this read means stop
		for _, err := unix.Read(control, make([]byte, 1)); errors.Is(err, unix.EINTR); {
			_, err = unix.Read(control, make([]byte, 1))
		}
		close(stop)
	}()
	reason, status := None, unix.WaitStatus(0)
	timer := time.NewTimer(limit)
	for ended := false; !ended && reason == None; {
		select {
		case <-children:
			_, ended = reap(pid, &status)
		case <-timer.C:
			reason = TimedOut
		case <-stop:
			reason = Stopped
		}
	}
	if _, ended := reap(pid, &status); ended {
		reason = None // it ended by itself just as its time was up
	}
	if reason != None {
		// A process that dies leaves its children to us. One that waits for a dead disk
		// takes its time.
		for none := false; !none; none, _ = reap(pid, &status) {
			killChildren()
			select {
			case <-children:
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return say(saysEnded, reason, uint32(status))
}

// reap waits for all children that have ended. It reports whether none is left, and
// whether the program was among them; then it sets status.
func reap(program int, status *unix.WaitStatus) (none, ended bool) {
	for {
		var s unix.WaitStatus
		pid, err := unix.Wait4(-1, &s, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || pid == 0:
			return err != nil, ended
		case pid == program:
			*status, ended = s, true
		}
	}
}

func say(what byte, reason Reason, number uint32) int {
	_, _ = unix.Write(control, binary.NativeEndian.AppendUint32([]byte{what, byte(reason)}, number))
	return 0
}

func errno(err error) uint32 {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return uint32(e)
	}
	return uint32(unix.EIO)
}
