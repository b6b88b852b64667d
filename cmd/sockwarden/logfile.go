package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"sockwarden/collectors/trust"
)

// logFile is a log that others can rename and that SIGHUP reopens.
type logFile struct {
	mu   sync.Mutex
	path string
	f    *os.File
	torn bool // it ends in a partial line
	hup  chan os.Signal
}

func openLogFile(path string) (*logFile, error) {
	l := &logFile{path: path, hup: make(chan os.Signal, 1)}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	signal.Notify(l.hup, syscall.SIGHUP)
	go func() {
		for range l.hup {
			if err := l.reopen(); err != nil {
				fmt.Fprintf(os.Stderr, "error: a log cannot be reopened: %v; still writing to the old one\n", err)
			}
		}
	}()
	return l, nil
}

func (l *logFile) reopen() error {
	f, err := trust.Append(l.path, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Close()
	}
	l.f, l.torn = f, endsTorn(f)
	return nil
}

// logPatience is how long a pipe or a terminal may block before we give up a line: a
// stalled reader must delay neither cycles nor the end.
const logPatience = time.Second

// Write writes a line with one write(2), all of it or nothing: if it did not fit on a
// full disk, the part is taken back. If that fails, the next write starts a new line.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := b
	if l.torn {
		line = slices.Concat([]byte{'\n'}, b)
	}
	_ = l.f.SetWriteDeadline(time.Now().Add(logPatience)) // files support none and need none
	n, err := l.f.Write(line)
	if err == nil {
		l.torn = false
		return len(b), nil
	}
	if n > 0 && !takeBack(l.f, int64(n)) {
		l.torn = true
	}
	return 0, err //nolint:wrapcheck // an io.Writer
}

// takeBack removes the last n bytes written to a file, if nothing was written after them.
func takeBack(f *os.File, n int64) bool {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	// After an append the offset is where the write ended.
	end, err := f.Seek(0, io.SeekCurrent)
	return err == nil && end >= n && st.Size() == end && f.Truncate(end-n) == nil
}

// endsTorn reports whether a file ends in a partial line, as after a crash.
func endsTorn(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
		return false
	}
	r, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return false
	}
	defer func() { _ = r.Close() }()
	last := make([]byte, 1)
	_, err = r.ReadAt(last, st.Size()-1)
	return err == nil && last[0] != '\n'
}

func (l *logFile) close() {
	signal.Stop(l.hup)
	close(l.hup)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.f.Close()
}
