package sockdiag

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// batchLen is how many requests go to the kernel in one system call. Their
// answers must fit into the receive buffer, which holds about 256 acknowledgements by
// default.
const batchLen = 64

// ErrNoAnswer says that the kernel may or may not have done what we asked: its answer was
// lost.
var ErrNoAnswer = errors.New("the kernel's answer was lost")

// ErrNotAsked says that we did not ask the kernel about this socket, because an earlier
// request on this connection hangs. Another connection can still ask.
var ErrNotAsked = errors.New("not asked")

// GetAll is Get for many sockets, in batches. For each socket it returns the current
// record or an error: a stuck.Call for a socket whose lock the kernel is waiting for,
// ErrNotAsked for every socket after it.
func (c *Conn) GetAll(ctx context.Context, socks []*collectors.Socket) ([]collectors.Socket, []error) {
	now, errs := make([]collectors.Socket, len(socks)), make([]error, len(socks))
	var left []int // of MPTCP, to be found in a dump
	for at := 0; at < len(socks); at += batchLen {
		part := socks[at:min(at+batchLen, len(socks))]
		b := batch{typ: typeByFamily, now: now[at:], errs: errs[at:]}
		for i, s := range part {
			b.add(s, true)
			b.errs[i] = ErrNoAnswer
		}
		err := c.exchange(ctx, &b, part)
		for i, s := range part {
			switch answer := errs[at+i]; {
			case answer == nil && isAnother(&now[at+i], s), isSearched(answer, s) && s.Protocol == collectors.MPTCP:
				left = append(left, at+i)
			case answer == nil:
				now[at+i].NetNS = c.id
			case err != nil && errors.Is(answer, ErrNoAnswer):
				errs[at+i] = fmt.Errorf("look up socket %x: %w", s.Cookie, err)
				err = c.behind(err)
			case errors.Is(answer, ErrNoAnswer), isSearched(answer, s):
				now[at+i], errs[at+i] = c.Get(ctx, s)
			default:
				errs[at+i] = fmt.Errorf("look up socket %x: %w", s.Cookie, answer)
			}
		}
	}
	c.findAll(ctx, left, socks, now, errs)
	return now, errs
}

// DestroyAll is Destroy for many sockets, in batches. The kernel answers only for sockets
// that it did not destroy, and for the last of each batch. A stuck.Call says that the
// kernel is waiting for a lock of one socket in a batch: it has destroyed those before
// it, and will destroy the rest when it gets the lock.
func (c *Conn) DestroyAll(ctx context.Context, socks []*collectors.Socket) []error {
	errs := make([]error, len(socks))
	for at := 0; at < len(socks); at += batchLen {
		part := socks[at:min(at+batchLen, len(socks))]
		b := batch{typ: typeDestroy, errs: errs[at:]}
		for i, s := range part {
			b.add(s, i == len(part)-1)
		}
		err := c.exchange(ctx, &b, part)
		for i, s := range part {
			switch {
			case s.Cookie == 0 || s.Cookie == ^uint64(0):
				errs[at+i] = errNoCookie
			case s.Protocol == collectors.MPTCP:
				errs[at+i] = errMPTCP
			case err != nil && errs[at+i] == nil:
				errs[at+i] = fmt.Errorf("destroy socket %x: %w", s.Cookie, err)
			case errs[at+i] != nil:
				errs[at+i] = fmt.Errorf("destroy socket %x: %w", s.Cookie, errs[at+i])
			}
		}
	}
	return errs
}

// isSearched reports whether a socket may exist although an exact look-up did not find
// it.
func isSearched(err error, s *collectors.Socket) bool {
	return errors.Is(err, collectors.ErrGone) && (s.Protocol != collectors.TCP || s.State == collectors.Listen || s.State == collectors.Close)
}

// isAnother reports whether the record is not the one of a socket of MPTCP that was looked
// up by its token: the kernel did not compare the cookie.
func isAnother(now, s *collectors.Socket) bool {
	return s.Protocol == collectors.MPTCP && now.Cookie != s.Cookie
}

// batch is a number of requests of one type in one message to the kernel, with their
// results.
type batch struct {
	typ      uint16
	requests []byte
	now      []collectors.Socket // the answers to look-ups
	errs     []error
}

// add appends a request. The kernel answers only if it fails, unless answer is set.
func (b *batch) add(s *collectors.Socket, answer bool) {
	tokenless := s.Protocol == collectors.MPTCP && (s.Token == 0 || b.typ == typeDestroy)
	if s.Cookie == 0 || s.Cookie == ^uint64(0) || tokenless {
		s = &collectors.Socket{Family: collectors.IPv4, Protocol: collectors.TCP, Cookie: 1} // no socket has this cookie
	}
	flags := uint16(unix.NLM_F_REQUEST)
	if answer && b.typ == typeDestroy {
		flags |= unix.NLM_F_ACK
	}
	body := exactRequest(s)
	if b.typ == typeByFamily && s.Protocol == collectors.UDP {
		swapEnds(body)
	}
	b.append(flags, body)
}

