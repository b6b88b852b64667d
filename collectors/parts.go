package collectors

// part is the part of a record that a field belongs to; it knows whether the field is
// known.
type part uint8

const (
	ofSocket part = iota
	ofFacts
	ofOwner
	// ofPlace needs no set of known fields: NewRecord sees whether the part is present.
	ofPlace
)

// Stand-ins for the parts that a record lacks. Nobody writes to them.
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

func cgroupOf(r *Record) string {
	if group := ownerOf(r).Cgroup; group != "" {
		return group
	}
	return factsOf(r).Cgroup
}

func listenerOf(r *Record) *Owner {
	if l := factsOf(r).ListenerOwner; l != nil {
		return l
	}
	return &noProcess
}

func peerOf(r *Record) *Owner {
	if p := factsOf(r).Peers; len(p) > 0 {
		return &p[0]
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

// Seconds converts the kernel's milliseconds to seconds.
func Seconds(ms uint32) float64 { return float64(ms) / 1000 }

func idleOf(r *Record, stamp func(*Socket) (uint32, bool)) float64 {
	ms, _ := stamp(r.Socket)
	return Seconds(ms)
}
