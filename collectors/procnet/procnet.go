package procnet

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/netns"
)

// Plugin returns the registration of /proc/net as a source of records.
func Plugin() collectors.Plugin {
	return collectors.Plugin{
		Name:    "procnet",
		Summary: "TCP and UDP sockets from /proc/net, for listing where netlink is refused",
		Doc: "Reads /proc/net/{tcp,tcp6,udp,udp6}. It shows neither cookie nor tcp_info nor interface, " +
			"so ages stay unknown and nothing that it finds is ever acted on.",
		Needs: "nothing",
		New:   func(netns int) collectors.Collector { return netFiles{netns: netns, root: "/proc"} },
	}
}

type netFiles struct {
	netns int
	root  string
}

var netKnown = collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState,
	collectors.FieldLocalAddr, collectors.FieldPort, collectors.FieldRemoteAddr, collectors.FieldRemotePort,
	collectors.FieldInode, collectors.FieldRecvQueue, collectors.FieldSendQueue, collectors.FieldEOFRead,
	collectors.FieldTimer, collectors.FieldTimerExpires, collectors.FieldRetransmits,
	collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted)

var netOwnerless = collectors.Fields(collectors.FieldOwners, collectors.FieldPID, collectors.FieldProcess,
	collectors.FieldExe, collectors.FieldCmdline)

// clockTicks is USER_HZ, the unit of timers in /proc/net: 100 on every Linux that Go
// runs on (include/asm-generic/param.h).
const clockTicks = 100

// table is one file of /proc/net.
type table struct {
	protocol collectors.Protocol
	family   collectors.Family
}

func (t table) name() string {
	if t.family == collectors.IPv6 {
		return t.protocol.String() + "6"
	}
	return t.protocol.String()
}

// Collect reads the files that the query needs, one after the other.
func (n netFiles) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		for _, p := range q.Protocols {
			if p == collectors.MPTCP {
				yield(nil, fmt.Errorf("MPTCP: %w: /proc/net does not show it", collectors.ErrNotSupported))
				return
			}
			for _, f := range []collectors.Family{collectors.IPv4, collectors.IPv6} {
				t := table{p, f}
				file, err := n.open(t.name())
				if errors.Is(err, fs.ErrNotExist) && f == collectors.IPv6 {
					continue
				}
				if err != nil {
					yield(nil, err)
					return
				}
				more := readNet(ctx, file, t, q.States, yield)
				_ = file.Close()
				if !more {
					return
				}
			}
		}
	}
}

func (n netFiles) open(name string) (*os.File, error) {
	var file *os.File
	open := func() (err error) {
		file, err = os.Open(n.root + "/thread-self/net/" + name)
		return err //nolint:wrapcheck // os names the path
	}
	if n.netns < 0 {
		return file, open()
	}
	// The descriptor belongs to the caller, and Do needs only its number.
	ns := os.NewFile(uintptr(dup(n.netns)), "netns")
	if ns == nil {
		return nil, fmt.Errorf("network namespace descriptor %d: %w", n.netns, fs.ErrInvalid)
	}
	defer func() { _ = ns.Close() }()
	err := netns.Do(ns, open)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", collectors.ErrNotPermitted, err)
	}
	return file, err
}

func readNet(ctx context.Context, r io.Reader, t table, states collectors.StateMask, yield func(*collectors.Socket, error) bool) bool {
	s := new(collectors.Socket)
	lines := bufio.NewScanner(r)
	for first := true; lines.Scan(); first = false {
		if first {
			continue // the header
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
			return false
		}
		if err := parseNet(lines.Text(), t, s); err != nil {
			yield(nil, fmt.Errorf("/proc/net/%s: %w", t.name(), err))
			return false
		}
		if states.Has(s.State) && !yield(s, nil) {
			return false
		}
	}
	if err := lines.Err(); err != nil {
		yield(nil, fmt.Errorf("/proc/net/%s: %w", t.name(), err))
		return false
	}
	return true
}

// parseNet reads one line of /proc/net/tcp or a similar file (proc_net_tcp.txt in the
// kernel's documentation).
func parseNet(line string, t table, s *collectors.Socket) error {
	f := strings.Fields(line)
	if len(f) < 10 {
		return fmt.Errorf("%d fields, want at least 10", len(f))
	}
	*s = collectors.Socket{Known: netKnown, Protocol: t.protocol, Family: t.family, IfIndex: collectors.UnknownIfIndex}
	hexes := func(text, sep string, bits int) (a, b uint64, err error) {
		left, right, ok := strings.Cut(text, sep)
		if !ok {
			return 0, 0, fmt.Errorf("no %q in %q", sep, text)
		}
		a, err1 := strconv.ParseUint(left, 16, bits)
		b, err2 := strconv.ParseUint(right, 16, bits)
		return a, b, errors.Join(err1, err2)
	}
	var errs [8]error
	s.Local, s.LocalPort, errs[0] = parseEnd(f[1])
	s.Remote, s.RemotePort, errs[1] = parseEnd(f[2])
	state, err := strconv.ParseUint(f[3], 16, 8)
	s.State, errs[2] = collectors.State(state), err
	if s.State == 12 { // TCP_NEW_SYN_RECV
		s.State = collectors.SynRecv
	}
	send, recv, err := hexes(f[4], ":", 32)
	s.SendQueue, s.RecvQueue, errs[3] = uint32(send), uint32(recv), err
	timer, expires, err := hexes(f[5], ":", 64)
	s.Timer, errs[4] = collectors.Timer(min(timer, 255)), err
	s.TimerExpires = uint32(min(expires, math.MaxUint32*clockTicks/1000) * 1000 / clockTicks)
	retransmits, err := strconv.ParseUint(f[6], 16, 32)
	// As in sock_diag: what the running timer counts, which for these two is probes
	// (icsk_probes_out, under the heading "timeout").
	if s.Timer == collectors.TimerKeepalive || s.Timer == collectors.TimerProbe {
		retransmits, err = strconv.ParseUint(f[8], 10, 32)
	}
	s.Retransmits, errs[5] = uint8(min(retransmits, 255)), err
	uid, err := strconv.ParseUint(f[7], 10, 32)
	s.UID, errs[6] = uint32(uid), err
	inode, err := strconv.ParseUint(f[9], 10, 32)
	s.Inode, errs[7] = uint32(inode), err
	if s.State == collectors.Listen {
		s.Known.Remove(collectors.Fields(collectors.FieldSendQueue)) // for a listener it is not the limit of the accept queue
	}
	if s.Inode == 0 {
		s.Known.Add(netOwnerless)
	} else {
		s.Known.Add(collectors.Fields(collectors.FieldUID))
	}
	return errors.Join(errs[:]...)
}

// parseEnd reads an address and port such as 0100007F:53A4: the address consists of
// 32-bit words in the byte order of the machine.
func parseEnd(text string) (collectors.Addr, uint16, error) {
	addr, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(addr)
	if !ok || err != nil || (len(b) != 4 && len(b) != 16) {
		return collectors.Addr{}, 0, fmt.Errorf("address %q", text)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a := collectors.Addr{10: 0xff, 11: 0xff}
	copy(a[16-len(b):], b)
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return collectors.Addr{}, 0, fmt.Errorf("port %q", text)
	}
	return a, uint16(n), nil
}

func dup(fd int) int {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return n
}
