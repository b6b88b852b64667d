package collectors

import (
	"fmt"
	"slices"
)

// Field names one thing that a condition can read of a socket.
type Field uint8

// The fields, in the order of documentation and output.
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
	FieldMPTCPToken
	FieldAge
	FieldAgeMax
	FieldAgeSource
	FieldIdle
	FieldIdleRecv
	FieldIdleSend
	FieldAckIdle
	FieldRecvQueue
	FieldSendQueue
	FieldSendBuffer
	FieldSendStalled
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
	FieldCongestion
	FieldDrops
	FieldMark
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
	FieldComposeService
	FieldPod
	FieldImage
	FieldPublished
	FieldDirection
	FieldPeerPID
	FieldPeerProcess
	FieldPeerContainer
	FieldLocalAddrGone
	fieldCount
)

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

// String returns the documented name of the type.
func (t Type) String() string {
	return [...]string{"bool", "number", "seconds", "string", "address", "port"}[t]
}

// FieldDoc declares a field: its name, meaning and cost, and how to read and set it. It
// has only the readers and setters that fit Type. Call a reader only when the field is
// known; only Set calls a setter, and checks the outcome.
type FieldDoc struct {
	Field   Field
	Name    string
	Aliases []string
	Type    Type
	Unit    string // "" for none
	Cost    Cost
	Source  string // where it comes from, for the documentation
	Meaning string
	Unknown string   // when the field is unknown
	Values  []string // every value that a string can have, nil for any

	Num  func(*Record) float64
	Str  func(*Record) string
	Bool func(*Record) bool
	Addr func(*Record) Addr

	SetNum  func(*Record, float64)
	SetStr  func(*Record, string)
	SetBool func(*Record, bool)
	SetAddr func(*Record, Addr)

	part part
}

const (
	diag      = "sock_diag"
	tcpInfo   = "sock_diag tcp_info"
	proc      = "/proc/PID"
	noQueue   = "MPTCP but listeners: the kernel shows memory there"
	noTimer   = "MPTCP"
	never     = "never"
	noInfo    = "UDP, MPTCP, LISTEN, SYN_SENT, SYN_RECV, TIME_WAIT, FIN_WAIT2 orphans, /proc/net"
	noStamp   = noInfo + ", closed before the handshake was over"
	noSegInfo = "UDP, MPTCP, LISTEN, SYN_RECV, TIME_WAIT, FIN_WAIT2 orphans, /proc/net"
	noOwner   = "the owner exists but cannot be read"
	ownerless = "no owner, or it cannot be read"
	engines   = "the container engine"
	otherEnd  = "sock_diag, /proc"
	noPeer    = "not every network namespace could be looked at, NAT may hide it, several sockets or processes may be it, UDP, MPTCP"
	nameless  = ownerless + ", in a container whose engine cannot be asked or does not say (sockwarden doctor)"
)

// fieldDocs is the one place that declares fields: `rules fields`, the language, JSON,
// tables and completion read it.
var fieldDocs = declared(
	declarations{ofSocket, socketFields}, declarations{ofSocket, infoFields}, declarations{ofPlace, placeFields},
	declarations{ofFacts, factFields}, declarations{ofOwner, ownerFields})

// declarations lists the fields of one part of a record.
type declarations struct {
	part part
	docs []FieldDoc
}

// declared puts the declarations in the order of the fields.
func declared(lists ...declarations) (all [fieldCount]FieldDoc) {
	for _, l := range lists {
		for _, d := range l.docs {
			d.part = l.part
			all[d.Field] = d
		}
	}
	return all
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

// FieldByName returns the field of that name or alias.
func FieldByName(name string) (Field, bool) {
	for i := range fieldDocs {
		if fieldDocs[i].Name == name || slices.Contains(fieldDocs[i].Aliases, name) {
			return fieldDocs[i].Field, true
		}
	}
	return 0, false
}
