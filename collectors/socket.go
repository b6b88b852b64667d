package collectors

import (
	"bytes"
	"fmt"
	"net/netip"
)

// Protocol is the transport protocol, an IPPROTO_ number.
type Protocol uint16

// The protocols that collectors can return.
const (
	TCP   Protocol = 6
	UDP   Protocol = 17
	MPTCP Protocol = 262 // the whole connection; each of its subflows is a socket of TCP
)

// Protocols lists them all.
func Protocols() []Protocol { return []Protocol{TCP, UDP, MPTCP} }

// ProtocolSet is a set of protocols. Its zero value is empty.
type ProtocolSet uint8

// ProtocolsIn returns the set of the given protocols.
func ProtocolsIn(protocols ...Protocol) (s ProtocolSet) {
	for _, p := range protocols {
		s |= p.set()
	}
	return s
}

// set is the set of p alone, empty for what is no protocol of ours.
func (p Protocol) set() ProtocolSet {
	switch p {
	case TCP:
		return 1
	case UDP:
		return 2
	case MPTCP:
		return 4
	}
	return 0
}

// Has reports whether p is in the set.
func (s ProtocolSet) Has(p Protocol) bool { return s&p.set() != 0 }

// All lists what is in the set.
func (s ProtocolSet) All() (all []Protocol) {
	for _, p := range Protocols() {
		if s.Has(p) {
			all = append(all, p)
		}
	}
	return all
}

// Connects reports whether sockets of the protocol listen, and have the states of TCP.
func (p Protocol) Connects() bool { return p == TCP || p == MPTCP }

// String returns "tcp", "udp" or "mptcp".
func (p Protocol) String() string {
	switch p {
	case UDP:
		return "udp"
	case MPTCP:
		return "mptcp"
	default:
		return "tcp"
	}
}

// ProtocolNamed returns the protocol of that name.
func ProtocolNamed(name string) (Protocol, bool) {
	for _, p := range Protocols() {
		if p.String() == name {
			return p, true
		}
	}
	return 0, false
}

// Family is the address family of the socket itself, an AF_ number. An IPv6 socket can
// carry IPv4 traffic through mapped addresses.
type Family uint8

// The address families (AF_INET, AF_INET6).
const (
	IPv4 Family = 2
	IPv6 Family = 10
)

// Timer says which timer of the socket is running (idiag_timer).
type Timer uint8

// The timers in the kernel's numbering (include/uapi/linux/inet_diag.h and
// net/ipv4/inet_diag.c). The kernel also shows TimerRetransmit while a tail loss probe is
// pending, so it does not prove a retransmission.
const (
	TimerNone       Timer = 0
	TimerRetransmit Timer = 1
	TimerKeepalive  Timer = 2
	TimerTimeWait   Timer = 3
	TimerProbe      Timer = 4
)

// String returns none, retransmit, keepalive, timewait or probe.
func (t Timer) String() string {
	switch t {
	case TimerRetransmit:
		return "retransmit"
	case TimerKeepalive:
		return "keepalive"
	case TimerTimeWait:
		return "timewait"
	case TimerProbe:
		return "probe"
	default:
		return "none"
	}
}

// Addr is an IP address as 16 bytes. IPv4 addresses are in mapped form, ::ffff:a.b.c.d,
// so one comparison serves both families.
type Addr [16]byte

// AddrFrom returns the 16-byte form of a, without its zone.
func AddrFrom(a netip.Addr) Addr { return Addr(a.As16()) }

// Netip returns the address for printing and matching; mapped addresses come out as IPv4.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// MappedBits is the length of the prefix that all mapped IPv4 addresses share:
// ::ffff:0:0/96.
const MappedBits = 96

// IsIPv4 reports whether a is an IPv4 address.
func (a Addr) IsIPv4() bool { return [12]byte(a[:12]) == [12]byte{10: 0xff, 11: 0xff} }

