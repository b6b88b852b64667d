package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/stuck"
)

// Conn is one sock_diag socket in one network namespace. It is not safe for concurrent
// use. It keeps its namespace alive: close it soon.
type Conn struct {
	nl *netlink.Conn
	id uint64
	// busy is set until a dump has been read to its end: what the kernel still sends
	// would pass for the answer to the next request.
	busy bool
	// For batches: the descriptor, room for answers, and the number of the last request.
	raw      syscall.RawConn
	answers  []byte
	sequence uint32
	// hung is a request from which the kernel has not come back. Until it does, the
	// request owns the connection.
	hung *stuck.Call
}

var errNoCookie = errors.New("destroy socket: it has no cookie, refusing")

// errMPTCP says what the kernel would: it has no way to destroy a connection of MPTCP
// (EOPNOTSUPP).
var errMPTCP = fmt.Errorf("destroy socket: %w: it is MPTCP", collectors.ErrNotSupported)

var errBusy = errors.New("a dump over this connection was not read to its end")

// Dial opens a connection in a namespace, given as an open nsfs or pid descriptor; a
// negative one means the caller's own. To enter another namespace takes CAP_SYS_ADMIN:
// without it the error is ErrNotPermitted.
func Dial(netns int) (*Conn, error) {
	var config netlink.Config
	if netns >= 0 {
		config.NetNS = netns
	}
	nl, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, &config)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", classify(err))
	}
	c := &Conn{nl: nl}
	if c.id, err = c.netnsID(); err != nil {
		_ = nl.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the netlink socket, at the latest when the kernel comes back from the last
// request.
func (c *Conn) Close() error {
	if c.hung != nil {
		go func() {
			<-c.hung.Done()
			_ = c.nl.Close()
		}()
		return nil //nolint:nilerr // closing goes on by itself
	}
	if err := c.nl.Close(); err != nil {
		return fmt.Errorf("close sock_diag: %w", err)
	}
	return nil
}

// Spent reports whether the connection refuses everything but Close: the kernel did not
// come back from a request, or an answer was lost. A new connection may work.
func (c *Conn) Spent() bool { return c.hung != nil || c.busy }

// NetNS returns the identity of the namespace: its cookie (SO_NETNS_COOKIE, Linux 5.14),
// which no later namespace gets; 0 on older kernels.
func (c *Conn) NetNS() uint64 { return c.id }

func (c *Conn) netnsID() (uint64, error) {
	raw, err := c.nl.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("sock_diag: %w", err)
	}
	var id uint64
	var opErr error
	err = raw.Control(func(fd uintptr) {
		id, opErr = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	})
	if err != nil {
		return 0, fmt.Errorf("sock_diag: %w", err)
	}
	if errors.Is(opErr, unix.ENOPROTOOPT) {
		return 0, nil
	}
	if opErr != nil {
		return 0, fmt.Errorf("SO_NETNS_COOKIE: %w", opErr)
	}
	return id, nil
}

// Get looks s up by tuple, interface and cookie and returns its current record. ErrGone
// says that no socket has this cookie any more.
//
// The kernel looks at only one member of an SO_REUSEPORT group and does not look up bound
// TCP sockets at all, and connections of MPTCP only by their token. Where it does not find
// a listener, a bound socket or a UDP socket, or the token of MPTCP is unknown, Get
// searches for it in a dump.
//
// The error is a stuck.Call if the kernel does not come back: it is waiting for the lock
// of the socket, to read its tcp_info. The connection then refuses everything but Close.
func (c *Conn) Get(ctx context.Context, s *collectors.Socket) (collectors.Socket, error) {
	req := exactRequest(s)
	if s.Protocol == collectors.UDP {
		swapEnds(req)
	}
	msgs, err := c.execute(ctx, typeByFamily, 0, req)
	if err != nil {
		if isSearched(err, s) {
			return c.search(ctx, s)
		}
		return collectors.Socket{}, fmt.Errorf("look up socket %x: %w", s.Cookie, err)
	}
	var now collectors.Socket
	for _, m := range msgs {
		if m.Header.Type != typeByFamily {
			continue
		}
		if err := decode(m.Data, s.Protocol, &now); err != nil {
			return collectors.Socket{}, fmt.Errorf("look up socket %x: %w", s.Cookie, err)
		}
		if isAnother(&now, s) {
			return c.search(ctx, s)
		}
		now.NetNS = c.id
		return now, nil
	}
	return collectors.Socket{}, fmt.Errorf("look up socket %x: the kernel sent no record", s.Cookie)
}

