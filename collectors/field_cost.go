package collectors

// Cost says what it takes to know a field: what a source or the engine has to do
// that it does not do for every record. Who asks for no field of a cost does not
// pay it.
type Cost uint8

// The costs. A field with a netlink extension of its own has a cost of its own,
// which package sockdiag knows (extensions in request.go).
const (
	costMissing    Cost = iota // nobody has thought of it: a test fails
	CostNone                   // every record has it
	CostInfo                   // struct tcp_info: the kernel takes the lock of each socket for it
	CostAge                    // struct tcp_info, and what was seen before
	CostInterfaces             // the names of the namespace's interfaces
	CostOwner                  // who holds the socket: a walk through /proc, or a program in the kernel
	CostFDs                    // who holds it, and how many descriptors the process has
	CostCgroup                 // who holds it, and the control groups of the process
	CostContainer              // who holds it, its control groups, and a question to the container engine
	CostListeners              // the listeners of the namespace
	costCount
)

// The groups of fields by their cost.
var (
	infoGroup      = fieldsOf(CostInfo, CostAge)
	ageGroup       = fieldsOf(CostAge)
	ownerGroup     = fieldsOf(CostOwner, CostFDs, CostCgroup, CostContainer)
	containerGroup = fieldsOf(CostContainer)
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

// OwnerFields is the set that needs a look at /proc.
func OwnerFields() FieldSet { return ownerGroup }

// ContainerFields is the set that needs a container engine.
func ContainerFields() FieldSet { return containerGroup }

// ListenerFields is the set that needs the listeners of the namespace.
func ListenerFields() FieldSet { return listenerGroup }

// InterfaceFields is the set that needs the names of the namespace's interfaces.
func InterfaceFields() FieldSet { return interfaceGroup }
