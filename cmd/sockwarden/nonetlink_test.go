package main

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// noNetlink replaces itself with the program that its arguments name, in which
// socket(AF_NETLINK) fails with EAFNOSUPPORT, as under systemd's
// RestrictAddressFamilies=.
func noNetlink() {
	runtime.LockOSThread()
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret    = unix.BPF_RET | unix.BPF_K
		number = 0  // seccomp_data.nr
		arg0   = 16 // seccomp_data.args[0], low half on little-endian machines
		allow  = 0x7fff0000
		errno  = 0x00050000
	)
	filter := []unix.SockFilter{
		{Code: load, K: number},
		{Code: equal, K: unix.SYS_SOCKET, Jf: 3},
		{Code: load, K: arg0},
		{Code: equal, K: unix.AF_NETLINK, Jf: 1},
		{Code: ret, K: errno | uint32(unix.EAFNOSUPPORT)},
		{Code: ret, K: allow},
	}
	must(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	must(unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0))
	path, err := exec.LookPath(os.Args[1])
	must(err)
	must(syscall.Exec(path, os.Args[1:], os.Environ()))
}
