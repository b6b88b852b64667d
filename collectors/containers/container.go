package containers

import (
	"net/netip"
	"time"

	"sockwarden/collectors/cgroup"
)

// Engine is what runs a container.
type Engine string

// The engines. CRI is that of a Kubernetes node: containerd or CRI-O.
const (
	Docker Engine = "docker"
	Podman Engine = "podman"
	CRI    Engine = "cri"
)

// Part is a set of known facts about a container. Unknown does not mean "none": a rule
// must not act on it.
type Part uint16

// The parts, each with the members of Container that it covers.
const (
	PartName    Part = 1 << iota // Name
	PartPod                      // Pod
	PartImage                    // Image
	PartLabels                   // Labels and ComposeService
	PartPorts                    // Published and Addrs
	PartInit                     // InitPID and StartedAt
	PartMode                     // NetworkMode
	PartSandbox                  // SandboxKey
)

// Container is what an engine says about one. Other people choose its words: we check the
// characters of names and the length of everything, and whoever made the image can choose
// its labels.
type Container struct {
	// ID is the id in the control group, 64 hex digits.
	ID string
	// Engine is what runs it, "" if only the pod is known.
	Engine Engine
	// Source is the socket or file that said so.
	Source string
	// Known says which of the following are known.
	Known Part
	// Name has no leading slash. In a pod it is unique only together with Pod.
	Name string
	// Pod is "NAMESPACE/NAME" of the Kubernetes pod, "" outside of one.
	Pod string
	// Image is the image as the user who started the container named it.
	Image string
	// ComposeService is the label of Compose, "" without one.
	ComposeService string
	// Labels are those of acceptable length and without control characters.
	Labels map[string]string
	// Published are the ports of the host that lead into the container, one entry for
	// each port of a range.
	Published []Published
	// Addrs are the container's addresses in its engine's networks. There are none with
	// host networking, or in the namespace of another container.
	Addrs []netip.Addr
	// InitPID is its first process, as numbered where the engine runs; 0 if it does not
	// run.
	InitPID int
	// StartedAt is when it last started. It is zero where only InitPID is known.
	StartedAt time.Time
	// NetworkMode is "host", "bridge", "none", "container:ID", or a network's name.
	NetworkMode string
	// SandboxKey is the file on which its network namespace is mounted, in the engine's
	// mount namespace. It is "" in the namespace of another container.
	SandboxKey string
	// podUID comes from CRI-O's name.
	podUID string
}

// Has reports whether all of the parts are known.
func (c *Container) Has(p Part) bool { return c.Known&p == p }

// Published is a port of the host that leads into a container.
type Published struct {
	// Protocol is tcp, udp or sctp.
	Protocol string
	// Host is where the host listens; an all-zero address means every address.
	Host netip.AddrPort
	// Container is where it leads. The address is invalid if the container is in no
	// network, or in several and so has several addresses.
	Container netip.AddrPort
}

// Ref names a container by the control group of its processes.
type Ref struct {
	// ID is the container id, 64 hex digits.
	ID string
	// PodUID is the UID of the Kubernetes pod, "" outside of one. We do not believe an
	// answer about another pod. Where the container is unknown, the host's disk may still
	// name the pod.
	PodUID string
}

// RefOf returns the reference in a path. ID is "" outside of a container.
func RefOf(p cgroup.Path) Ref { return Ref{ID: p.Container(), PodUID: p.Pod()} }

// idLen is the length of an id, in hex digits.
const idLen = 64

func isID(s string) bool {
	if len(s) != idLen {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}
