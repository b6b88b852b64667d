package collectors

import (
	"fmt"
	"strings"
)

// maxNamed is how many of several owners a message names.
const maxNamed = 3

// String names the process: NAME[PID]. Names are other people's text.
func (o *Owner) String() string { return fmt.Sprintf("%s[%d]", o.Name, o.PID) }

// InContainer names the container that the process is in: ENGINE:NAME, in a pod
// ENGINE:NAMESPACE/POD/NAME, container:ID with the first 12 digits where the name is not
// known, "" for none.
func (o *Owner) InContainer() string {
	const short = 12 // as docker ps has them
	switch {
	case o.Container == "":
		return ""
	case !o.Known.Has(FieldContainer) || o.ContainerName == "":
		return "container:" + o.Container[:min(short, len(o.Container))]
	case o.Pod != "": // the name is unique only in it
		return o.Engine + ":" + o.Pod + "/" + o.ContainerName
	}
	return o.Engine + ":" + o.ContainerName
}

// ContainerOf names the container that has a socket, by its owners; "" for none.
func ContainerOf(owners []Owner) string {
	for i := range owners {
		if text := owners[i].InContainer(); text != "" {
			return text
		}
	}
	return ""
}

// OwnerNames names several processes, the first of many and how many more there are.
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
