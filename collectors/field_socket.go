package collectors

import "strconv"

// socketFields are what every record of a socket shows.
var socketFields = []FieldDoc{
	{
		Field: FieldProtocol, Name: "protocol", Type: TypeString, Cost: CostNone, Source: diag,
		Meaning: "transport protocol; mptcp is a whole connection, whose subflows are tcp", Unknown: never,
		Values: []string{"tcp", "udp", "mptcp"},
		Str:    func(r *Record) string { return r.Socket.Protocol.String() },
		SetStr: func(r *Record, v string) { r.socket().Protocol = protocolNamed(v) },
	},
	{
		Field: FieldFamily, Name: "family", Type: TypeString, Cost: CostNone, Source: diag,
		Meaning: "what the connection speaks; IPv4 in a dual-stack IPv6 socket is ipv4", Unknown: never,
		Values: []string{"ipv4", "ipv6"},
		Str:    familyOf,
		SetStr: func(r *Record, v string) { r.setFamily(v) },
	},
	{
		Field: FieldState, Name: "state", Type: TypeString, Cost: CostNone, Source: diag,
		Meaning: "TCP state, of MPTCP that of the whole connection; UDP is ESTABLISHED (connected) or CLOSE", Unknown: never,
		Values: StateNames(),
		Str:    func(r *Record) string { return r.Socket.State.String() },
		SetStr: func(r *Record, v string) { r.socket().State, _ = ParseState(v) },
	},
	{
		Field: FieldLocalAddr, Name: "local_addr", Type: TypeAddr, Cost: CostNone, Source: diag,
		Meaning: "local address; IPv4-mapped counts as IPv4", Unknown: never,
		Addr:    func(r *Record) Addr { return r.Socket.Local },
		SetAddr: func(r *Record, v Addr) { r.socket().Local = r.address(v) },
	},
	{
		Field: FieldPort, Name: "port", Aliases: []string{"local_port"}, Type: TypePort, Cost: CostNone, Source: diag,
		Meaning: "local port", Unknown: never,
		Num:    func(r *Record) float64 { return float64(r.Socket.LocalPort) },
		SetNum: func(r *Record, v float64) { r.socket().LocalPort = uint16(v) },
	},
	{
		Field: FieldRemoteAddr, Name: "remote_addr", Type: TypeAddr, Cost: CostNone, Source: diag,
		Meaning: "peer's address; IPv4-mapped counts as IPv4", Unknown: never,
		Addr:    func(r *Record) Addr { return r.Socket.Remote },
		SetAddr: func(r *Record, v Addr) { r.socket().Remote = r.address(v) },
	},
	{
		Field: FieldRemotePort, Name: "remote_port", Type: TypePort, Cost: CostNone, Source: diag,
		Meaning: "peer's port, 0 without a peer", Unknown: never,
		Num:    func(r *Record) float64 { return float64(r.Socket.RemotePort) },
		SetNum: func(r *Record, v float64) { r.socket().RemotePort = uint16(v) },
	},
	{
		Field: FieldCookie, Name: "cookie", Type: TypeString, Cost: CostNone, Source: diag,
		Meaning: "identity of the socket until reboot, hexadecimal", Unknown: "/proc/net",
		Str:    func(r *Record) string { return strconv.FormatUint(r.Socket.Cookie, 16) },
		SetStr: func(r *Record, v string) { r.socket().Cookie, _ = strconv.ParseUint(v, 16, 64) },
	},
	{
		Field: FieldInode, Name: "inode", Type: TypeNumber, Cost: CostNone, Source: diag,
		Meaning: "sockfs inode, 0 when no process has the socket", Unknown: never,
		Num:    func(r *Record) float64 { return float64(r.Socket.Inode) },
		SetNum: func(r *Record, v float64) { r.socket().Inode = uint32(v) },
	},
	{
		Field: FieldRecvQueue, Name: "recv_queue", Type: TypeNumber, Unit: "bytes", Cost: CostNone, Source: diag,
		Meaning: "unread bytes, plus 1 for an unread FIN; LISTEN: connections waiting for accept", Unknown: noQueue,
		Num:    func(r *Record) float64 { return float64(r.Socket.RecvQueue) },
		SetNum: func(r *Record, v float64) { r.socket().RecvQueue = uint32(v) },
	},
	{
		Field: FieldSendQueue, Name: "send_queue", Type: TypeNumber, Unit: "bytes", Cost: CostNone, Source: diag,
		Meaning: "unacknowledged and unsent bytes, plus 1 for a SYN or FIN; LISTEN: limit of the accept queue", Unknown: "LISTEN in /proc/net; " + noQueue,
		Num:    func(r *Record) float64 { return float64(r.Socket.SendQueue) },
		SetNum: func(r *Record, v float64) { r.socket().SendQueue = uint32(v) },
	},
	{
		Field: FieldSendBuffer, Name: "send_buffer", Type: TypeNumber, Unit: "bytes", Cost: CostMemory, Source: diag + " skmeminfo",
		Meaning: "room for what is not acknowledged, with what the kernel needs to manage it (SO_SNDBUF)",
		Unknown: "MPTCP, TIME_WAIT, SYN_RECV, FIN_WAIT2 orphans, /proc/net",
		Num:     func(r *Record) float64 { return float64(r.Socket.SendBuffer) },
		SetNum:  func(r *Record, v float64) { r.socket().SendBuffer = uint32(v) },
	},
	{
		Field: FieldEOFRead, Name: "eof_read", Type: TypeBool, Cost: CostNone, Source: diag,
		Meaning: "CLOSE_WAIT whose owner has read EOF and still holds it: a leak or a half-close", Unknown: noTimer,
		Bool: func(r *Record) bool {
			return r.Socket.State == CloseWait && r.Socket.RecvQueue == 0 && r.Socket.Inode != 0
		},
		SetBool: func(r *Record, v bool) { r.setEOFRead(v) },
	},
	{
		Field: FieldTimer, Name: "timer", Type: TypeString, Cost: CostNone, Source: diag,
		Meaning: "running timer; retransmit also stands for a loss probe", Unknown: noTimer,
		Values: []string{"none", "retransmit", "keepalive", "timewait", "probe"},
		Str:    func(r *Record) string { return r.Socket.Timer.String() },
		SetStr: func(r *Record, v string) { r.socket().Timer = timerNamed(v) },
	},
	{
		Field: FieldTimerExpires, Name: "timer_expires", Type: TypeSeconds, Unit: "s", Cost: CostNone, Source: diag,
		Meaning: "time until the timer fires, 0 without one", Unknown: noTimer,
		Num:    func(r *Record) float64 { return Seconds(r.Socket.TimerExpires) },
		SetNum: func(r *Record, v float64) { r.socket().TimerExpires = millis(v) },
	},
	{
		Field: FieldRetransmits, Name: "retransmits", Type: TypeNumber, Cost: CostNone, Source: diag,
		Meaning: "retransmissions or probes since the last progress", Unknown: noTimer,
		Num:    func(r *Record) float64 { return float64(r.Socket.Retransmits) },
		SetNum: func(r *Record, v float64) { r.socket().Retransmits = uint8(v) },
	},
	{
		Field: FieldCongestion, Name: "congestion", Type: TypeString, Cost: CostCongestion, Source: diag + " cong",
		Meaning: "congestion control, such as cubic or bbr", Unknown: "UDP, MPTCP, CLOSE, TIME_WAIT, SYN_RECV, FIN_WAIT2 orphans, /proc/net",
		Str: func(r *Record) string { return r.Socket.Congestion.String() },
		SetStr: func(r *Record, v string) {
			r.socket().Congestion = CongestionName{}
			copy(r.socket().Congestion[:], v)
		},
	},
	{
		Field: FieldDrops, Name: "drops", Type: TypeNumber, Unit: "datagrams", Cost: CostMemory, Source: diag + " skmeminfo",
		Meaning: "UDP: datagrams that were dropped, as nobody had read those before them, or their checksum was wrong", Unknown: "TCP, MPTCP, /proc/net",
		Num:    func(r *Record) float64 { return float64(r.Socket.Drops) },
		SetNum: func(r *Record, v float64) { r.socket().Drops = uint32(v) },
	},
	{
		Field: FieldMark, Name: "mark", Type: TypeNumber, Cost: CostNone, Source: diag,
		Meaning: "mark of what it sends (SO_MARK), 0 for none", Unknown: "without CAP_NET_ADMIN, /proc/net",
		Num:    func(r *Record) float64 { return float64(r.Socket.Mark) },
		SetNum: func(r *Record, v float64) { r.socket().Mark = uint32(v) },
	},
	{
		Field: FieldOwned, Name: "owned", Type: TypeBool, Cost: CostNone, Source: diag,
		Meaning: "some process has the socket (inode is not 0), readable or not", Unknown: never,
		Bool:    func(r *Record) bool { return r.Socket.Inode != 0 },
		SetBool: func(r *Record, v bool) { r.setOwned(v) },
	},
	{
		Field: FieldOrphan, Name: "orphan", Type: TypeBool, Cost: CostNone, Source: diag,
		Meaning: "closed by its process, FIN handshake unfinished (FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK)", Unknown: never,
		Bool:    func(r *Record) bool { return Orphaned(r.Socket) },
		SetBool: func(r *Record, v bool) { r.setOrphan(v) },
	},
	{
		Field: FieldUnaccepted, Name: "unaccepted", Type: TypeBool, Cost: CostNone, Source: diag,
		Meaning: "waits in the accept queue of a listener", Unknown: never,
		Bool:    func(r *Record) bool { return Unaccepted(r.Socket) },
		SetBool: func(r *Record, v bool) { r.setUnaccepted(v) },
	},
	{
		Field: FieldUID, Name: "uid", Type: TypeNumber, Cost: CostNone, Source: diag,
		Meaning: "user id that owns the socket", Unknown: "TIME_WAIT and orphans: the kernel shows 0 for them",
		Num:    func(r *Record) float64 { return float64(r.Socket.UID) },
		SetNum: func(r *Record, v float64) { r.socket().UID = uint32(v) },
	},
	{
		Field: FieldMPTCPToken, Name: "mptcp_token", Type: TypeString, Cost: CostInfo, Source: "sock_diag mptcp_info, ULP of TCP",
		Meaning: "hexadecimal, the same for an MPTCP connection and its subflows, as ss prints it", Unknown: "no MPTCP, LISTEN, SYN_SENT subflows, /proc/net",
		Str:    func(r *Record) string { return strconv.FormatUint(uint64(r.Socket.Token), 16) },
		SetStr: func(r *Record, v string) { r.setToken(v) },
	},
}
