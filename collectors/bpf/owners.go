package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Holder is one descriptor of a process that is a socket, or one of the first three.
type Holder struct {
	// Inode is that of the socket in sockfs, as in idiag_inode and socket:[inode]; 0
	// if it is none, and shows only that the process was come upon.
	Inode uint32
	PID   int    // of the process (its thread group), in the reader's PID namespace
	FD    int    // in the table of the process, or in that of a thread that has its own
	Table uint64 // tells tables apart: threads, and processes, can have one together
	// References is how many descriptors there were of the socket at that moment, of
	// whomever; messages that carry it and system calls under way count, too.
	References int64
}

// Owners is a loaded task_file iterator (Linux 5.11). It is not safe for
// concurrent use.
type Owners struct {
	iter  *link.Iter
	buf   []byte
	extra int64 // what the count of references has besides descriptors
	// probe is a socket with one descriptor, of which is known what must be found.
	probe      int
	probeInode uint32
	sound      bool
}

// bufferSize is how much is read at once; the kernel prepares 32 KiB at a time.
const bufferSize = 64 << 10

// OpenOwners loads the iterator. It is ErrNotPermitted without CAP_BPF and
// CAP_PERFMON, and ErrNotSupported where the kernel has no such iterator or does
// not describe its types.
func OpenOwners() (*Owners, error) {
	o := &Owners{buf: make([]byte, bufferSize)}
	write := func(l *layout) asm.Instructions {
		o.extra = notDescriptors(l)
		return ownersProgram(l)
	}
	c, err := load("task_file", ebpf.AttachTraceIter, write, nil)
	if err != nil {
		return nil, fmt.Errorf("load the task_file iterator: %w", err)
	}
	defer c.Close() // the link keeps the program
	if o.iter, err = link.AttachIter(link.IterOptions{Program: c.Programs[program]}); err != nil {
		return nil, fmt.Errorf("attach the task_file iterator: %w", classify(err))
	}
	if err := o.makeProbe(); err != nil {
		_ = o.Close()
		return nil, err
	}
	return o, nil
}

func (o *Owners) makeProbe() (err error) {
	if o.probe, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open a socket to be found: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(o.probe, &st); err != nil {
		return fmt.Errorf("examine a socket to be found: %w", err)
	}
	o.probeInode = uint32(st.Ino)
	return nil
}

// Sound reports whether the References of the last scan say what they should: so
// they did of a socket with one descriptor.
func (o *Owners) Sound() bool { return o.sound }

// Scan yields every socket descriptor, and 0, 1 and 2, of every process of this PID namespace until yield returns
// false: of any protocol and network namespace, and of threads that do not share
// the descriptors of their process. The same descriptor can come more than once,
// and what is opened or closed meanwhile may come or not.
func (o *Owners) Scan(ctx context.Context, yield func(Holder) bool) error {
	o.sound = false
	probed := uint64(0) // where; threads can come with the same table again
	inner := yield
	yield = func(h Holder) bool {
		if h.Inode == o.probeInode {
			o.sound = h.References == 1 && (probed == 0 || o.sound && probed == h.Table)
			probed = h.Table
		}
		return inner(h)
	}
	r, err := o.iter.Open()
	if err != nil {
		return fmt.Errorf("walk all descriptors: %w", classify(err))
	}
	defer func() { _ = r.Close() }()
	have := 0
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(o.buf[have:])
		have += n
		used, stop := decode(o.buf[:have], o.extra, yield)
		if stop {
			return nil
		}
		have = copy(o.buf, o.buf[used:have])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, unix.EAGAIN): // a million files in a row were no sockets
		case err != nil:
			return fmt.Errorf("walk all descriptors: %w", err)
		}
	}
}

// decode yields the whole records in b and returns their length.
func decode(b []byte, extra int64, yield func(Holder) bool) (used int, stop bool) {
	for ; len(b)-used >= recordSize; used += recordSize {
		r := b[used : used+recordSize]
		inode := binary.NativeEndian.Uint64(r[recordInode:])
		if inode > math.MaxUint32 {
			continue // sockfs does not number so far, and sock_diag could not show it
		}
		h := Holder{
			Inode: uint32(inode),
			PID:   int(binary.NativeEndian.Uint32(r[recordPID:])),
			FD:    int(binary.NativeEndian.Uint32(r[recordFD:])),

			Table:      binary.NativeEndian.Uint64(r[recordTable:]),
			References: int64(binary.NativeEndian.Uint64(r[recordRefs:])) - extra,
		}
		if !yield(h) {
			return used, true
		}
	}
	return used, false
}

// Close unloads the iterator.
func (o *Owners) Close() error {
	if o.probe > 0 {
		_ = unix.Close(o.probe)
		o.probe = 0
	}
	if err := o.iter.Close(); err != nil {
		return fmt.Errorf("close the task_file iterator: %w", err)
	}
	return nil
}
