package collectors

import (
	"fmt"
	"slices"
	"strconv"
)

// Field names one thing that a condition can read of a socket.
type Field uint8

// The fields, in the order in which they are documented and printed.
const (
	FieldProtocol Field = iota
	FieldFamily
	FieldState
	FieldLocalAddr
	FieldPort
	FieldRemoteAddr
	FieldRemotePort
	FieldInterface
	FieldNetNS
	FieldHost
	FieldCookie
	FieldInode
	FieldAge
	FieldAgeMax
	FieldAgeSource
	FieldIdle
	FieldIdleRecv
	FieldIdleSend
	FieldAckIdle
	FieldRecvQueue
	FieldSendQueue
	FieldEOFRead
	FieldTimer
	FieldTimerExpires
	FieldRetransmits
	FieldBackoff
	FieldRTT
	FieldRTO
	FieldUnacked
	FieldLost
	FieldBytesSent
	FieldBytesReceived
	FieldOwned
	FieldOrphan
	FieldUnaccepted
	FieldOwners
	FieldPID
	FieldProcess
	FieldExe
	FieldCmdline
	FieldProcessAge
	FieldUID
	FieldUser
	FieldFDs
	FieldFDLimit
	FieldListenerProcess
	FieldCgroup
	FieldUnit
	FieldContainer
	FieldContainerID
	FieldDirection
	fieldCount
)

// The groups of fields by what it costs to fetch them.
var (
	infoFields = Fields(FieldAge, FieldAgeMax, FieldAgeSource, FieldIdle, FieldIdleRecv, FieldIdleSend, FieldAckIdle,
		FieldBackoff, FieldRTT, FieldRTO, FieldUnacked, FieldLost, FieldBytesSent, FieldBytesReceived)
	ageFields   = Fields(FieldAge, FieldAgeMax, FieldAgeSource)
	ownerFields = Fields(FieldOwners, FieldPID, FieldProcess, FieldExe, FieldCmdline, FieldProcessAge, FieldFDs, FieldFDLimit,
		FieldUser, FieldCgroup, FieldUnit, FieldContainer, FieldContainerID)
	listenerFields = Fields(FieldListenerProcess, FieldDirection)
)

// InfoFields is the set that needs struct tcp_info.
func InfoFields() FieldSet { return infoFields }

// AgeFields is the set that needs ages.
func AgeFields() FieldSet { return ageFields }

// OwnerFields is the set that needs a look at /proc.
func OwnerFields() FieldSet { return ownerFields }

// ListenerFields is the set that needs the listeners of the namespace.
func ListenerFields() FieldSet { return listenerFields }

// Type is the type of a field in conditions.
type Type uint8

// The types of fields. Seconds are numbers that can also be compared with a
// duration in quotes.
const (
	TypeBool Type = iota
	TypeNumber
	TypeSeconds
	TypeString
	TypeAddr
	TypePort
)

// String returns the name of the type as it is documented.
func (t Type) String() string {
	return [...]string{"bool", "number", "seconds", "string", "address", "port"}[t]
}

// FieldDoc describes a field and reads it. Of the readers only the one that
// fits Type is set, and it may be called only when the field is known.
type FieldDoc struct {
	Field   Field
	Name    string
	Aliases []string
	Type    Type
	Unit    string // "" for none
	Source  string
	Meaning string
	Unknown string // when the field is unknown
	Values  []string

	Num  func(*Record) float64
	Str  func(*Record) string
	Bool func(*Record) bool
	Addr func(*Record) Addr
}

const (
	diag      = "sock_diag"
	tcpInfo   = "sock_diag tcp_info"
	proc      = "/proc/PID"
	never     = "never"
	noInfo    = "UDP, LISTEN, SYN_SENT, SYN_RECV, TIME_WAIT, FIN_WAIT2 orphans, /proc/net"
	noStamp   = noInfo + ", closed before the handshake was over"
	noSegInfo = "UDP, LISTEN, SYN_RECV, TIME_WAIT, FIN_WAIT2 orphans, /proc/net"
	noOwner   = "the owner exists but cannot be read"
	ownerless = "no owner, or it cannot be read"
)

func seconds(ms uint32) float64 { return float64(ms) / 1000 }

func idleOf(r *Record, stamp func(*Socket) (uint32, bool)) float64 {
	ms, _ := stamp(r.Socket)
	return seconds(ms)
}

