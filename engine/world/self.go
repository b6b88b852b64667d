package world

import (
	"errors"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// Self is what must survive for the user to be able to go on: this process, its
// ancestors, and the ssh connection that it was started through. As sudo in tmux or
// screen has neither, it includes every connection through which the same person is
// logged in.
type Self struct {
	PID       int
	Ancestors map[int]bool
	Session   []netip.AddrPort // the peer of the ssh session
	Login     uint32           // the login uid, procfs.NoLogin for none
	// LoginOf returns the login uid of a process.
	LoginOf func(o *collectors.Owner) (uint32, error)
}

// loginServers hold the connections through which people are logged in, by comm or by the
// base name of the executable. Those that do not take on their user's login uid
// (tailscaled, which has all sessions in one process) are protected by name only.
var loginServers = []string{"sshd", "sshd-session", "sshd-auth", "dropbear", "mosh-server"}

// IsLogin reports whether the same person is logged in through a process. If that cannot
// be read, a login server counts as one.
func (s *Self) IsLogin(o *collectors.Owner) bool {
	if s.Login == procfs.NoLogin || !slices.Contains(loginServers, o.Comm) && !slices.Contains(loginServers, path.Base(o.Exe)) {
		return false
	}
	uid, err := s.LoginOf(o)
	return uid == s.Login || err != nil && !errors.Is(err, collectors.ErrGone)
}

func findSelf(proc *procfs.FS) Self {
	s := Self{Ancestors: map[int]bool{}, Login: procfs.NoLogin, LoginOf: func(o *collectors.Owner) (uint32, error) { return proc.LoginUID(o.PID, o.StartTime) }}
	// The PIDs are those of /proc, which can show another PID namespace. If this process
	// is not in that, nothing that it holds is visible.
	if pid, err := proc.Self(); err == nil {
		s.PID = pid
	}
	if uid, err := proc.OwnLoginUID(); err == nil {
		s.Login = uid
	}
	for pid := s.PID; pid > 0; {
		parent, err := proc.Parent(pid)
		if err != nil || parent < 1 || s.Ancestors[parent] {
			break
		}
		s.Ancestors[parent] = true
		pid = parent
	}
	for _, name := range []string{"SSH_CONNECTION", "SSH_CLIENT"} {
		if f := strings.Fields(os.Getenv(name)); len(f) >= 2 {
			addr, err1 := netip.ParseAddr(f[0])
			port, err2 := strconv.ParseUint(f[1], 10, 16)
			if err1 == nil && err2 == nil {
				s.Session = append(s.Session, netip.AddrPortFrom(addr.WithZone("").Unmap(), uint16(port)))
			}
		}
	}
	return s
}

// IsSession reports whether the socket is an end of the ssh session that runs us.
func (s *Self) IsSession(k *collectors.Socket) bool {
	for _, peer := range s.Session {
		if k.RemotePort == peer.Port() && k.Remote.Netip() == peer.Addr() || k.LocalPort == peer.Port() && k.Local.Netip() == peer.Addr() {
			return true
		}
	}
	return false
}
