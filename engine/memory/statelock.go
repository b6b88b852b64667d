package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
	"sockwarden/engine/world"
)

// lockWait is how long a live run waits for a dry one to write.
const (
	lockWait  = 500 * time.Millisecond
	lockTries = 20 // in that time
)

// waitForLock takes the lock for as long as the run lasts, and leaves its PID in
// it. A live run fails without: its cool-downs must last.
func (s *StateFile) waitForLock() (*os.File, error) {
	f, err := s.takeLock()
	for tries := 0; errors.Is(err, ErrLocked) && tries < lockTries; tries++ {
		time.Sleep(lockWait / lockTries) //nolint:forbidigo // flock(2) cannot wait for some time only
		f, err = s.takeLock()
	}
	if errors.Is(err, ErrLocked) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("state file: %w; name another: --state-file", err)
	}
	noteHolder(f)
	RemoveLeftovers(s.Path)
	return f, nil
}

// takeLock makes the directory and locks a file beside the state file, which is
// itself replaced at every write.
func (s *StateFile) takeLock() (*os.File, error) {
	if err := MakeDir(filepath.Dir(s.Path)); err != nil {
		return nil, err
	}
	f, holder, err := tryLock(s.Path + ".lock")
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("%w: process %s holds %s.lock; stop it, or wait for its end: two live runs would do everything twice, and not know of each other's cool-downs", ErrLocked, holder, s.Path)
	}
	return f, err
}

// tryLock locks a file, and makes it if it is not there. ErrLocked says that the holder,
// a process ID, has it.
func tryLock(path string) (f *os.File, holder string, err error) {
	if f, err = openLock(path); err != nil {
		return nil, "", err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, "", nil
	}
	defer func() { _ = f.Close() }()
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, "", fmt.Errorf("lock %s: %w", path, err)
	}
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	return nil, strings.TrimSpace(string(b)), ErrLocked
}

// Lock locks a file for as long as it is open, leaves our process ID in it, and makes it
// if it is not there. If another process has the lock, holder names it, and the error is
// ErrLocked.
func Lock(path string) (f *os.File, holder string, err error) {
	if f, holder, err = tryLock(path); err != nil {
		return nil, holder, err
	}
	noteHolder(f)
	return f, "", nil
}

// lockPoll is how often LockWithin tries.
const lockPoll = 10 * time.Millisecond

// LockWithin is Lock that waits for another process at most that long. The error then says
// which one has the lock; it is that of ctx if that ends first.
func LockWithin(ctx context.Context, path string, patience time.Duration) (*os.File, error) {
	until := world.Mono() + patience.Seconds()
	for {
		lock, holder, err := Lock(path)
		switch {
		case err == nil:
			return lock, nil
		case !errors.Is(err, ErrLocked):
			return nil, err
		case world.Mono() > until:
			return nil, fmt.Errorf("process %s holds %s: %w", holder, path, unix.EAGAIN)
		}
		world.Sleep(ctx, world.SystemClock(), lockPoll)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func noteHolder(f *os.File) {
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

// openLock opens the file that is locked, and makes it if it is not there. What
// lies there and is not a lock of ours is not touched.
func openLock(path string) (*os.File, error) {
	dir, name, err := trust.Parent(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat(dir.FD(), name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = trust.ErrNotRegular
	case int(st.Uid) != os.Geteuid():
		err = fmt.Errorf("belongs to uid %d", st.Uid)
	case st.Nlink != 1:
		err = fmt.Errorf("is a file with %d names, and not a lock", st.Nlink)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// CheckState is nil if a live run could keep its memory in this state file. It
// changes nothing but that it makes the directory. ErrLocked says that one does.
func CheckState(path string) error {
	if path == "" {
		return nil
	}
	s, _, err := OpenState(path, false, world.Mono)
	if err != nil {
		return err
	}
	if s.Unread != nil { // stops what acts
		return s.Unread
	}
	lock, err := s.takeLock()
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	return s.tryWrite()
}
