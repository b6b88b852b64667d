package engine

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// self is what must not be harmed so that the person who runs this can go on:
// this process, its ancestors, and the ssh connection that they came by.
type self struct {
	pid       int
	ancestors map[int]bool
	session   []netip.AddrPort // the peer of the ssh session
}

func findSelf(proc *procfs.FS) self {
	s := self{ancestors: map[int]bool{}}
	// Numbers are those of /proc, which can be of another PID namespace. If this
	// process is not in that, nothing that it holds is seen.
	if pid, err := proc.Self(); err == nil {
		s.pid = pid
	}
	for pid := s.pid; pid > 0; {
		parent, err := proc.Parent(pid)
		if err != nil || parent <= 1 || s.ancestors[parent] {
			break
		}
		s.ancestors[parent] = true
		pid = parent
	}
	for _, name := range []string{"SSH_CONNECTION", "SSH_CLIENT"} {
		if f := strings.Fields(os.Getenv(name)); len(f) >= 2 {
			addr, err1 := netip.ParseAddr(f[0])
			port, err2 := strconv.ParseUint(f[1], 10, 16)
			if err1 == nil && err2 == nil {
				s.session = append(s.session, netip.AddrPortFrom(addr.WithZone("").Unmap(), uint16(port)))
			}
		}
	}
	return s
}

// isSession reports whether the socket is an end of the invoking ssh session.
func (s *self) isSession(k *collectors.Socket) bool {
	for _, peer := range s.session {
		if k.RemotePort == peer.Port() && k.Remote.Netip() == peer.Addr() || k.LocalPort == peer.Port() && k.Local.Netip() == peer.Addr() {
			return true
		}
	}
	return false
}

// kernelVersion is the version of the running kernel.
type kernelVersion struct{ major, minor int }

func kernel() (kernelVersion, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return kernelVersion{}, fmt.Errorf("uname: %w", err)
	}
	return parseKernel(unix.ByteSliceToString(u.Release[:])), nil
}

func parseKernel(release string) (v kernelVersion) {
	// What cannot be read counts as the oldest: it then has all quirks.
	_, _ = fmt.Sscanf(release, "%d.%d", &v.major, &v.minor)
	return v
}

func (v kernelVersion) before(major, minor int) bool {
	return v.major < major || v.major == major && v.minor < minor
}
