package collectors

// AgeSource says what proved an age.
type AgeSource string

// The sources of an age, as conditions see them in age_source.
const (
	AgeNone     AgeSource = "none"     // nothing proves a lower bound
	AgeTCPInfo  AgeSource = "tcp_info" // time stamps and timeouts of struct tcp_info
	AgeTimer    AgeSource = "timer"    // what is left of a timer of known length
	AgeEvent    AgeSource = "event"    // the kernel reported the transition into the state
	AgeObserved AgeSource = "observed" // we saw it in this state before
)

// Age bounds the time that a socket has been in its state, in seconds: at least Min and,
// if Bounded, at most Max. Source says what proved Min.
type Age struct {
	Min, Max float64
	Bounded  bool
	Source   AgeSource
}

// NoAge is the age of a socket when nothing is known about it.
func NoAge() Age { return Age{Source: AgeNone} }

// Owner is a process that holds a socket.
type Owner struct {
	Known     FieldSet
	PID       int
	FD        int     // one descriptor by which it holds the socket
	StartTime uint64  // field 22 of /proc/PID/stat, clock ticks since boot
	Age       float64 // seconds since the process started
	UID       uint32
	FDs       int
	FDLimit   uint64 // soft RLIMIT_NOFILE; math.MaxUint64 for unlimited
	Comm      string // as the kernel has it: at most 15 bytes
	Name      string // the full process name
	Exe       string
	Cmdline   string // arguments joined by spaces
	User      string
	Cgroup    string
	Unit      string // systemd unit, "" for none
	Container string // container id of 64 hex digits, "" for none
	// ContainerNames is what the engine that runs the container says of it.
	ContainerNames
	// LeadsTo is, of a docker-proxy, the container behind it as ENGINE:NAME; "" if it is
	// none, or not known.
	LeadsTo string
	Kernel  bool // a kernel thread
	// Told says that we cannot examine the process: BPF reports that it holds the socket,
	// and /proc cannot confirm it.
	Told bool
}

// ContainerNames is what people call a container, as its engine reports it; all are ""
// outside a container. Images and whoever starts containers choose the words, so no guard
// reads them.
type ContainerNames struct {
	// Engine is docker, podman or cri (containerd and CRI-O of a Kubernetes node).
	Engine         string
	ContainerName  string // without a leading slash; in a pod unique only together with Pod
	ComposeService string // label com.docker.compose.service
	Pod            string // NAMESPACE/NAME of the Kubernetes pod
	Image          string // as the user who started the container named it
	// ContainerLabels are those for messages and programs: few, short, and none that looks
	// like a secret. They are shared and not to be changed; nil is none.
	ContainerLabels map[string]string
}

// Namespace is a network namespace whose sockets we looked at.
type Namespace struct {
	Inode uint64 // of the nsfs file
	Name  string // "host", the name under /run/netns, or net:[inode]
	// Meant is what it was asked for by, besides its name: another name, a pattern, a path.
	Meant      []string
	Interfaces map[uint32]string
	// PortLow and PortHigh are the ephemeral range of the namespace
	// (net.ipv4.ip_local_port_range); both are 0 if it could not be read.
	PortLow, PortHigh uint16
}

// Facts is what the engine found out about one socket beyond its record.
type Facts struct {
	Known  FieldSet
	Age    Age
	Owners []Owner
	// Stalled is how long something has been waiting for the peer to acknowledge it, and
	// nothing was: at least Min, and, if Bounded, at most Max seconds.
	Stalled   Age
	Direction string
	// Cgroup is the control group that the socket was made in, where it is looked for: an
	// accepted one has that of its listener.
	Cgroup string
	// LocalAddrGone says that the namespace no longer has the local address.
	LocalAddrGone bool
	// OthersHidden says that processes that we cannot examine may hold it, too.
	OthersHidden bool
	// Complete says that the engine has found out everything that it can: nobody will
	// know later what is unknown now.
	Complete bool
	// ListenerOwner is one of the processes that may be listening where the connection
	// came in, a guarded one if there is any. It is nil if there is none or if not all of
	// them are known.
	ListenerOwner *Owner
	// Peers are the processes that hold the other end, where that is on this host. Known has
	// what they have in common.
	Peers []Owner
	// Published is the port of the host that leads to the socket of a container, or where a
	// docker-proxy leads.
	Published string
}

// ListenerProcess is the name of the process that listens where the connection came in.
// It is "" if nobody does, or if FieldListenerProcess is unknown because the possible
// listeners have different names.
func (f *Facts) ListenerProcess() string {
	if f.ListenerOwner == nil || !f.Known.Has(FieldListenerProcess) {
		return ""
	}
	return f.ListenerOwner.Name
}

// Group is what is known about sockets that a rule judges together.
type Group struct {
	Count int
	// Uncertain is how many more sockets may belong to it: a fact that would decide is
	// unknown.
	Uncertain int
	Age       Age     // Min is the largest proven age, Max the largest bound if all are bounded
	RecvQueue float64 // sum, bytes
	SendQueue float64 // sum, bytes
	// Unsummed says that the queues of some members are unknown, and not in the sums.
	Unsummed bool
	// FDs and FDLimit belong to the process, in groups of one process; negative if
	// unknown.
	FDs, FDLimit float64
}

// Record is what a condition reads: a socket, its namespace, the facts about it, and the
// owner for which the condition is evaluated. Namespace, Facts and Owner may be nil.
type Record struct {
	Known     FieldSet // union of what the parts know
	Socket    *Socket
	Namespace *Namespace
	Facts     *Facts
	Owner     *Owner
	Group     *Group // set where a condition asks about a group, otherwise nil
	Host      string // name of this machine
	Result    string // outcome of the previous rung, where a ladder asks for it
}

// The fields that a record knows because a part is present.
var (
	netnsKnown     = Fields(FieldNetNS)
	interfaceKnown = Fields(FieldInterface)
	hostKnown      = Fields(FieldHost)
)

// NewRecord joins the parts; all but s may be nil.
func NewRecord(s *Socket, ns *Namespace, f *Facts, o *Owner, host string) Record {
	r := Record{Known: s.Known, Socket: s, Namespace: ns, Facts: f, Owner: o, Host: host}
	if ns != nil {
		r.Known.Add(netnsKnown)
		if _, ok := ns.Interfaces[s.IfIndex]; ok || s.IfIndex == 0 {
			r.Known.Add(interfaceKnown)
		}
	}
	if host != "" {
		r.Known.Add(hostKnown)
	}
	if f != nil {
		r.Known.Add(f.Known)
	}
	if o != nil {
		r.Known.Add(o.Known)
	}
	return r
}