// PlainPrefix returns the canonical form of a prefix: a prefix of mapped addresses
// becomes an IPv4 prefix (::ffff:10.0.0.0/104 is 10.0.0.0/8). Every other IPv6 prefix,
// even ::/0, covers only IPv6 and contains no IPv4 address, mapped or not. Bits beyond
// the length are cleared.
func PlainPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= MappedBits {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-MappedBits)
	}
	return p.Masked()
}

// IsZero reports whether a is the unspecified address of either family.
func (a Addr) IsZero() bool {
	n := a.Netip()
	return n.IsUnspecified()
}

// TCPInfo holds the members of struct tcp_info that sockwarden reads
// (include/uapi/linux/tcp.h). Len is how many bytes the kernel sent: members beyond it
// are zero and their fields unknown.
type TCPInfo struct {
	Len           uint16
	Backoff       uint8  // tcpi_backoff: exponent of the retransmission timeout
	Retransmits   uint8  // tcpi_retransmits: timeouts since the last progress
	RTO           uint32 // tcpi_rto, microseconds
	RTT           uint32 // tcpi_rtt, microseconds, smoothed
	Unacked       uint32 // tcpi_unacked, segments
	Lost          uint32 // tcpi_lost, segments
	LastDataSent  uint32 // tcpi_last_data_sent, milliseconds ago
	LastDataRecv  uint32 // tcpi_last_data_recv, milliseconds ago
	LastAckRecv   uint32 // tcpi_last_ack_recv, milliseconds ago
	BytesSent     uint64 // tcpi_bytes_sent, payload with retransmissions (Linux 4.19)
	BytesAcked    uint64 // tcpi_bytes_acked, payload that the peer has acknowledged, plus 1 for each SYN and FIN (Linux 4.1)
	BytesReceived uint64 // tcpi_bytes_received, payload (Linux 4.1)
	BusyTime      uint64 // tcpi_busy_time, microseconds with unacknowledged data (Linux 4.10)
	SegsIn        uint32 // tcpi_segs_in, segments received (Linux 4.2)
	SegsOut       uint32 // tcpi_segs_out, segments sent (Linux 4.2)
	NotSent       uint32 // tcpi_notsent_bytes, payload that was never sent (Linux 4.6)
	RTOTime       uint32 // tcpi_total_rto_time, milliseconds since timeouts began, all recoveries together (Linux 6.7)
	TotalRTO      uint16 // tcpi_total_rto, retransmission timeouts of the connection (Linux 6.7)
	Options       uint8  // tcpi_options, TCPI_OPT_ bits
	WindowScales  uint8  // tcpi_snd_wscale and tcpi_rcv_wscale, as agreed in the handshake
}

// OptSynData is the bit of TCPInfo.Options which says that the SYN carried data, either
// way (TCPI_OPT_SYN_DATA: TCP Fast Open).
const OptSynData = 32

// InfoRTOTime is the smallest TCPInfo.Len with RTOTime and TotalRTO.
const InfoRTOTime = 248

// InfoBytesAcked is the TCPInfo.Len from which on BytesAcked is there.
const InfoBytesAcked = 128

// InfoNotSent is the TCPInfo.Len from which on NotSent is there.
const InfoNotSent = 148

// UnknownIfIndex stands for the bound interface in records of sources that do not show
// it. No interface has this index.
const UnknownIfIndex = ^uint32(0)

