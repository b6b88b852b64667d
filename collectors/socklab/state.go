package socklab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// nobody is the remote end of a socket that has no peer.
func (f Family) nobody() netip.AddrPort {
	if f == IPv4 {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
}

// mute makes a socket lose everything that comes in: a classic BPF filter that keeps 0
// bytes. On a listener that includes SYNs and the ACK of a handshake.
func mute(fd int) error {
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	prog := unix.SockFprog{Len: 1, Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("SO_ATTACH_FILTER: %w", err)
	}
	return nil
}

// tcpState is the state of an open TCP socket, by TCP_INFO.
func tcpState(fd int) collectors.State {
	info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
	if err != nil {
		return 0
	}
	return collectors.State(info.State)
}

// quiet reports whether the peer has acknowledged everything that a connected socket has
// sent, including its FIN.
func quiet(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
	return err == nil && info.Unacked == 0 && collectors.State(info.State) != collectors.FinWait1
}

// procState looks up a socket of the tests' namespace in /proc/net: a second source to
// compare with sock_diag.
func procState(p collectors.Protocol, local, remote netip.AddrPort) (collectors.State, bool) {
	for _, suffix := range []string{"", "6"} {
		table, err := os.ReadFile("/proc/thread-self/net/" + p.String() + suffix)
		if err != nil {
			continue
		}
		key := fmt.Appendf(nil, " %s %s ", procAddr(local, suffix == "6"), procAddr(remote, suffix == "6"))
		if _, after, found := bytes.Cut(table, key); found && len(after) > 2 {
			if s, err := strconv.ParseUint(string(after[:2]), 16, 8); err == nil {
				return collectors.State(s), true
			}
		}
	}
	return 0, false
}

// procAddr writes an address as /proc/net does: 32-bit words in host order.
func procAddr(a netip.AddrPort, wide bool) string {
	var b []byte
	switch {
	case wide && a.Addr() == netip.IPv4Unspecified():
		b = make([]byte, 16)
	case wide:
		b16 := a.Addr().As16()
		b = b16[:]
	default:
		b16 := a.Addr().As16()
		b = b16[12:]
	}
	var s []byte
	for ; len(b) > 0; b = b[4:] {
		s = fmt.Appendf(s, "%08X", binary.NativeEndian.Uint32(b))
	}
	return fmt.Sprintf("%s:%04X", s, a.Port())
}