// fieldDocs is the one place in which fields are declared: `rules fields`,
// the language, JSON, tables and completion read it.
var fieldDocs = [fieldCount]FieldDoc{
	{
		Field: FieldProtocol, Name: "protocol", Type: TypeString, Source: diag, Meaning: "transport protocol", Unknown: never,
		Values: []string{"tcp", "udp"}, Str: func(r *Record) string { return r.Socket.Protocol.String() },
	},
	{
		Field: FieldFamily, Name: "family", Type: TypeString, Source: diag, Meaning: "what the connection speaks; IPv4 in a dual-stack IPv6 socket is ipv4", Unknown: never,
		Values: []string{"ipv4", "ipv6"}, Str: familyOf,
	},
	{
		Field: FieldState, Name: "state", Type: TypeString, Source: diag, Meaning: "TCP state; UDP is ESTABLISHED (connected) or CLOSE", Unknown: never,
		Values: StateNames(), Str: func(r *Record) string { return r.Socket.State.String() },
	},
	{
		Field: FieldLocalAddr, Name: "local_addr", Type: TypeAddr, Source: diag, Meaning: "local address; IPv4-mapped counts as IPv4", Unknown: never,
		Addr: func(r *Record) Addr { return r.Socket.Local },
	},
	{
		Field: FieldPort, Name: "port", Aliases: []string{"local_port"}, Type: TypePort, Source: diag, Meaning: "local port", Unknown: never,
		Num: func(r *Record) float64 { return float64(r.Socket.LocalPort) },
	},
	{
		Field: FieldRemoteAddr, Name: "remote_addr", Type: TypeAddr, Source: diag, Meaning: "peer's address; IPv4-mapped counts as IPv4", Unknown: never,
		Addr: func(r *Record) Addr { return r.Socket.Remote },
	},
	{
		Field: FieldRemotePort, Name: "remote_port", Type: TypePort, Source: diag, Meaning: "peer's port, 0 without a peer", Unknown: never,
		Num: func(r *Record) float64 { return float64(r.Socket.RemotePort) },
	},
	{
		Field: FieldInterface, Name: "interface", Type: TypeString, Source: diag, Meaning: "interface that the socket is bound to, \"\" for none", Unknown: "the interface is gone, /proc/net",
		Str: func(r *Record) string {
			if r.Socket.IfIndex == 0 {
				return ""
			}
			return namespaceOf(r).Interfaces[r.Socket.IfIndex]
		},
	},
	{
		Field: FieldNetNS, Name: "netns", Type: TypeString, Source: "nsfs", Meaning: "network namespace: host, its name under /run/netns, or net:[inode]", Unknown: never,
		Str: func(r *Record) string { return namespaceOf(r).Name },
	},
	{
		Field: FieldHost, Name: "host", Type: TypeString, Source: "uname(2)", Meaning: "name of this machine", Unknown: never,
		Str: func(r *Record) string { return r.Host },
	},
	{
		Field: FieldCookie, Name: "cookie", Type: TypeString, Source: diag, Meaning: "identity of the socket until reboot, hexadecimal", Unknown: "/proc/net",
		Str: func(r *Record) string { return strconv.FormatUint(r.Socket.Cookie, 16) },
	},
	{
		Field: FieldInode, Name: "inode", Type: TypeNumber, Source: diag, Meaning: "sockfs inode, 0 when no process has the socket", Unknown: never,
		Num: func(r *Record) float64 { return float64(r.Socket.Inode) },
	},
	{
		Field: FieldAge, Name: "age", Type: TypeSeconds, Unit: "s", Source: "tcp_info, timers, observation", Meaning: "proven time in this state; compares as the interval [age, age_max]", Unknown: "nothing proves a bound: a comparison is then unknown",
		Num: func(r *Record) float64 { return factsOf(r).Age.Min },
	},
	{
		Field: FieldAgeMax, Name: "age_max", Type: TypeSeconds, Unit: "s", Source: "tcp_info, timers", Meaning: "longest time in this state that the evidence allows", Unknown: "nothing bounds it",
		Num: func(r *Record) float64 { return factsOf(r).Age.Max },
	},
	{
		Field: FieldAgeSource, Name: "age_source", Type: TypeString, Source: "sockwarden", Meaning: "what proved age", Unknown: never,
		Values: []string{"event", "observed", "tcp_info", "timer", "none"}, Str: func(r *Record) string { return string(factsOf(r).Age.Source) },
	},
	{
		Field: FieldIdle, Name: "idle", Type: TypeSeconds, Unit: "s", Source: tcpInfo, Meaning: "time since data went either way", Unknown: noStamp,
		Num: func(r *Record) float64 { return min(idleOf(r, IdleRecv), idleOf(r, IdleSend)) },
	},
	{
		Field: FieldIdleRecv, Name: "idle_recv", Type: TypeSeconds, Unit: "s", Source: tcpInfo, Meaning: "time since data was received; if none was, what is proven of the connection's own time", Unknown: noStamp,
		Num: func(r *Record) float64 { return idleOf(r, IdleRecv) },
	},
	{
		Field: FieldIdleSend, Name: "idle_send", Type: TypeSeconds, Unit: "s", Source: tcpInfo, Meaning: "time since data was sent; if none was, what is proven of the connection's own time", Unknown: noStamp,
		Num: func(r *Record) float64 { return idleOf(r, IdleSend) },
	},
	{
		Field: FieldAckIdle, Name: "ack_idle", Type: TypeSeconds, Unit: "s", Source: tcpInfo, Meaning: "time since the peer's last ACK: keepalive replies renew it", Unknown: noStamp,
		Num: func(r *Record) float64 { return idleOf(r, IdleAck) },
	},
	{
		Field: FieldRecvQueue, Name: "recv_queue", Type: TypeNumber, Unit: "bytes", Source: diag, Meaning: "unread bytes, plus 1 for an unread FIN; LISTEN: connections waiting for accept", Unknown: never,
		Num: func(r *Record) float64 { return float64(r.Socket.RecvQueue) },
	},
	{
		Field: FieldSendQueue, Name: "send_queue", Type: TypeNumber, Unit: "bytes", Source: diag, Meaning: "unacknowledged and unsent bytes, plus 1 for a SYN or FIN; LISTEN: limit of the accept queue", Unknown: "LISTEN in /proc/net",
		Num: func(r *Record) float64 { return float64(r.Socket.SendQueue) },
	},
	{
		Field: FieldEOFRead, Name: "eof_read", Type: TypeBool, Source: diag, Meaning: "CLOSE_WAIT whose owner has read EOF and still holds it: a leak or a half-close", Unknown: never,
		Bool: func(r *Record) bool {
			return r.Socket.State == CloseWait && r.Socket.RecvQueue == 0 && r.Socket.Inode != 0
		},
	},
	{
		Field: FieldTimer, Name: "timer", Type: TypeString, Source: diag, Meaning: "running timer; retransmit also stands for a loss probe", Unknown: never,
		Values: []string{"none", "retransmit", "keepalive", "timewait", "probe"}, Str: func(r *Record) string { return r.Socket.Timer.String() },
	},
	{
		Field: FieldTimerExpires, Name: "timer_expires", Type: TypeSeconds, Unit: "s", Source: diag, Meaning: "time until the timer fires, 0 without one", Unknown: never,
		Num: func(r *Record) float64 { return seconds(r.Socket.TimerExpires) },
	},
	{
		Field: FieldRetransmits, Name: "retransmits", Type: TypeNumber, Source: diag, Meaning: "retransmissions or probes since the last progress", Unknown: never,
		Num: func(r *Record) float64 { return float64(r.Socket.Retransmits) },
	},
	{
		Field: FieldBackoff, Name: "backoff", Type: TypeNumber, Source: tcpInfo, Meaning: "how often the retransmission timeout was doubled", Unknown: noSegInfo,
		Num: func(r *Record) float64 { return float64(r.Socket.Info.Backoff) },
	},
	{
		Field: FieldRTT, Name: "rtt", Type: TypeSeconds, Unit: "s", Source: tcpInfo, Meaning: "smoothed round trip time", Unknown: noInfo,
		Num: func(r *Record) float64 { return float64(r.Socket.Info.RTT) / 1e6 },
	},
	{
		Field: FieldRTO, Name: "rto", Type: TypeSeconds, Unit: "s", Source: tcpInfo, Meaning: "retransmission timeout", Unknown: noSegInfo,
		Num: func(r *Record) float64 { return float64(r.Socket.Info.RTO) / 1e6 },
	},
	{
		Field: FieldUnacked, Name: "unacked", Type: TypeNumber, Unit: "segments", Source: tcpInfo, Meaning: "segments sent and not acknowledged", Unknown: noSegInfo,
		Num: func(r *Record) float64 { return float64(r.Socket.Info.Unacked) },
	},
	{
		Field: FieldLost, Name: "lost", Type: TypeNumber, Unit: "segments", Source: tcpInfo, Meaning: "segments held to be lost", Unknown: noSegInfo,
		Num: func(r *Record) float64 { return float64(r.Socket.Info.Lost) },
	},
	{
		Field: FieldBytesSent, Name: "bytes_sent", Type: TypeNumber, Unit: "bytes", Source: tcpInfo, Meaning: "payload sent, with retransmissions", Unknown: noInfo + ", Linux before 4.19",
		Num: func(r *Record) float64 { return float64(r.Socket.Info.BytesSent) },
	},
	{
		Field: FieldBytesReceived, Name: "bytes_received", Type: TypeNumber, Unit: "bytes", Source: tcpInfo, Meaning: "payload received", Unknown: noInfo + ", Linux before 4.1",
		Num: func(r *Record) float64 { return float64(r.Socket.Info.BytesReceived) },
	},
	{
		Field: FieldOwned, Name: "owned", Type: TypeBool, Source: diag, Meaning: "some process has the socket (inode is not 0), readable or not", Unknown: never,
		Bool: func(r *Record) bool { return r.Socket.Inode != 0 },
	},
	{
		Field: FieldOrphan, Name: "orphan", Type: TypeBool, Source: diag, Meaning: "closed by its process, FIN handshake unfinished (FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK)", Unknown: never,
		Bool: func(r *Record) bool { return Orphaned(r.Socket) },
	},
	{
		Field: FieldUnaccepted, Name: "unaccepted", Type: TypeBool, Source: diag, Meaning: "waits in the accept queue of a listener", Unknown: never,
		Bool: func(r *Record) bool { return Unaccepted(r.Socket) },
	},
	{
		Field: FieldOwners, Name: "owners", Type: TypeNumber, Source: proc, Meaning: "number of processes that hold the socket", Unknown: noOwner,
		Num: func(r *Record) float64 { return float64(len(factsOf(r).Owners)) },
	},
	{
		Field: FieldPID, Name: "pid", Type: TypeNumber, Source: proc, Meaning: "process that holds the socket, 0 for none; a condition must hold for each of several", Unknown: noOwner,
		Num: func(r *Record) float64 { return float64(ownerOf(r).PID) },
	},
	{
		Field: FieldProcess, Name: "process", Type: TypeString, Source: proc, Meaning: "full name of that process, \"\" for none", Unknown: noOwner,
		Str: func(r *Record) string { return ownerOf(r).Name },
	},
	{
		Field: FieldExe, Name: "exe", Type: TypeString, Source: proc + "/exe", Meaning: "its executable, \"\" for none", Unknown: noOwner + ", kernel threads",
		Str: func(r *Record) string { return ownerOf(r).Exe },
	},
	{
		Field: FieldCmdline, Name: "cmdline", Type: TypeString, Source: proc + "/cmdline", Meaning: "its arguments, joined by spaces", Unknown: noOwner,
		Str: func(r *Record) string { return ownerOf(r).Cmdline },
	},
	{
		Field: FieldProcessAge, Name: "process_age", Type: TypeSeconds, Unit: "s", Source: proc + "/stat", Meaning: "time since that process started", Unknown: ownerless,
		Num: func(r *Record) float64 { return ownerOf(r).Age },
	},
	{
		Field: FieldUID, Name: "uid", Type: TypeNumber, Source: diag, Meaning: "user id that owns the socket", Unknown: "TIME_WAIT and orphans: the kernel shows 0 for them",
		Num: func(r *Record) float64 { return float64(r.Socket.UID) },
	},
	{
		Field: FieldUser, Name: "user", Type: TypeString, Source: "user database", Meaning: "name of the user whom the process runs as", Unknown: ownerless + ", no such user",
		Str: func(r *Record) string { return ownerOf(r).User },
	},
	{
		Field: FieldFDs, Name: "fds", Type: TypeNumber, Source: proc + "/fd", Meaning: "descriptors that the process has open", Unknown: ownerless,
		Num: func(r *Record) float64 { return float64(ownerOf(r).FDs) },
	},
	{
		Field: FieldFDLimit, Name: "fd_limit", Type: TypeNumber, Source: proc + "/limits", Meaning: "descriptors that the process may open (soft limit)", Unknown: ownerless + ", unlimited",
		Num: func(r *Record) float64 { return float64(ownerOf(r).FDLimit) },
	},
	{
		Field: FieldListenerProcess, Name: "listener_process", Type: TypeString, Source: "sock_diag, /proc", Meaning: "process that listens where this connection came in, \"\" where nobody listens", Unknown: "the listener's process cannot be read, or listeners of several processes fit (SO_REUSEPORT)",
		Str: func(r *Record) string { return listenerOf(r).Name },
	},
	{
		Field: FieldCgroup, Name: "cgroup", Type: TypeString, Source: proc + "/cgroup", Meaning: "cgroup path of the process", Unknown: ownerless,
		Str: func(r *Record) string { return ownerOf(r).Cgroup },
	},
	{
		Field: FieldUnit, Name: "unit", Type: TypeString, Source: proc + "/cgroup", Meaning: "systemd unit of the process, \"\" for none", Unknown: ownerless,
		Str: func(r *Record) string { return ownerOf(r).Unit },
	},
	{
		Field: FieldContainer, Name: "container", Type: TypeString, Source: proc + "/cgroup", Meaning: "name of the container, \"\" outside of containers", Unknown: ownerless + ", in a container (its name is not looked up: use container_id)",
		Str: func(*Record) string { return "" },
	},
	{
		Field: FieldContainerID, Name: "container_id", Type: TypeString, Source: proc + "/cgroup", Meaning: "id of the container (64 hex digits), \"\" outside of containers", Unknown: ownerless,
		Str: func(r *Record) string { return ownerOf(r).Container },
	},
	{
		Field: FieldDirection, Name: "direction", Type: TypeString, Source: diag, Meaning: "inbound: a listener of the namespace matches port, family and address; outbound: none does and the port is ephemeral", Unknown: "neither, or UDP",
		Values: []string{"inbound", "outbound"}, Str: func(r *Record) string { return factsOf(r).Direction },
	},
}