// Socket is one socket as the kernel showed it in one dump. It is a plain value: copy it
// to keep it. What the kernel did not show is not in Known, whatever the member holds.
type Socket struct {
	Known        FieldSet
	Cookie       uint64 // idiag_cookie: identity until reboot; 0 from sources that have none
	NetNS        uint64 // cookie of the network namespace (SO_NETNS_COOKIE), or its nsfs inode where there is not a cookie
	CgroupID     uint64 // INET_DIAG_CGROUP_ID: inode of the cgroup v2 directory at creation
	Local        Addr
	Remote       Addr
	Inode        uint32 // sockfs inode, 0 when no process holds the socket
	UID          uint32 // meaningful only when FieldUID is known
	IfIndex      uint32 // idiag_if: bound interface, 0 for none, UnknownIfIndex; echoed when destroying
	TimerExpires uint32 // idiag_expires, milliseconds
	RecvQueue    uint32 // idiag_rqueue, bytes (LISTEN: connections in the accept queue)
	SendQueue    uint32 // idiag_wqueue, bytes (LISTEN: limit of the accept queue)
	SendBuffer   uint32 // SK_MEMINFO_SNDBUF, bytes; means something only when FieldSendBuffer is known
	Drops        uint32 // SK_MEMINFO_DROPS of UDP; means something only when FieldDrops is known
	Mark         uint32 // INET_DIAG_MARK (SO_MARK); means something only when FieldMark is known
	Congestion   CongestionName
	Token        uint32 // names an MPTCP connection on this host, on itself and on each of its subflows; 0 for none
	LocalPort    uint16
	RemotePort   uint16
	Protocol     Protocol
	Family       Family
	State        State
	Timer        Timer
	Retransmits  uint8 // idiag_retrans
	V6Only       bool  // INET_DIAG_SKV6ONLY of a listener: it takes no IPv4; false where the kernel does not show it
	Options      SockOptions
	Subflow      bool // has INET_DIAG_ULP_INFO of MPTCP: destroying it is not noticed by the program; shown only along with tcp_info
	Info         TCPInfo
}

// SockOptions says by which options a socket may have an address that its namespace lacks
// (INET_DIAG_SOCKOPT, struct inet_diag_sockopt). Mini-sockets and older kernels show none.
type SockOptions struct {
	Shown       bool // they are what the kernel showed; if not, the others say nothing
	FreeBind    bool // IP_FREEBIND or IPV6_FREEBIND: it may wait for its address. Accepted sockets inherit it
	Transparent bool // IP_TRANSPARENT or IPV6_TRANSPARENT: its address is somebody else's
}

// CongestionName is the name of a congestion control (TCP_CA_NAME_MAX), with NULs behind it.
// It means something only when FieldCongestion is known.
type CongestionName [16]byte

// String is the name. The usual ones take no memory.
func (c CongestionName) String() string {
	b := c[:]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	switch string(b) {
	case "cubic":
		return "cubic"
	case "bbr":
		return "bbr"
	case "reno":
		return "reno"
	}
	return string(b)
}

// Orphaned reports whether the process has closed s and only the kernel still works on
// it.
func Orphaned(s *Socket) bool {
	return s.Inode == 0 && Mask(FinWait1, FinWait2, Closing, LastAck).Has(s.State)
}

// Unaccepted reports whether s is waiting in the accept queue of a listener.
func Unaccepted(s *Socket) bool {
	return s.Protocol.Connects() && s.Inode == 0 && (s.State == Established || s.State == CloseWait)
}

// Key identifies a socket in one state. The cookie stays the same when a socket returns
// to a state; the tuple tells the two visits apart.
type Key struct {
	Cookie     uint64   `json:"cookie"`
	NetNS      uint64   `json:"netns"`
	Local      Addr     `json:"local_addr"`
	Remote     Addr     `json:"remote_addr"`
	LocalPort  uint16   `json:"port"`
	RemotePort uint16   `json:"remote_port"`
	Protocol   Protocol `json:"protocol"`
	State      State    `json:"state"`
}

// KeyOf returns the key of s.
func KeyOf(s *Socket) Key {
	return Key{s.Cookie, s.NetNS, s.Local, s.Remote, s.LocalPort, s.RemotePort, s.Protocol, s.State}
}

// family returns the family of the traffic: sockets that carry IPv4, dual-stack ones
// included, have mapped addresses.
func (k *Key) family() Family {
	if k.Remote.Netip().Is4() || k.RemotePort == 0 && k.Local.Netip().Is4() {
		return IPv4
	}
	return IPv6
}

// MarshalText writes the address in its usual form.
func (a Addr) MarshalText() ([]byte, error) {
	return a.Netip().MarshalText() //nolint:wrapcheck // never fails
}

// UnmarshalText reads what MarshalText wrote.
func (a *Addr) UnmarshalText(b []byte) error {
	var ip netip.Addr
	if err := ip.UnmarshalText(b); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if ip.IsValid() {
		*a = AddrFrom(ip)
	}
	return nil
}
