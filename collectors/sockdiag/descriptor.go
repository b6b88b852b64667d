package sockdiag

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// descriptorKnown is what a descriptor tells of its socket. What there is to read is not the
// same as in a dump, which counts the FIN, and timers do not show.
var descriptorKnown = collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState,
	collectors.FieldLocalAddr, collectors.FieldPort, collectors.FieldRemoteAddr, collectors.FieldRemotePort,
	collectors.FieldCookie, collectors.FieldInode, collectors.FieldUID, collectors.FieldSendQueue,
	collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted)

// OfDescriptor makes the record of a TCP connection from a descriptor of it, for a
// namespace that cannot be entered: the socket may be in any. The error is ErrNotSupported
// for what is no connection of TCP, as one of MPTCP, a listener, or what was ended.
//
// It takes the lock of the socket, and can hang as a dump can.
func OfDescriptor(fd int) (s collectors.Socket, err error) {
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_TCP {
		return s, fmt.Errorf("protocol %d: %w", protocol, collectors.ErrNotSupported)
	}
	var info [512]byte
	n, err := tcpInfo(fd, info[:])
	if err != nil {
		return s, fmt.Errorf("tcp_info of a descriptor: %w", classify(err))
	}
	if n < infoCore {
		return s, fmt.Errorf("tcp_info of %d bytes: %w", n, collectors.ErrNotSupported)
	}
	s = collectors.Socket{Known: descriptorKnown, Protocol: collectors.TCP, State: collectors.State(info[0])}
	if s.State == collectors.Close || s.State == collectors.Listen || s.State == collectors.BoundInactive {
		return s, fmt.Errorf("it is %s: %w", s.State, collectors.ErrNotSupported)
	}
	if err := identify(fd, &s); err != nil {
		return s, err
	}
	decodeInfo(info[:n], &s)
	return s, nil
}

// identify reads what tells a socket from others.
func identify(fd int, s *collectors.Socket) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat of a socket: %w", err)
	}
	s.Inode, s.UID = uint32(st.Ino), st.Uid
	unsent, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return fmt.Errorf("send queue of a socket: %w", err)
	}
	s.SendQueue = uint32(unsent)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return fmt.Errorf("cookie of a socket: %w", err)
	}
	s.Cookie = cookie
	if s.NetNS, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err != nil {
		s.NetNS = 0 // before Linux 5.14
	}
	index, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	if err != nil {
		return fmt.Errorf("device of a socket: %w", classify(err)) // before Linux 5.0, or so
	}
	s.IfIndex = uint32(index)
	local, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("address of a socket: %w", err)
	}
	remote, err := unix.Getpeername(fd)
	if err != nil {
		// In SYN_SENT it does not say whom it calls.
		return fmt.Errorf("peer of a socket: %w: %w", collectors.ErrNotSupported, err)
	}
	var families [2]collectors.Family
	families[0], s.Local, s.LocalPort = end(local)
	families[1], s.Remote, s.RemotePort = end(remote)
	if s.Family = families[0]; s.Family == 0 || families[0] != families[1] {
		return fmt.Errorf("family of a socket: %w", collectors.ErrNotSupported)
	}
	return nil
}

func end(sa unix.Sockaddr) (collectors.Family, collectors.Addr, uint16) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return collectors.IPv4, mapped(sa.Addr[:]), uint16(sa.Port)
	case *unix.SockaddrInet6:
		return collectors.IPv6, sa.Addr, uint16(sa.Port)
	}
	return 0, collectors.Addr{}, 0
}

// tcpInfo reads the struct tcp_info of any length; golang.org/x/sys/unix knows one.
func tcpInfo(fd int, buf []byte) (int, error) {
	n := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno //nolint:wrapcheck // a bare errno
	}
	return int(n), nil
}