// search looks for a socket in a dump. One of the listeners is read first for a listener: it
// takes 0.1 ms, where one of all connections takes long on a busy host.
func (c *Conn) search(ctx context.Context, s *collectors.Socket) (collectors.Socket, error) {
	if s.State == collectors.Listen {
		now, err := c.searchAmong(ctx, s, collectors.Mask(collectors.Listen))
		if !errors.Is(err, collectors.ErrGone) {
			return now, err
		}
	}
	return c.searchAmong(ctx, s, collectors.AllStates)
}

func (c *Conn) searchAmong(ctx context.Context, s *collectors.Socket, states collectors.StateMask) (collectors.Socket, error) {
	found, err := c.find(ctx, s.Protocol, s.Family, states, map[uint64]bool{s.Cookie: true})
	if err == nil && len(found) == 0 {
		err = collectors.ErrGone
	}
	if err != nil {
		return collectors.Socket{}, fmt.Errorf("look up socket %x: %w", s.Cookie, err)
	}
	return found[s.Cookie], nil
}

// find returns the sockets in some states that have one of the cookies, by their cookie. It
// reads the dump to its end, so that the connection stays usable.
func (c *Conn) find(
	ctx context.Context, p collectors.Protocol, f collectors.Family, states collectors.StateMask, wanted map[uint64]bool,
) (map[uint64]collectors.Socket, error) {
	found := map[uint64]collectors.Socket{}
	var failed error
	var read atomic.Uint64
	w := walk{typeByFamily, p, f, dumpRequest(f, p, states, everyExt(p), nil)}
	if err := c.usable(ctx); err != nil {
		return nil, err
	}
	if err := c.wait(ctx, "sock_diag", &read, func() {
		for now, err := range c.records(ctx, &w) {
			if read.Add(1); err != nil {
				failed = err
				return
			}
			if wanted[now.Cookie] {
				found[now.Cookie] = *now
			}
		}
	}); err != nil {
		return nil, err
	}
	return found, failed
}

// findAll looks for many sockets of MPTCP in one dump of each family; which says where
// they are among all. An error about a family is one about each of them.
func (c *Conn) findAll(ctx context.Context, which []int, socks []*collectors.Socket, now []collectors.Socket, errs []error) {
	for _, f := range []collectors.Family{collectors.IPv4, collectors.IPv6} {
		wanted := map[uint64]bool{}
		for _, i := range which {
			if socks[i].Family == f {
				wanted[socks[i].Cookie] = true
			}
		}
		if len(wanted) == 0 {
			continue
		}
		found, err := c.find(ctx, collectors.MPTCP, f, collectors.AllStates, wanted)
		for _, i := range which {
			if socks[i].Family != f {
				continue
			}
			var there bool
			if now[i], there = found[socks[i].Cookie]; !there && err == nil {
				errs[i] = fmt.Errorf("look up socket %x: %w", socks[i].Cookie, collectors.ErrGone)
			} else if errs[i] = err; err != nil {
				errs[i] = fmt.Errorf("look up socket %x: %w", socks[i].Cookie, err)
			}
		}
	}
}

