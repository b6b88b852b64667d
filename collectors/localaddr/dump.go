package localaddr

import (
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// bufLen holds the largest datagram of a dump: the kernel fills at most 32 KiB at once.
const bufLen = 32 << 10

// errInterrupted says that what a dump shows changed during the dump.
var errInterrupted = errors.New("changed during the dump")

// conn is an rtnetlink socket. It keeps its namespace alive.
type conn struct {
	fd  int
	buf []byte
	seq uint32
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	// Without it (before Linux 4.20) the kernel reads only the family of a request.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return &conn{fd: fd, buf: make([]byte, bufLen)}, nil
}

// request returns a request for a dump. Its own header has the given length and begins with
// the family.
func request(typ uint16, family byte, header int) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+header)
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], typ)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b[unix.SizeofNlMsghdr] = family
	return b
}

// dump sends a request and calls visit with each message of the answer. The message is
// valid only during the call.
func (c *conn) dump(request []byte, visit func(typ uint16, body []byte)) error {
	c.seq++
	ne.PutUint32(request[8:], c.seq)
	if err := unix.Sendto(c.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	interrupted := false
	for {
		b, err := c.receive()
		if err != nil {
			return err
		}
		for len(b) >= unix.SizeofNlMsghdr {
			n := int(ne.Uint32(b))
			if n < unix.SizeofNlMsghdr || n > len(b) {
				return fmt.Errorf("netlink message of %d bytes in %d", n, len(b))
			}
			typ, flags, seq, body := ne.Uint16(b[4:]), ne.Uint16(b[6:]), ne.Uint32(b[8:]), b[unix.SizeofNlMsghdr:n]
			b = b[min((n+3)&^3, len(b)):]
			if seq != c.seq {
				continue
			}
			interrupted = interrupted || flags&unix.NLM_F_DUMP_INTR != 0
			if typ == unix.NLMSG_DONE || typ == unix.NLMSG_ERROR {
				return ended(body, interrupted)
			}
			visit(typ, body)
		}
	}
}

// receive returns the next datagram of the kernel.
func (c *conn) receive() ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_TRUNC)
		switch who, _ := from.(*unix.SockaddrNetlink); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, fmt.Errorf("receive: %w", err)
		case n > len(c.buf):
			return nil, fmt.Errorf("netlink datagram of %d bytes", n)
		case who != nil && who.Pid == 0: // only the kernel: others can write to the socket, too
			return c.buf[:n], nil
		}
	}
}

func ended(body []byte, interrupted bool) error {
	if len(body) >= 4 {
		if errno := -int32(ne.Uint32(body)); errno != 0 {
			return fmt.Errorf("dump: %w", unix.Errno(errno))
		}
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}

// attributes yields type and value of each netlink attribute in b, up to one whose length
// is impossible.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		const header, typeMask = 4, 0x3fff
		for len(b) >= header {
			n := int(ne.Uint16(b))
			if n < header || n > len(b) || !yield(ne.Uint16(b[2:])&typeMask, b[header:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}
