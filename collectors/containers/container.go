package containers

import (
	"net/netip"
	"time"

	"sockwarden/collectors/cgroup"
)

// Engine is what runs a container.
type Engine string

// The engines. CRI is that of a Kubernetes node, containerd or CRI-O.
const (
	Docker Engine = "docker"
	Podman Engine = "podman"
	CRI    Engine = "cri"
)

// Part is a set of what is known of a container. What is not known of one is not
// "none": a rule must not act on it.
type Part uint16

// The parts.
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

// Container is what an engine says of one. Its words are other people's: names are
// checked for their characters, everything for its length, and labels can come
// from whoever made the image.
type Container struct {
	// ID is that of the control group, 64 hex digits.
	ID string
	// Engine is what runs it, "" if nothing but the pod is known.
	Engine Engine
	// Source is the socket or file that said it.
	Source string
	// Known says which of the following are known.
	Known Part
	// Name is without a leading slash. In a pod it is unique only together with Pod.
	Name string
	// Pod is "NAMESPACE/NAME" of the Kubernetes pod, "" outside of one.
	Pod string
	// Image is what the container was made from, as whoever started it called it.
	Image string
	// ComposeService is the label of Compose, "" without one.
	ComposeService string
	// Labels are those that fit and hold no control characters.
	Labels map[string]string
	// Published are the ports of the host that lead into the container. Ranges are
	// one entry for each port.
	Published []Published
	// Addrs are the container's addresses in the networks of its engine; none with
	// host network, or in the namespace of another container.
	Addrs []netip.Addr
	// InitPID is the first process, as numbered where the engine runs; 0 if the
	// container does not run.
	InitPID int
	// StartedAt is the last start. It is zero where only InitPID is known.
	StartedAt time.Time
	// NetworkMode is "host", "bridge", "none", "container:ID", or a network's name.
	NetworkMode string
	// SandboxKey is the file on which the network namespace is mounted, in the
	// engine's mount namespace. It is "" in the namespace of another container.
	SandboxKey string
	// podUID is what CRI-O's name says.
	podUID string
}

// Has reports whether all of the parts are known.
func (c *Container) Has(p Part) bool { return c.Known&p == p }

// Published is a port of the host that leads into a container.
type Published struct {
	// Protocol is tcp, udp or sctp.
	Protocol string
	// Host is where the host listens; an address of zeros is every one.
	Host netip.AddrPort
	// Container is where it leads. The address is invalid if the container is in
	// several networks and so has several, or is in none.
	Container netip.AddrPort
}

// Ref names a container by what the control group of its processes says.
type Ref struct {
	// ID is the container's, 64 hex digits.
	ID string
	// PodUID is that of the Kubernetes pod, "" outside of one. An answer for another
	// pod is not believed, and what the host's disk says of the pod counts where the
	// container is unknown.
	PodUID string
}

// RefOf returns the reference that a path holds. ID is "" outside of a container.
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