// Destroy closes s in the kernel (SOCK_DESTROY, Linux 4.5 with CONFIG_INET_DIAG_DESTROY).
// It names the socket by tuple, interface and cookie, and refuses one without a cookie.
// The process keeps its descriptor. The kernel does not compare the state: call Get just
// before.
//
// Errors: ErrGone, ErrNotPermitted (needs CAP_NET_ADMIN in the user namespace that owns
// the network namespace), ErrNotSupported.
func (c *Conn) Destroy(ctx context.Context, s *collectors.Socket) error {
	if s.Cookie == 0 || s.Cookie == ^uint64(0) {
		return errNoCookie
	}
	if s.Protocol == collectors.MPTCP {
		return errMPTCP
	}
	if _, err := c.execute(ctx, typeDestroy, netlink.Acknowledge, exactRequest(s)); err != nil {
		return fmt.Errorf("destroy socket %x: %w", s.Cookie, err)
	}
	return nil
}

// Exists reports whether a socket has the cookie of s. Unlike Get it takes no socket
// lock.
func (c *Conn) Exists(ctx context.Context, s *collectors.Socket) (bool, error) {
	req := exactRequest(s)
	req[2] = 0 // no tcp_info
	if s.Protocol == collectors.UDP {
		swapEnds(req)
	}
	_, err := c.execute(ctx, typeByFamily, 0, req)
	if errors.Is(err, collectors.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for socket %x: %w", s.Cookie, err)
	}
	return true, nil
}

// Supported asks the kernel whether it can destroy sockets at all, by naming a socket
// that cannot exist. The error is ErrNotSupported if it cannot. A nil error says nothing
// about permission: the kernel looks the socket up first.
func (c *Conn) Supported(ctx context.Context) error {
	nobody := collectors.Socket{Family: collectors.IPv4, Protocol: collectors.TCP, Cookie: 1}
	err := c.Destroy(ctx, &nobody)
	if err == nil || errors.Is(err, collectors.ErrGone) || errors.Is(err, collectors.ErrNotPermitted) {
		return nil
	}
	return err
}

// Handled asks the kernel whether it shows sockets of a protocol at all. The error is
// ErrNotSupported where the module (tcp_diag, udp_diag) is missing.
func (c *Conn) Handled(ctx context.Context, p collectors.Protocol) error {
	q := collectors.Query{Protocols: []collectors.Protocol{p}, States: collectors.Mask(collectors.Listen)}
	for _, err := range c.Dump(ctx, q) {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) execute(ctx context.Context, typ netlink.HeaderType, flags netlink.HeaderFlags, data []byte) ([]netlink.Message, error) {
	if err := c.usable(ctx); err != nil {
		return nil, err
	}
	var msgs []netlink.Message
	var failed error
	err := c.wait(ctx, "sock_diag", nil, func() {
		msgs, failed = c.nl.Execute(netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request | flags},
			Data:   data,
		})
	})
	switch {
	case err != nil:
		return nil, err
	case failed != nil:
		return nil, classify(failed)
	}
	return msgs, nil
}

// usable returns nil if the connection can take another request.
func (c *Conn) usable(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case c.hung != nil:
		return fmt.Errorf("%w: %w", ErrNotAsked, c.hung)
	case c.busy:
		return errBusy
	}
	return nil
}

// wait runs f, which calls the kernel over the connection. If a call does not come back,
// the connection belongs to it.
func (c *Conn) wait(ctx context.Context, what string, progress *atomic.Uint64, f func()) error {
	err := stuck.Watch(ctx, what, progress, f)
	c.hung = stuck.In(err)
	return err
}

// interruptReads makes a blocked read return when ctx ends; the connection is then
// useless. The returned function stops watching ctx.
func (c *Conn) interruptReads(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.nl.SetReadDeadline(time.Unix(1, 0)) })
}

// classify adds the sentinel error of package collectors that matches an errno.
func classify(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, fs.ErrNotExist),
		errors.Is(err, unix.ESTALE): // a UDP socket with another cookie (sock_diag_check_cookie)
		return fmt.Errorf("%w (%w)", collectors.ErrGone, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", collectors.ErrNotPermitted, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w (%w)", collectors.ErrNotSupported, err)
	}
	return err
}
