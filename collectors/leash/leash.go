package leash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Path is where we look for programs named without a directory, and the PATH that they
// get.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Program is what to run, in / and with nothing but PATH and LANG=C in its environment.
type Program struct {
	Argv    []string      // the first is its path
	Files   [3]uintptr    // standard input, output and error
	Timeout time.Duration // how long it may run
}

// Reason says what ended a program, None if it ended by itself.
type Reason byte

// The reasons. Stopped means by Stop or by the end of this process.
const (
	None Reason = iota
	TimedOut
	Stopped
)

// Ending is how a program ended.
type Ending struct {
	Reason Reason
	Status syscall.WaitStatus
	Err    error // it did not start, or nobody knows how it ended
}

// Running is a program that was started. Only one goroutine may call Ended; any may call
// Stop.
type Running struct {
	argv   []string
	keeper int // process id
	ending *Ending

	mu      sync.Mutex // guards what follows
	control int        // our end of the socket to the keeper
	ended   bool       // the keeper has ended and has been reaped
}

// Start starts the program's keeper, which starts the program. Ended says whether that
// worked.
func Start(p Program) (*Running, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start %s: socket pair: %w", p.Argv[0], err)
	}
	defer func() { _ = unix.Close(pair[1]) }()
	// Go closes what it opened in other programs, but not what it inherited. Before Linux
	// 5.11 we pass that on.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	pid, err := syscall.ForkExec("/proc/self/exe", append([]string{keeperName, p.Timeout.String()}, p.Argv...), &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=" + Path, "LANG=C"},
		Files: []uintptr{p.Files[0], p.Files[1], p.Files[2], uintptr(pair[1])},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		_ = unix.Close(pair[0])
		return nil, fmt.Errorf("start %s: its keeper, /proc/self/exe: %w", p.Argv[0], err)
	}
	return &Running{argv: p.Argv, keeper: pid, control: pair[0]}, nil
}

// Stop asks the keeper to end the program and all that it started, and does not wait.
func (r *Running) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		_ = unix.Shutdown(r.control, unix.SHUT_WR)
	}
}

// Ended waits at most for the given time, and reports whether the program has ended and
// how. Call it until it has: only then is everything closed.
func (r *Running) Ended(wait time.Duration) (Ending, bool) {
	until := time.Now().Add(wait)
	for r.ending == nil {
		e, ok := r.receive()
		if ok {
			r.ending = &e
			break
		}
		if !poll(r.control, time.Until(until)) {
			return Ending{}, false
		}
	}
	for !r.ended {
		if r.reap() {
			break
		}
		if !r.awaitKeeper(max(time.Until(until), 100*time.Millisecond)) {
			return Ending{}, false
		}
	}
	return *r.ending, true
}

// receive reads the keeper's message, if there is one.
func (r *Running) receive() (Ending, bool) {
	buf := make([]byte, 1024)
	n, _, err := unix.Recvfrom(r.control, buf, unix.MSG_DONTWAIT)
	for errors.Is(err, unix.EINTR) {
		n, _, err = unix.Recvfrom(r.control, buf, unix.MSG_DONTWAIT)
	}
	switch {
	case errors.Is(err, unix.EAGAIN):
		return Ending{}, false
	case err != nil:
		return Ending{Err: fmt.Errorf("ask the keeper of %s: %w", r.argv[0], err)}, true
	case n == endedLen && buf[0] == saysEnded:
		return Ending{Reason: Reason(buf[1]), Status: syscall.WaitStatus(binary.NativeEndian.Uint32(buf[2:]))}, true
	case n > 0 && buf[0] == saysNotStarted:
		return Ending{Err: fmt.Errorf("start %s: %w", r.argv[0], syscall.Errno(binary.NativeEndian.Uint32(buf[2:])))}, true
	}
	return Ending{Err: fmt.Errorf("%s was killed with its keeper; what it had started may be left", r.argv[0])}, true //nolint:err113 // for people
}

// reap waits for the keeper, which has said its last word.
func (r *Running) reap() bool {
	for {
		pid, err := unix.Wait4(r.keeper, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case pid == 0 && err == nil:
			return false
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		_ = unix.Close(r.control)
		r.ended = true
		return true
	}
}

func (r *Running) awaitKeeper(wait time.Duration) bool {
	fd, err := unix.PidfdOpen(r.keeper, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return poll(fd, wait)
}

// poll waits until a descriptor is readable, false if that takes too long.
func poll(fd int, wait time.Duration) bool {
	until := time.Now().Add(wait)
	for {
		left := max(0, time.Until(until))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int((left+time.Millisecond-1)/time.Millisecond))
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}
