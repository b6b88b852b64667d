package ownersock

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// Of struct mptcp_info (include/uapi/linux/mptcp.h, SOL_MPTCP since Linux 5.16).
const (
	mptcpInfo      = 1 // MPTCP_INFO
	mptcpInfoToken = 12
	mptcpInfoLen   = 96
)

// sameMPTCP checks that a socket of MPTCP still has the connection with which it was
// decided on. It has no TCP_INFO of its own: the token tells one connection from the next,
// and poll(2) whether the peer has finished, or everything is over.
func sameMPTCP(fd int, s *collectors.Socket) error {
	token, err := mptcpToken(fd)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOPROTOOPT):
		// It has fallen back to TCP, or the kernel is older: the ends must do, as for TCP.
	case err != nil:
		return Classify("token of socket", err)
	case token != s.Token:
		return fmt.Errorf("socket %x is now another connection: %w", s.Cookie, collectors.ErrGone)
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if _, err := unix.Poll(fds, 0); err != nil && !errors.Is(err, unix.EINTR) {
		return Classify("poll socket", err)
	}
	both := collectors.Mask(collectors.LastAck, collectors.Closing).Has(s.State) // ends have finished
	finished := both || s.State == collectors.CloseWait
	if now := fds[0].Revents; now&unix.POLLRDHUP != 0 && !finished || now&unix.POLLHUP != 0 && !both {
		return fmt.Errorf("socket %x is not %s any more: %w", s.Cookie, s.State, collectors.ErrGone)
	}
	return nil
}

// mptcpToken returns the token of a descriptor's connection, 0 if it has none.
func mptcpToken(fd int) (uint32, error) {
	var info [mptcpInfoLen / 4]uint32
	n := uint32(mptcpInfoLen)
	for {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_MPTCP, mptcpInfo,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&n)), 0)
		switch errno {
		case 0:
			return info[mptcpInfoToken/4], nil
		case unix.EINTR:
		default:
			return 0, errno //nolint:wrapcheck // a bare errno
		}
	}
}
