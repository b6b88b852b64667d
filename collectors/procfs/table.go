package procfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Held is a socket in a descriptor table.
type Held struct {
	Inode uint32
	FD    int
}

// sockets returns the wanted sockets (nil: all) in a descriptor table, and the number of
// descriptors in it.
func (p process) sockets(table string, inodes map[uint32]bool) (held []Held, total int, err error) {
	fd, err := p.openat(table, unix.O_DIRECTORY)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	var r tableReader
	if total, err = r.read(fd, inodes); err != nil {
		return nil, 0, fmt.Errorf("read %s of process %d: %w", table, p.pid, err)
	}
	return r.held, total, nil
}

// tableReader reads descriptor tables one after the other and reuses its memory.
type tableReader struct {
	names listing
	link  [64]byte
	held  []Held // of the last table
}

// read looks through the open directory of a table. It reads the links and does not
// follow them to the inode (stat), although both cost the same: for a file on a network
// file system or on FUSE, stat asks the server and hangs until that answers, or is
// refused.
func (r *tableReader) read(fd int, inodes map[uint32]bool) (total int, err error) {
	r.held = r.held[:0]
	r.names.start(fd)
	for {
		name, err := r.names.next()
		if err != nil || name == nil {
			return total, err
		}
		total++
		n, err := unix.Readlinkat(fd, string(name), r.link[:])
		if errors.Is(err, unix.EACCES) {
			return total, fmt.Errorf("readlink: %w", err)
		}
		if err != nil {
			continue // closed meanwhile
		}
		inode, ok := socketInode(r.link[:n])
		if !ok || inodes != nil && !inodes[inode] {
			continue
		}
		if num, ok := number(name); ok {
			r.held = append(r.held, Held{inode, num})
		}
	}
}

// socketInode reads a link such as socket:[12345].
func socketInode(link []byte) (uint32, bool) {
	s, ok := strings.CutPrefix(string(link), "socket:[")
	if !ok || !strings.HasSuffix(s, "]") {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	return uint32(n), err == nil && n != 0
}

// number reads a name that is a PID or a descriptor.
func number(name []byte) (int, bool) {
	n := 0
	for _, c := range name {
		if c < '0' || c > '9' || n > (math.MaxInt32-9)/10 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(name) > 0
}

// listing reads the names in a directory without allocating each.
type listing struct {
	fd   int
	buf  []byte
	rest []byte // read, but not yet returned
}

// start begins with a directory that was just opened.
func (l *listing) start(fd int) {
	if l.buf == nil {
		l.buf = make([]byte, 8<<10)
	}
	l.fd, l.rest = fd, nil
}

// next returns the next name, valid until the next call; nil at the end.
func (l *listing) next() ([]byte, error) {
	for {
		if len(l.rest) == 0 {
			n, err := unix.Getdents(l.fd, l.buf)
			if err != nil {
				return nil, fmt.Errorf("getdents64: %w", err)
			}
			if n == 0 {
				return nil, nil
			}
			l.rest = l.buf[:n]
		}
		name, rest, err := cutEntry(l.rest)
		if err != nil {
			return nil, err
		}
		if l.rest = rest; string(name) != "." && string(name) != ".." {
			return name, nil
		}
	}
}

// Offsets of length and name in struct linux_dirent64 (include/linux/dirent.h), the same
// on every architecture.
const (
	direntLength = 16
	direntName   = 19
)

// cutEntry takes the first entry off what getdents64(2) returned.
func cutEntry(b []byte) (name, rest []byte, err error) {
	if len(b) <= direntName {
		return nil, nil, fmt.Errorf("directory entry of %d bytes", len(b))
	}
	length := int(binary.NativeEndian.Uint16(b[direntLength:]))
	if length <= direntName || length > len(b) {
		return nil, nil, fmt.Errorf("directory entry of %d bytes in %d", length, len(b))
	}
	name, _, ok := bytes.Cut(b[direntName:length], []byte{0})
	if !ok || len(name) == 0 {
		return nil, nil, errors.New("directory entry without a name")
	}
	return name, b[length:], nil
}
