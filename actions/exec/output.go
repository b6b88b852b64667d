package exec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

const (
	// maxTail is how much of the end of the output we report, in bytes.
	maxTail = 4 << 10
	// pipeSize is how much the program can print between two reads before it has to wait,
	// in bytes: what any user may have by default (fs.pipe-max-size).
	pipeSize = 1 << 20
)

// output is a pipe that keeps only the end of what came through: the program can print
// what it likes and uses no more memory than the pipe has.
type output struct {
	from   int // the reading end
	opened bool
	kept   []byte
}

// open returns the writing end.
func (o *output) open() (to int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("pipe: %w", err)
	}
	o.from, o.opened = p[0], true
	if err := unix.SetNonblock(o.from, true); err != nil {
		_ = unix.Close(p[1])
		o.close()
		return -1, fmt.Errorf("pipe: %w", err)
	}
	// If the kernel refuses, the pipe has 64 KiB, and the program waits more often.
	_, _ = unix.FcntlInt(uintptr(o.from), unix.F_SETPIPE_SZ, pipeSize)
	return p[1], nil
}

// take reads what is there, at most what the pipe holds at once.
func (o *output) take() {
	buf := make([]byte, 16<<10)
	for taken := 0; taken < pipeSize; {
		n, err := unix.Read(o.from, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return
		}
		taken += n
		o.kept = append(o.kept, buf[:n]...)
		if surplus := len(o.kept) - maxTail; surplus > 0 {
			o.kept = append(o.kept[:0], o.kept[surplus:]...)
		}
	}
}

// tail returns the end of the output on one line, safe for a terminal.
func (o *output) tail() string {
	line := strings.Join(strings.Fields(string(bytes.ToValidUTF8(o.kept, []byte("?")))), " ")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, line)
}

func (o *output) close() {
	if o.opened {
		_ = unix.Close(o.from)
		o.opened = false
	}
}
