package socklab

import (
	"sockwarden/collectors/host"
)

// KernelBefore reports whether the running kernel is older than Linux major.minor:
// expectations may depend on it.
func KernelBefore(major, minor int) bool {
	k, err := host.RunningKernel()
	if err != nil {
		panic(err) // fails only for bad memory
	}
	if k.Unread() {
		panic("unknown release " + k.Release)
	}
	return k.Before(major, minor)
}

// Shown reports whether sock_diag shows sockets of the kind: it shows merely bound TCP
// sockets only since Linux 6.8.
func (k Kind) Shown() bool { return k != Bound || !KernelBefore(6, 8) }
