package recording

import (
	"sockwarden/collectors"
	"sockwarden/engine/memory"
)

// anyLine is a line of the file, behind the first one: a socket, or something else.
type anyLine struct {
	line
	socketDoc
}

// line is a line that is no socket: exactly one of these.
type line struct {
	Fields    *fieldsDoc      `json:"fields,omitempty"`
	Process   *processDoc     `json:"process,omitempty"`
	Container *containerDoc   `json:"container,omitempty"`
	Whole     *wholeDoc       `json:"whole,omitempty"`
	Seen      *memory.SeenDoc `json:"seen,omitempty"`
	Hold      *memory.HoldDoc `json:"hold,omitempty"`
	Cooldown  *cooldownDoc    `json:"cooldown,omitempty"`
	// Kept is the rest of what is remembered.
	Kept *memory.StateDoc `json:"kept,omitempty"`
	// End is the last line.
	End bool `json:"end,omitempty"`
}

// headerDoc is the first line.
type headerDoc struct {
	Header
	Namespaces []Namespace `json:"namespaces"`
}

// processDoc is a process. Lines of sockets name it by pid and start_time.
type processDoc struct {
	PID       int     `json:"pid"`
	StartTime uint64  `json:"start_time"`
	Known     int     `json:"known,omitempty"`
	Comm      string  `json:"comm"`
	Name      string  `json:"process"`
	Exe       string  `json:"exe,omitempty"`
	Cmdline   string  `json:"cmdline,omitempty"`
	Age       float64 `json:"process_age"`
	UID       uint32  `json:"uid"`
	User      string  `json:"user,omitempty"`
	FDs       int     `json:"fds"`
	FDLimit   uint64  `json:"fd_limit"`
	Cgroup    string  `json:"cgroup,omitempty"`
	Unit      string  `json:"unit,omitempty"`
	Container string  `json:"container_id,omitempty"`
	LeadsTo   string  `json:"leads_to,omitempty"`
	Proxy     *Proxy  `json:"proxy,omitempty"`
	Kernel    bool    `json:"kernel,omitempty"`
	Told      bool    `json:"told,omitempty"`
	Login     bool    `json:"login,omitempty"`

	Elsewhere   []Elsewhere `json:"elsewhere,omitempty"`
	NotExamined string      `json:"not_examined,omitempty"`
}

// containerDoc is what an engine says about a container.
type containerDoc struct {
	Cgroup         string            `json:"cgroup"`
	Engine         string            `json:"engine,omitempty"`
	Name           string            `json:"container,omitempty"`
	ComposeService string            `json:"compose_service,omitempty"`
	Pod            string            `json:"pod,omitempty"`
	Image          string            `json:"image,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	Known          int               `json:"known,omitempty"`
	Err            string            `json:"error,omitempty"`
	Absent         bool              `json:"absent,omitempty"`
	Ports          []Proxy           `json:"ports,omitempty"`
	PortsKnown     bool              `json:"ports_known,omitempty"`
}

// wholeDoc is a unit or container. Processes are named by pid and start_time.
type wholeDoc struct {
	Of      processRef   `json:"of"`
	Members []processRef `json:"members,omitempty"`
	Err     string       `json:"error,omitempty"`
}

// processRef names a process, with its comm for people.
type processRef struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"`
	Comm      string `json:"comm,omitempty"`
	FD        int    `json:"fd,omitempty"`
}

// cooldownDoc is a target that cools down.
type cooldownDoc struct {
	Key string `json:"key"`
	memory.Cooldown
}

// socketDoc is a socket: the names of its JSON where the values are the same, and the
// kernel's where they are not.
type socketDoc struct {
	Protocol   string          `json:"protocol"`
	Family     string          `json:"family"`
	Mapped     bool            `json:"mapped,omitempty"` // an IPv6 socket with IPv4 traffic
	State      string          `json:"state"`
	Local      collectors.Addr `json:"local_addr"`
	Port       uint16          `json:"port"`
	Remote     collectors.Addr `json:"remote_addr"`
	RemotePort uint16          `json:"remote_port"`
	NetNS      string          `json:"netns"`
	NetNSID    uint64          `json:"netns_cookie,omitempty"` // if it is not the inode of the namespace
	Cookie     hexNumber       `json:"cookie"`
	Inode      uint32          `json:"inode"`
	Known      int             `json:"known,omitempty"`
	UID        uint32          `json:"uid,omitempty"`
	IfIndex    uint32          `json:"if_index,omitempty"`
	CgroupID   uint64          `json:"cgroup_id,omitempty"`
	Cgroup     string          `json:"socket_cgroup,omitempty"`
	RecvQueue  uint32          `json:"recv_queue"`
	SendQueue  uint32          `json:"send_queue"`
	SendBuffer uint32          `json:"send_buffer,omitempty"`
	Drops      uint32          `json:"drops,omitempty"`
	Mark       uint32          `json:"mark,omitempty"`
	Congestion string          `json:"congestion,omitempty"`
	Token      hexNumber       `json:"mptcp_token,omitempty"`
	Subflow    bool            `json:"subflow,omitempty"`
	V6Only     bool            `json:"v6only,omitempty"`
	Options    string          `json:"sockopts,omitempty"` // shown,freebind,transparent
	Timer      string          `json:"timer,omitempty"`
	ExpiresMS  uint32          `json:"timer_expires_ms,omitempty"`
	Retrans    uint8           `json:"retransmits,omitempty"`
	Info       *infoDoc        `json:"tcp_info,omitempty"`
	Owners     []processRef    `json:"owners,omitempty"`
	AllOwners  bool            `json:"all_owners,omitempty"`
	Since      float64         `json:"event,omitempty"`
	Beside     bool            `json:"beside,omitempty"`
}

// infoDoc is struct tcp_info, with the kernel's names and units.
type infoDoc struct {
	Len           uint16 `json:"len,omitempty"`
	Backoff       uint8  `json:"backoff,omitempty"`
	Retransmits   uint8  `json:"retransmits,omitempty"`
	RTO           uint32 `json:"rto,omitempty"`
	RTT           uint32 `json:"rtt,omitempty"`
	Unacked       uint32 `json:"unacked,omitempty"`
	Lost          uint32 `json:"lost,omitempty"`
	LastDataSent  uint32 `json:"last_data_sent,omitempty"`
	LastDataRecv  uint32 `json:"last_data_recv,omitempty"`
	LastAckRecv   uint32 `json:"last_ack_recv,omitempty"`
	BytesSent     uint64 `json:"bytes_sent,omitempty"`
	BytesAcked    uint64 `json:"bytes_acked,omitempty"`
	BytesReceived uint64 `json:"bytes_received,omitempty"`
	BusyTime      uint64 `json:"busy_time,omitempty"`
	SegsIn        uint32 `json:"segs_in,omitempty"`
	SegsOut       uint32 `json:"segs_out,omitempty"`
	NotSent       uint32 `json:"notsent_bytes,omitempty"`
	RTOTime       uint32 `json:"total_rto_time,omitempty"`
	TotalRTO      uint16 `json:"total_rto,omitempty"`
	Options       uint8  `json:"options,omitempty"`
	WindowScales  uint8  `json:"wscale,omitempty"`
}
