package recording

import (
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
)

// Version is the number of the format. Readers take this one and those before it.
const Version = 1

// Recording is a host at one moment.
type Recording struct {
	Header
	Namespaces []Namespace
	Sockets    []Socket
	Processes  []Process
	// Containers is what their engines said, by control group.
	Containers map[string]world.Container
	// Wholes are the members of units and containers, by world.Owner's key of one of them.
	Wholes []Whole
	// Memory is what earlier looks had seen, and what rules had done.
	Memory memory.StateDoc
}

// Header says where and when a recording was made, and what is in it. It is the first line
// of the file, with the namespaces.
type Header struct {
	Version int    `json:"recording"`
	Host    string `json:"host"`
	Kernel  string `json:"kernel"`
	BootID  string `json:"boot_id,omitempty"`
	// Time is the time of day when the look began, Mono CLOCK_MONOTONIC when it ended, and
	// Looking how long it took, both in seconds.
	Time    time.Time `json:"time"`
	Mono    float64   `json:"mono"`
	Looking float64   `json:"looking,omitempty"`
	// Partial says that only what Selection says was recorded, and what explains it.
	Partial   bool   `json:"partial"`
	Selection string `json:"selection,omitempty"`
	// Cmdline says that arguments of processes were recorded, Anonymised that names and
	// addresses are not the real ones.
	Cmdline    bool `json:"cmdline"`
	Anonymised bool `json:"anonymised,omitempty"`
	// Events says that the kernel had told when sockets entered their states.
	Events bool `json:"events,omitempty"`
	// Unentered says why there may be namespaces that nobody could list, "" if there are none.
	Unentered string `json:"unentered,omitempty"`
	// Gaps are why not everything could be looked at, Notes what else there was to say.
	Gaps  []string `json:"gaps,omitempty"`
	Notes []string `json:"notes,omitempty"`
	// Sight is which processes could be seen.
	Sight Sight `json:"sight"`
	Self  Self  `json:"self"`
	// Proxies are the docker-proxies that ran.
	Proxies []Proxy `json:"proxies,omitempty"`
}

// Sight is which processes could be seen.
type Sight struct {
	HidePID  string `json:"hidepid,omitempty"`
	Inside   bool   `json:"inside,omitempty"`
	HostInit bool   `json:"host_init,omitempty"`
	Foreign  bool   `json:"foreign,omitempty"`
	// Unexamined says which processes could not be examined, "" if all could.
	Unexamined string `json:"unexamined,omitempty"`
}

// Self is who made the recording: what must survive for that user to be able to go on.
type Self struct {
	PID       int      `json:"pid"`
	Ancestors []int    `json:"ancestors,omitempty"`
	Session   []string `json:"session,omitempty"` // peers of the ssh session, ADDRESS:PORT
}

// Proxy is what a docker-proxy was told to do.
type Proxy struct {
	Protocol  string `json:"protocol"`
	Host      string `json:"host,omitempty"`
	Container string `json:"container"`
}

// Namespace is a network namespace of the host.
type Namespace struct {
	Name  string   `json:"name"`
	Inode uint64   `json:"inode"`
	PID   int      `json:"pid,omitempty"`   // a process in it, 0 if none is known
	Meant []string `json:"meant,omitempty"` // what it was asked for by, besides its name
	Own   bool     `json:"own,omitempty"`   // the recorder ran in it
	// Recorded says that its sockets are in the recording. Of others there are only counts.
	Recorded bool `json:"recorded"`
	TCP      int  `json:"tcp"`
	UDP      int  `json:"udp"`
	Sure     bool `json:"sure,omitempty"`
	// Initial says that it is the one that the machine started with, or may be.
	Initial    bool              `json:"initial,omitempty"`
	Interfaces map[uint32]string `json:"interfaces,omitempty"`
	PortLow    uint16            `json:"port_low,omitempty"`
	PortHigh   uint16            `json:"port_high,omitempty"`
	AcceptsVRF bool              `json:"accepts_vrf,omitempty"`
	BindsAny4  bool              `json:"binds_any4,omitempty"`
	BindsAny6  bool              `json:"binds_any6,omitempty"`
	// Addresses are its own among the addresses of all recorded sockets; with a zone, which
	// is the index of a device, if it is there only on that.
	Addresses []string `json:"addresses,omitempty"`
	// NoPorts and NoAddresses say why these are not known, "" if they are.
	NoPorts     string `json:"no_ports,omitempty"`
	NoAddresses string `json:"no_addresses,omitempty"`
}

// Socket is a socket, and what cannot be told from its record.
type Socket struct {
	collectors.Socket
	// Place is its namespace, by its place in the recording.
	Place int
	// Holders are the processes that had it.
	Holders []Holder
	// AllHolders says that nobody else had it, whoever could not be seen.
	AllHolders bool
	// Cgroup is the path of the control group that it was made in, where it was asked for.
	Cgroup string
	// Since is when the kernel said that it had entered its state (CLOCK_MONOTONIC,
	// seconds), 0 if it did not.
	Since float64
	// Beside says that it is there only to explain others: it was not selected.
	Beside bool
}

// Holder is a process that has a socket, by its place in the recording.
type Holder struct {
	Process int
	FD      int // one descriptor by which it has the socket
}

// Process is a process, with what only questions to the host could tell.
type Process struct {
	collectors.Owner
	// Login says that the user who made the recording is logged in through it.
	Login bool
	// Elsewhere are its connections and listeners outside of the recorded namespaces;
	// NotExamined says why they are not known, "" if they are.
	Elsewhere   []Elsewhere
	NotExamined string
}

// Elsewhere is a TCP socket of a process in a namespace that is not in the recording.
type Elsewhere struct {
	Inode  uint32 `json:"inode"`
	NetNS  uint64 `json:"netns"`
	Cookie uint64 `json:"cookie,omitempty"`
	State  string `json:"state"`
	Queued int    `json:"queued,omitempty"`
}

// Whole is a unit or container, with all processes in it.
type Whole struct {
	Of      int // a process of it, by its place in the recording
	Members []int
	// Err says why they are not known, "" if they are.
	Err string
}

// Chosen counts the sockets but for those that only explain others.
func (r *Recording) Chosen() (n int) {
	for i := range r.Sockets {
		if !r.Sockets[i].Beside {
			n++
		}
	}
	return n
}
