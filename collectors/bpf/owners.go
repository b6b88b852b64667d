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

// Holder is one descriptor of a process: a socket, or one of the first three.
type Holder struct {
	// Inode is the inode of the socket in sockfs, as in idiag_inode and socket:[inode]. 0
	// means that the descriptor is not a socket and only proves that the iterator visited
	// the process.
	Inode uint32
	PID   int    // thread group, in the reader's PID namespace
	FD    int    // in the table of the process, or of a thread that has its own
	Table uint64 // tells tables apart: threads, and processes, can share one
	// References is how many descriptors the socket had at that moment, whoever holds
	// them; messages that carry it and running system calls count, too.
	References int64
}

// Owners is a loaded task_file iterator (Linux 5.11). It is not safe for
// concurrent use.
type Owners struct {
	iter  *link.Iter
	buf   []byte
	extra int64 // by how much the reference count exceeds the descriptors
	// probe is a socket with one descriptor: a scan must find exactly that.
	probe      int
	probeInode uint32
	sound      bool
}

// bufferSize is how much one read takes; the kernel prepares 32 KiB at a time.
const bufferSize = 64 << 10

// OpenOwners loads the iterator. The error is ErrNotPermitted without CAP_BPF and
// CAP_PERFMON, and ErrNotSupported where the kernel has no such iterator or does not
// describe its types.
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
	defer c.Close() // the link keeps the program alive
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

// Sound reports whether the References of the last scan can be trusted: they were right
// for the probe.
func (o *Owners) Sound() bool { return o.sound }

// Scan yields every socket descriptor, and 0, 1 and 2, of every process in this PID
// namespace, until yield returns false. It covers every protocol and network namespace,
// and threads that do not share the descriptors of their process. A descriptor can come
// more than once; one that is opened or closed meanwhile may come or not.
func (o *Owners) Scan(ctx context.Context, yield func(Holder) bool) error {
	o.sound = false
	probed := uint64(0) // the table of the probe; threads can yield the same table again
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
		case errors.Is(err, unix.EAGAIN): // a million files in a row, and no socket
		case err != nil:
			return fmt.Errorf("walk all descriptors: %w", err)
		}
	}
}

// decode yields the complete records in b and returns their length.
func decode(b []byte, extra int64, yield func(Holder) bool) (used int, stop bool) {
	for ; len(b)-used >= recordSize; used += recordSize {
		r := b[used : used+recordSize]
		inode := binary.NativeEndian.Uint64(r[recordInode:])
		if inode > math.MaxUint32 {
			continue // sockfs never counts that far, and sock_diag could not show it
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
