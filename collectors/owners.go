package collectors

import (
	"fmt"
	"strings"
)

// maxNamed is how many owners a message names at most.
const maxNamed = 3

// String names the process: NAME[PID]. Names are other people's text.
func (o *Owner) String() string { return fmt.Sprintf("%s[%d]", o.Name, o.PID) }

// InContainer names the container of the process: ENGINE:NAME, in a pod
// ENGINE:NAMESPACE/POD/NAME, container:ID with the first 12 digits if the name is
// unknown, "" for none.
func (o *Owner) InContainer() string {
	const short = 12 // as docker ps prints them
	switch {
	case o.Container == "":
		return ""
	case !o.Known.Has(FieldContainer) || o.ContainerName == "":
		return "container:" + o.Container[:min(short, len(o.Container))]
	case o.Pod != "": // the name is unique only within the pod
		return o.Engine + ":" + o.Pod + "/" + o.ContainerName
	}
	return o.Engine + ":" + o.ContainerName
}

// InService names the service of systemd that runs the process, "" for none: what a session
// or a container has started is in none that tells anything.
func (o *Owner) InService() string {
	if o.Container != "" || !o.Known.Has(FieldUnit) || !strings.HasSuffix(o.Unit, ".service") {
		return ""
	}
	return o.Unit
}

// ContainerOf names the container of a socket's owners, "" for none.
func ContainerOf(owners []Owner) string {
	for i := range owners {
		if text := owners[i].InContainer(); text != "" {
			return text
		}
	}
	return ""
}

// OwnerNames names the first few processes and says how many more there are.
func OwnerNames(owners []Owner) string {
	names := make([]string, min(len(owners), maxNamed))
	for i := range names {
		names[i] = owners[i].String()
	}
	text := strings.Join(names, ", ")
	if n := len(owners) - maxNamed; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