// What a record is without: none is never written to.
var (
	noProcess   Owner
	noNamespace Namespace
	noFacts     = Facts{Age: NoAge()}
)

func namespaceOf(r *Record) *Namespace {
	if r.Namespace == nil {
		return &noNamespace
	}
	return r.Namespace
}

func factsOf(r *Record) *Facts {
	if r.Facts == nil {
		return &noFacts
	}
	return r.Facts
}

func ownerOf(r *Record) *Owner {
	if r.Owner == nil {
		return &noProcess
	}
	return r.Owner
}

func listenerOf(r *Record) *Owner {
	if l := factsOf(r).ListenerOwner; l != nil {
		return l
	}
	return &noProcess
}

func familyOf(r *Record) string {
	k := KeyOf(r.Socket)
	if r.Socket.Family == IPv4 || k.family() == IPv4 {
		return "ipv4"
	}
	return "ipv6"
}

// Doc returns the description of f.
func (f Field) Doc() *FieldDoc { return &fieldDocs[f] }

// String returns the name of the field.
func (f Field) String() string {
	if f < fieldCount {
		return fieldDocs[f].Name
	}
	return fmt.Sprintf("field(%d)", uint8(f))
}

// AllFields returns the descriptions of all fields in order.
func AllFields() []FieldDoc { return fieldDocs[:] }

