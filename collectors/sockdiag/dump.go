package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// bufLen holds the largest datagram of a dump: the kernel never sends more than 32 KiB at
// once, whatever the buffer (netlink_dump in net/netlink/af_netlink.c).
const bufLen = 32 << 10

const nlHeaderLen = 16

// Plugin returns the registration of this collector.
func Plugin() collectors.Plugin {
	return collectors.Plugin{
		Name:       "sockdiag",
		Summary:    "TCP, UDP and MPTCP sockets from the kernel by netlink sock_diag",
		Doc:        "Dumps the sockets of a network namespace with their state, queues, timers, cookie and tcp_info. Every user sees all sockets of the namespace.",
		Needs:      "Linux 4.5 with INET_DIAG; CAP_SYS_ADMIN to look into other namespaces; CAP_NET_ADMIN to destroy",
		Actionable: true,
		New:        func(netns int) collectors.Collector { return source{netns} },
	}
}

type source struct{ netns int }

// Collect dials, streams and closes: no socket outlives the call.
func (s source) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		c, err := Dial(s.netns)
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() { _ = c.Close() }()
		for rec, err := range c.Dump(ctx, q) {
			if !yield(rec, err) {
				return
			}
		}
	}
}

// Dump streams the answer to q over one reused record and one reused buffer, protocol by
// protocol; for TCP one walk through the kernel's table covers both families. A family
// that the kernel lacks has no sockets, nor has MPTCP where the kernel lacks it; where only
// mptcp_diag is missing the error is ErrNotSupported. An abandoned or failed dump leaves
// the connection unusable: it then refuses everything but Close. With tcp_info the kernel
// takes the lock of each socket and so may never come back (see package stuck); the reader
// waits for it.
//
// A dump is no snapshot: while sockets come and go, it can miss listeners and UDP sockets
// that share a port, or show them twice.
func (c *Conn) Dump(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		for _, p := range q.Protocols {
			for _, w := range walks(q, p) {
				if !c.answer(ctx, &w, q, yield) {
					return
				}
			}
		}
	}
}

// answer streams one walk and reports whether to go on. If the kernel does not understand
// the request, answer repeats it in the simplest form.
func (c *Conn) answer(ctx context.Context, w *walk, q collectors.Query, yield func(*collectors.Socket, error) bool) bool {
	understood := true
	for rec, err := range c.dump(ctx, w) {
		switch {
		case err == nil:
		case !q.Plain && (errors.Is(err, unix.EINVAL) || w.typ == typeGetSock && errors.Is(err, unix.EOPNOTSUPP)):
			understood = false // read to the end: only then can another dump begin
			continue
		case w.family == collectors.IPv6 && errors.Is(err, collectors.ErrNotSupported):
			return true // the kernel has no IPv6
		case w.protocol == collectors.MPTCP && errors.Is(err, collectors.ErrNotSupported) && !HasMPTCP():
			return true
		}
		if !yield(rec, err) || err != nil {
			return false
		}
	}
	if understood {
		return true
	}
	q.Plain = true
	for _, w := range walks(q, w.protocol) {
		if !c.answer(ctx, &w, q, yield) {
			return false
		}
	}
	return true
}

// HasMPTCP reports whether the kernel has sockets of MPTCP, enabled or not. Without them
// there are none to show.
func HasMPTCP() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, int(collectors.MPTCP))
	if err == nil {
		_ = unix.Close(fd)
	}
	return !errors.Is(err, unix.EPROTONOSUPPORT) && !errors.Is(err, unix.EINVAL)
}

func (c *Conn) dump(ctx context.Context, w *walk) iter.Seq2[*collectors.Socket, error] {
	if err := c.usable(ctx); err != nil {
		return func(yield func(*collectors.Socket, error) bool) {
			yield(nil, w.failed(ctx, err))
		}
	}
	return c.records(ctx, w)
}

func (w *walk) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("dump %s: %w", w, err)
}

// records dumps over a connection that is known to be usable.
func (c *Conn) records(ctx context.Context, w *walk) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		fail := func(err error) { yield(nil, w.failed(ctx, err)) }
		c.busy = true
		sent, err := c.nl.Send(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(w.typ), Flags: netlink.Request | netlink.Dump},
			Data:   w.body,
		})
		if err != nil {
			fail(classify(err))
			return
		}
		defer c.interruptReads(ctx)()
		d := datagrams{seq: sent.Header.Sequence, pid: c.nl.PID(), buf: make([]byte, bufLen)}
		defer func() { c.busy = !d.done }()
		if d.raw, err = c.nl.SyscallConn(); err != nil {
			fail(err)
			return
		}
		s := new(collectors.Socket)
		for !d.done {
			if err := d.next(ctx); err != nil {
				fail(err)
				return
			}
			for body, err := range d.messages {
				if err == nil {
					err = decode(body, w.protocol, s)
				}
				if err != nil {
					fail(err)
					return
				}
				s.NetNS = c.id
				if !yield(s, nil) {
					return
				}
			}
		}
	}
}

// datagrams reads the answer to one dump into one buffer.
type datagrams struct {
	raw interface {
		Read(f func(fd uintptr) bool) error
	}
	fill func(fd uintptr) bool // d.read, bound once: binding it allocates
	buf  []byte
	n    int
	err  error // of the last read(2)
	seq  uint32
	pid  uint32
	done bool
}

func (d *datagrams) next(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.fill == nil {
		d.fill = d.read
	}
	err := d.raw.Read(d.fill)
	if err == nil {
		err = d.err
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

// read reports whether there was anything to read.
func (d *datagrams) read(fd uintptr) bool {
	for {
		n, err := unix.Read(int(fd), d.buf)
		if err != unix.EINTR { //nolint:errorlint // a bare errno
			d.n, d.err = max(n, 0), err
			return err != unix.EAGAIN //nolint:errorlint // a bare errno
		}
	}
}

// messages yields the bodies of the records in the datagram and notes the end of the
// dump. In a truncated datagram a message extends beyond the end.
func (d *datagrams) messages(yield func([]byte, error) bool) {
	b := d.buf[:d.n]
	for len(b) >= nlHeaderLen {
		n := int(ne.Uint32(b))
		if n < nlHeaderLen || n > len(b) {
			yield(nil, fmt.Errorf("netlink message of %d bytes in %d", n, len(b)))
			return
		}
		typ, seq, pid := ne.Uint16(b[4:]), ne.Uint32(b[8:]), ne.Uint32(b[12:])
		body := b[nlHeaderLen:n]
		b = b[min((n+3)&^3, len(b)):]
		if seq != d.seq || pid != d.pid {
			continue // an answer to somebody else
		}
		switch typ {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			// NLMSG_DONE, too, carries an errno: -ENOENT for a protocol without a
			// handler.
			d.done = true
			switch errno := errnoOf(body); errno {
			case 0:
			case unix.ENOENT:
				yield(nil, fmt.Errorf("%w: no sock_diag handler for it", collectors.ErrNotSupported))
			default:
				yield(nil, classify(errno))
			}
			return
		case typeByFamily, typeGetSock:
			if !yield(body, nil) {
				return
			}
		}
	}
	if len(b) != 0 {
		yield(nil, fmt.Errorf("%d stray bytes behind a netlink message", len(b)))
	}
}

func errnoOf(body []byte) unix.Errno {
	if len(body) < 4 {
		return 0
	}
	return unix.Errno(-int32(ne.Uint32(body)))
}
