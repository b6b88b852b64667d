package abort

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// disconnect calls connect(2) with an address of family AF_UNSPEC, which makes the kernel
// end the connection (tcp_disconnect in net/ipv4/tcp.c). golang.org/x/sys/unix has no
// such address, so we make the system call here.
func disconnect(fd int) error {
	addr := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	for {
		_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&addr)), unsafe.Sizeof(addr))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno //nolint:wrapcheck // a bare errno
		}
	}
}
