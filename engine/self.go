package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// self is what must not be harmed so that the person who runs this can go on:
// this process, its ancestors, the ssh connection that they came by, and, as sudo
// in tmux or screen has neither, what the same person has logged in by.
type self struct {
	pid       int
	ancestors map[int]bool
	session   []netip.AddrPort // the peer of the ssh session
	login     uint32           // the login uid, procfs.NoLogin for none
}

// loginServers hold the connections by which people are logged in, by comm or by
// the base name of the executable. Those that do not take their user's login uid
// (tailscaled, which has all sessions in one process) are protected by name only.
var loginServers = []string{"sshd", "sshd-session", "sshd-auth", "dropbear", "mosh-server"}

// isLogin reports whether a process is one by which the same person is logged in.
// Where that cannot be read, a server of logins is.
func (s *self) isLogin(proc *procfs.FS, o *collectors.Owner) bool {
	if s.login == procfs.NoLogin || !slices.Contains(loginServers, o.Comm) && !slices.Contains(loginServers, path.Base(o.Exe)) {
		return false
	}
	uid, err := proc.LoginUID(o.PID, o.StartTime)
	return uid == s.login || err != nil && !errors.Is(err, collectors.ErrGone)
}

func findSelf(proc *procfs.FS) self {
	s := self{ancestors: map[int]bool{}, login: procfs.NoLogin}
	// Numbers are those of /proc, which can be of another PID namespace. If this
	// process is not in that, nothing that it holds is seen.
	if pid, err := proc.Self(); err == nil {
		s.pid = pid
	}
	if uid, err := proc.OwnLoginUID(); err == nil {
		s.login = uid
	}
	for pid := s.pid; pid > 0; {
		parent, err := proc.Parent(pid)
		if err != nil || parent < 1 || s.ancestors[parent] {
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