// FieldByName returns the field with that name or alias.
func FieldByName(name string) (Field, bool) {
	for i := range fieldDocs {
		if fieldDocs[i].Name == name || slices.Contains(fieldDocs[i].Aliases, name) {
			return fieldDocs[i].Field, true
		}
	}
	return 0, false
}

// Value returns the value of f for printing: bool, float64, string or
// netip.Addr; false if it is unknown.
func Value(f Field, r *Record) (any, bool) {
	if f >= fieldCount || !r.Known.Has(f) {
		return nil, false
	}
	d := &fieldDocs[f]
	switch {
	case d.Bool != nil:
		return d.Bool(r), true
	case d.Num != nil:
		return d.Num(r), true
	case d.Addr != nil:
		return d.Addr(r).Netip(), true
	default:
		return d.Str(r), true
	}
}

// Map returns all known fields of r by name, numbers as int64 where they are
// whole, as JSON shows a socket. Of several owners the first speaks, and
// owner_processes lists them all.
func Map(r *Record) map[string]any {
	m := make(map[string]any, fieldCount)
	for f := range r.Known.Each {
		v, ok := Value(f, r)
		if !ok {
			continue
		}
		if n, isNum := v.(float64); isNum && n == float64(int64(n)) {
			v = int64(n)
		}
		m[f.String()] = v
	}
	if r.Facts != nil && len(r.Facts.Owners) > 1 {
		var all []map[string]any
		for i := range r.Facts.Owners {
			o := &r.Facts.Owners[i]
			all = append(all, map[string]any{"pid": o.PID, "process": o.Name})
		}
		m["owner_processes"] = all
	}
	return m
}
