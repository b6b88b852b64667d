package socklab

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lockLimit is how long a socket stays locked if the process that ordered it dies first:
// a thread that waits for the lock cannot be killed, and its process cannot end.
const lockLimit = 5 * time.Minute

// ApartToLock is Apart for a test that locks a socket. Before Linux 6.9 every request about
// sockets waits for the lock, in whichever namespace: there the test runs beside no other.
func ApartToLock(t *testing.T) (done bool) {
	t.Helper()
	return !KernelBefore(6, 9) && Apart(t)
}

// From include/uapi/linux/userfaultfd.h.
const (
	uffdAPI          = 0xaa
	uffdioAPI        = 0xc018aa3f // _IOWR(0xaa, 0x3f, struct uffdio_api)
	uffdioRegister   = 0xc020aa00 // _IOWR(0xaa, 0x00, struct uffdio_register)
	uffdModeMissing  = 1
	uffdEventFault   = 0x12
	uffdMessageBytes = 32
)

// Lock starts a holder process that receives from an established connection into a page
// that never comes (userfaultfd). So it keeps the kernel's lock of the socket: whoever
// asks for its tcp_info sleeps, and no signal ends that. The lock goes with the holder:
// at its Kill, at the end of the test, or after minutes, which ends it. So what returns while
// the holder runs has not waited for the lock.
func Lock(t testing.TB, c *Conn) *Holder {
	t.Helper()
	if _, err := unix.Write(c.Peer, make([]byte, UnreadBytes)); err != nil {
		t.Fatalf("socklab: lock: peer writes: %v", err)
	}
	WaitFor(t, "what is to be received", func() bool {
		n, err := unix.IoctlGetInt(c.FD, unix.SIOCINQ)
		return err == nil && n == UnreadBytes
	})
	h := StartHolder(t, HolderOptions{Conns: []*Conn{c}, lock: true})
	if err := h.expect("LOCKED"); err != nil {
		Lacks(t, fmt.Errorf("lock a socket: %w", err))
	}
	return h
}

// lockSocket receives from a descriptor into a page whose fault nobody serves, and
// reports when the fault has happened.
func lockSocket(fd int) error {
	time.AfterFunc(lockLimit, func() { os.Exit(1) })
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	uffd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return fmt.Errorf("userfaultfd: %w", errno)
	}
	api := [3]uint64{uffdAPI}
	if err := ioctl(uffd, uffdioAPI, unsafe.Pointer(&api)); err != nil {
		return fmt.Errorf("UFFDIO_API: %w", err)
	}
	register := [4]uint64{uint64(uintptr(unsafe.Pointer(&page[0]))), uint64(len(page)), uffdModeMissing}
	if err := ioctl(uffd, uffdioRegister, unsafe.Pointer(&register)); err != nil {
		return fmt.Errorf("UFFDIO_REGISTER: %w", err)
	}
	go func() {
		runtime.LockOSThread()
		_, _ = unix.Read(fd, page)
	}()
	message := make([]byte, uffdMessageBytes)
	if n, err := unix.Read(int(uffd), message); err != nil || n != len(message) || message[0] != uffdEventFault {
		return fmt.Errorf("no fault: event %#x (%d bytes): %w", message[0], n, err)
	}
	return nil
}

func ioctl(fd uintptr, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
