package collectors

// Cost says what it takes to know a field: the work that a source or the engine does not
// do for every record. A query that asks for no field of a cost does not pay it.
type Cost uint8

// The costs. A field that takes its own netlink extension has its own cost; package
// sockdiag knows the extension (request.go).
const (
	costMissing       Cost = iota // undeclared: a test fails
	CostNone                      // every record has it
	CostInfo                      // struct tcp_info: the kernel takes the lock of each socket for it
	CostAge                       // struct tcp_info, and earlier observations
	CostStall                     // the same, for what waits to be acknowledged
	CostCongestion                // the name of the congestion control: INET_DIAG_CONG
	CostMemory                    // the memory of the socket: INET_DIAG_SKMEMINFO
	CostInterfaces                // the names of the namespace's interfaces
	CostOwner                     // who holds the socket: a walk through /proc, or a program in the kernel
	CostFDs                       // who holds it, and how many descriptors the process has
	CostCgroup                    // who holds it, and the control groups of the process
	CostContainer                 // who holds it, its control groups, and a question to the container engine
	CostPublished                 // what CostContainer takes: the engine says it along with the names
	CostListeners                 // the listeners of the namespace
	CostPeer                      // a look into network namespaces for the other end, and who holds that
	CostPeerContainer             // the same, and a question to the container engine
	CostAddresses                 // the addresses of the namespace
	costCount
)

// costTexts say what it takes, in the order of the costs.
var costTexts = [costCount]string{
	CostNone: "nothing", CostInfo: "struct tcp_info of each socket", CostAge: "struct tcp_info of each socket, and earlier sightings",
	CostStall:      "struct tcp_info of each socket, and earlier sightings of what waits to be acknowledged",
	CostCongestion: "the congestion control of each socket", CostMemory: "the memory of each socket",
	CostInterfaces: "the interfaces of the namespace", CostOwner: "who holds the socket",
	CostFDs: "who holds the socket, and its descriptors", CostCgroup: "who holds the socket, and its control groups",
	CostContainer: "a question to the container engine", CostPublished: "a question to the container engine",
	CostListeners: "the listeners of the namespace", CostPeer: "a look into other namespaces for the other end",
	CostPeerContainer: "a look into other namespaces for the other end, and a question to the container engine",
	CostAddresses:     "the addresses of the namespace",
}

// String says what it takes to know a field of that cost.
func (c Cost) String() string { return costTexts[c] }

// Fields grouped by cost.
var (
	infoGroup      = fieldsOf(CostInfo, CostAge, CostStall)
	ageGroup       = fieldsOf(CostAge)
	stallGroup     = fieldsOf(CostStall)
	congestGroup   = fieldsOf(CostCongestion)
	memoryGroup    = fieldsOf(CostMemory)
	ownerGroup     = fieldsOf(CostOwner, CostFDs, CostCgroup, CostContainer)
	containerGroup = fieldsOf(CostContainer)
	engineGroup    = fieldsOf(CostContainer, CostPublished, CostPeerContainer)
	peerGroup      = fieldsOf(CostPeer, CostPeerContainer)
	listenerGroup  = fieldsOf(CostListeners)
	interfaceGroup = fieldsOf(CostInterfaces)
)

func fieldsOf(costs ...Cost) (s FieldSet) {
	for i := range fieldDocs {
		for _, c := range costs {
			if fieldDocs[i].Cost == c {
				s.Add(Fields(fieldDocs[i].Field))
			}
		}
	}
	return s
}

// InfoFields is the set that needs struct tcp_info.
func InfoFields() FieldSet { return infoGroup }

// AgeFields is the set that needs ages.
func AgeFields() FieldSet { return ageGroup }

// StallFields is the set that needs what was seen before of what waits to be sent.
func StallFields() FieldSet { return stallGroup }

// CongestionFields is the set that needs the name of the congestion control.
func CongestionFields() FieldSet { return congestGroup }

// MemoryFields is the set that needs the memory of sockets.
func MemoryFields() FieldSet { return memoryGroup }

// OwnerFields is the set that needs a look at /proc.
func OwnerFields() FieldSet { return ownerGroup }

// ContainerFields is the set of what a container engine says of the container of an owner.
func ContainerFields() FieldSet { return containerGroup }

// EngineFields is the set that needs a container engine.
func EngineFields() FieldSet { return engineGroup }

// PeerFields is the set that needs the other end of a connection.
func PeerFields() FieldSet { return peerGroup }

// ListenerFields is the set that needs the listeners of the namespace.
func ListenerFields() FieldSet { return listenerGroup }

// InterfaceFields is the set that needs the names of the namespace's interfaces.
func InterfaceFields() FieldSet { return interfaceGroup }