// append appends a request of reqLen bytes.
func (b *batch) append(flags uint16, body []byte) {
	b.requests = ne.AppendUint32(b.requests, uint32(nlHeaderLen+len(body)))
	b.requests = ne.AppendUint16(b.requests, b.typ)
	b.requests = ne.AppendUint16(b.requests, flags)
	b.requests = ne.AppendUint32(b.requests, 0) // seq, set by exchange
	b.requests = ne.AppendUint32(b.requests, 0) // pid: the kernel fills it in
	b.requests = append(b.requests, body...)
}

// exchange sends a batch and reads the answers. The kernel handles the requests in order
// before the call returns. Any error but ErrNoAnswer says that nothing was sent.
func (c *Conn) exchange(ctx context.Context, b *batch, socks []*collectors.Socket) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	if c.raw == nil {
		raw, err := c.nl.SyscallConn()
		if err != nil {
			return fmt.Errorf("sock_diag: %w", err)
		}
		c.raw, c.answers = raw, make([]byte, bufLen)
	}
	first := c.sequence + 1
	for i, at := uint32(0), 0; at < len(b.requests); i++ {
		ne.PutUint32(b.requests[at+8:], first+i)
		at += int(ne.Uint32(b.requests[at:]))
	}
	c.sequence += uint32(len(socks))
	var err, rawErr error
	raw, requests := c.raw, b.requests
	if hung := c.wait(ctx, "sock_diag", nil, func() {
		rawErr = raw.Write(func(fd uintptr) bool {
			err = unix.Sendto(int(fd), requests, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
			return !errors.Is(err, unix.EAGAIN)
		})
	}); hung != nil {
		c.answered(b, socks, first)
		return hung
	}
	if rawErr != nil {
		return fmt.Errorf("send: %w", rawErr)
	}
	if err != nil {
		return fmt.Errorf("send: %w", classify(err))
	}
	return c.readAnswers(b, socks, first)
}

// behind returns what the error of one request means for the requests after it.
func (c *Conn) behind(err error) error {
	if c.hung == nil || errors.Is(err, ErrNotAsked) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotAsked, c.hung)
}

// answered reads the answers that have arrived while a batch hangs in the kernel. They
// arrive in the order of the requests.
func (c *Conn) answered(b *batch, socks []*collectors.Socket, first uint32) {
	for {
		n, err := 0, error(nil)
		rawErr := c.raw.Read(func(fd uintptr) bool {
			n, err = unix.Read(int(fd), c.answers)
			return true
		})
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if rawErr != nil || err != nil || n <= 0 {
			return
		}
		if _, err := b.takeAll(c.answers[:n], socks, first); err != nil {
			return
		}
	}
}

// readAnswers reads until the last request of a batch is answered. If an answer is lost,
// the connection is useless: later answers would pass for those of other requests.
func (c *Conn) readAnswers(b *batch, socks []*collectors.Socket, first uint32) error {
	last := first + uint32(len(socks)) - 1
	c.busy = true
	for done := false; !done; {
		var n int
		var err error
		rawErr := c.raw.Read(func(fd uintptr) bool {
			n, err = unix.Read(int(fd), c.answers)
			return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		})
		if err = errors.Join(rawErr, err); err != nil {
			return fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		newest, err := b.takeAll(c.answers[:n], socks, first)
		if err != nil {
			return err
		}
		done = done || newest == last
	}
	c.busy = false
	return nil
}

// takeAll notes the answers in one datagram and returns the number of the last request
// answered.
func (b *batch) takeAll(buf []byte, socks []*collectors.Socket, first uint32) (newest uint32, err error) {
	for len(buf) >= nlHeaderLen {
		size := int(ne.Uint32(buf))
		if size < nlHeaderLen || size > len(buf) {
			return newest, fmt.Errorf("%w: netlink message of %d bytes in %d", ErrNoAnswer, size, len(buf))
		}
		typ, seq, body := ne.Uint16(buf[4:]), ne.Uint32(buf[8:]), buf[nlHeaderLen:size]
		buf = buf[min((size+3)&^3, len(buf)):]
		if i := int(seq - first); i >= 0 && i < len(socks) {
			b.take(i, typ, body, socks[i].Protocol)
			newest = seq
		}
	}
	return newest, nil
}

// take notes the answer to one request.
func (b *batch) take(i int, typ uint16, body []byte, p collectors.Protocol) {
	switch {
	case typ == unix.NLMSG_ERROR:
		b.errs[i] = nil
		if errno := errnoOf(body); errno != 0 {
			b.errs[i] = classify(errno)
		}
	case typ == typeByFamily && b.now != nil:
		b.errs[i] = decode(body, p, &b.now[i])
	}
}
