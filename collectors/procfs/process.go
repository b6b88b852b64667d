package procfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxFile bounds how much of a file of /proc we read, in bytes; command lines can be
// megabytes.
const maxFile = 64 << 10

// process is an open directory of /proc: what is read through it belongs to the process
// that had the PID at that time, or the read fails.
type process struct {
	pid int
	dir int    // the directory of the process, or one in it
	up  string // the path from dir to the directory of the process, "" or "../"
}

func (p process) close() { _ = unix.Close(p.dir) }

// openat opens a file or directory of the process; the caller closes it.
func (p process) openat(name string, flags int) (int, error) {
	fd, err := unix.Openat(p.dir, p.up+name, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s of process %d: %w", name, p.pid, err)
	}
	return fd, nil
}

func (p process) read(name string) ([]byte, error) {
	fd, err := p.openat(name, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 0, 4096)
	for len(buf) < maxFile {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s of process %d: %w", name, p.pid, err)
		}
		if n == 0 {
			break
		}
		buf = buf[:len(buf)+n]
	}
	return buf, nil
}

func (p process) stat() (stat, error) {
	b, err := p.read("stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

func (p process) readlink(name string) (string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(p.dir, p.up+name, buf)
	if err != nil {
		return "", fmt.Errorf("readlink %s of process %d: %w", name, p.pid, err)
	}
	return string(buf[:n]), nil
}
