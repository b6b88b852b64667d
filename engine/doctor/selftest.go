package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
)

// selfTest destroys one end of a loopback connection of its own.
func selfTest(ctx context.Context) error {
	pair, closePair, err := loopbackPair()
	if err != nil {
		return fmt.Errorf("make a loopback connection: %w", err)
	}
	defer closePair()
	s, err := describe(pair)
	if err != nil {
		return fmt.Errorf("describe a socket: %w", err)
	}
	c, err := sockdiag.Dial(-1)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Get(ctx, s); err != nil {
		return err
	}
	if err := c.Destroy(ctx, s); err != nil {
		return err
	}
	if _, err := c.Get(ctx, s); !errors.Is(err, collectors.ErrGone) {
		return fmt.Errorf("the kernel took the request, and the socket is still there: %w", collectors.ErrNotSupported)
	}
	return nil
}

// patience is how long the loopback connection may take: if the interface is down,
// connecting takes minutes to fail.
const patience = 2 // seconds

// loopbackPair returns one end of a connection.
func loopbackPair() (fd int, closeAll func(), err error) {
	var fds []int
	closeAll = func() {
		for _, f := range fds {
			// With a reset: a connection that could not be destroyed would otherwise stay
			// in TIME_WAIT.
			_ = unix.SetsockoptLinger(f, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			_ = unix.Close(f)
		}
	}
	client, err := connectToSelf(&fds)
	if err != nil {
		closeAll()
		return -1, nil, err
	}
	return client, closeAll, nil
}

// connectToSelf appends the sockets that it makes to fds and returns the one that
// connected.
func connectToSelf(fds *[]int) (client int, err error) {
	socket := func() int {
		f, serr := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if serr == nil {
			*fds = append(*fds, f)
			wait := &unix.Timeval{Sec: patience}
			serr = errors.Join(unix.SetsockoptTimeval(f, unix.SOL_SOCKET, unix.SO_SNDTIMEO, wait), unix.SetsockoptTimeval(f, unix.SOL_SOCKET, unix.SO_RCVTIMEO, wait))
		}
		err = errors.Join(err, serr)
		return f
	}
	listener, client := socket(), socket()
	if err != nil {
		return -1, err
	}
	loopback := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(unix.Bind(listener, loopback), unix.Listen(listener, 1)); err != nil {
		return -1, err
	}
	addr, err := unix.Getsockname(listener)
	if err != nil {
		return -1, err //nolint:wrapcheck // wrapped by the caller
	}
	if err := unix.Connect(client, addr); errors.Is(err, unix.EINPROGRESS) {
		return -1, errors.New("127.0.0.1 does not answer: is the interface lo up?")
	} else if err != nil {
		return -1, err //nolint:wrapcheck // wrapped by the caller
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, err //nolint:wrapcheck // wrapped by the caller
	}
	*fds = append(*fds, server)
	return client, nil
}

// describe describes a socket of this process as a dump would.
func describe(fd int) (*collectors.Socket, error) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return nil, fmt.Errorf("SO_COOKIE: %w", err)
	}
	local, err1 := unix.Getsockname(fd)
	remote, err2 := unix.Getpeername(fd)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	l, ok1 := local.(*unix.SockaddrInet4)
	r, ok2 := remote.(*unix.SockaddrInet4)
	if !ok1 || !ok2 {
		return nil, errors.New("not an IPv4 socket")
	}
	return &collectors.Socket{
		Protocol: collectors.TCP, Family: collectors.IPv4, State: collectors.Established, Cookie: cookie,
		Local: collectors.AddrFrom(netip.AddrFrom4(l.Addr)), LocalPort: uint16(l.Port),
		Remote: collectors.AddrFrom(netip.AddrFrom4(r.Addr)), RemotePort: uint16(r.Port),
	}, nil
}
