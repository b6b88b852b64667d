package control

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// QuietError is a watcher that runs here, and does not answer where we ask. It is an
// ErrNobody.
type QuietError struct {
	PID int
	// At is the place that its command line names for its control socket: None, or "" if it
	// names none.
	At string
	// Lock is what told of it; State says that it is the lock of a state file, which a
	// watcher holds that has no control socket, too.
	Lock  string
	State bool
}

func (e *QuietError) Error() string {
	switch {
	case e.At == None:
		return fmt.Sprintf("a watcher (pid %d) runs here without a control socket (--control none)", e.PID)
	case e.At == "" && e.State:
		return fmt.Sprintf("a watcher (pid %d, it holds %s) does not answer: it is starting or ending, or its log says why it has no control socket", e.PID, e.Lock)
	case e.At == "":
		return fmt.Sprintf("a watcher (pid %d, it holds %s) does not answer yet: it is starting or ending", e.PID, e.Lock)
	}
	return fmt.Sprintf("a watcher (pid %d) runs here, and its control socket is %s", e.PID, e.At)
}

// Is reports that it is ErrNobody.
func (e *QuietError) Is(target error) bool { return target == ErrNobody }

// Quiet looks for a watcher that does not answer at these places, by the locks that it
// holds: that of its control socket, and that of its state file ("" for none), which only a
// live one has. It returns nil if there is none that we can see.
func Quiet(places []string, stateFile string) *QuietError {
	var locks []string
	for _, path := range places {
		locks = append(locks, path+lockSuffix)
	}
	if stateFile != "" {
		locks = append(locks, stateFile+lockSuffix)
	}
	for _, lock := range locks {
		pid, ok := holder(lock)
		if !ok {
			continue
		}
		at, watches := commandLine(pid)
		if at == "" {
			at = Default()
		}
		if slices.Contains(places, at) {
			at = ""
		}
		if watches {
			return &QuietError{PID: pid, At: at, Lock: lock, State: lock == stateFile+lockSuffix}
		}
	}
	return nil
}

// lockSuffix ends the name of the lock of a file.
const lockSuffix = ".lock"

// holder is the process that a lock names, if that still has it open. To try the lock
// itself would keep a watcher that starts from getting it.
func holder(lock string) (pid int, ok bool) {
	fd, err := unix.Open(lock, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	f := os.NewFile(uintptr(fd), lock)
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return 0, false
	}
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	if pid, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil || pid < 1 {
		return 0, false
	}
	open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, one := range open {
		if other, err := os.Stat(one); err == nil && os.SameFile(st, other) {
			return pid, true
		}
	}
	return 0, false
}

// commandLine reports whether a process watches, and which control socket it was told.
func commandLine(pid int) (at string, watches bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", false
	}
	args := strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00")
	for i, arg := range args {
		value, joined := strings.CutPrefix(arg, "--control=")
		switch {
		case joined:
			at = value
		case arg == "--control" && i+1 < len(args):
			at = args[i+1]
		}
	}
	return at, slices.Contains(args, "watch")
}
