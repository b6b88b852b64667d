package actions

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Capability is a Linux capability (capabilities(7)).
type Capability struct {
	Name   string // such as CAP_KILL
	Number int    // its bit (include/uapi/linux/capability.h)
}

// The capabilities that actions need.
var (
	CapDACReadSearch = Capability{"CAP_DAC_READ_SEARCH", unix.CAP_DAC_READ_SEARCH}
	CapKill          = Capability{"CAP_KILL", unix.CAP_KILL}
	CapNetAdmin      = Capability{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}
	CapSysAdmin      = Capability{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN}
	CapSysPtrace     = Capability{"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE}
)

// Feature is something that not every kernel can do.
type Feature struct {
	Name         string // of the request or system call
	Major, Minor int    // the first Linux that has it
	Option       string // in the kernel's configuration, "" for none
}

// The kernel features that actions need.
var (
	SockDestroy = Feature{"SOCK_DESTROY", 4, 5, "CONFIG_INET_DIAG_DESTROY"}
	PidfdOpen   = Feature{"pidfd_open", 5, 3, ""}
	PidfdGetfd  = Feature{"pidfd_getfd", 5, 6, ""}
)

// String says which kernels have it.
func (f Feature) String() string {
	text := fmt.Sprintf("Linux %d.%d", f.Major, f.Minor)
	if f.Option != "" {
		text += " with " + f.Option
	}
	return text
}

// Need is one thing that an action needs from the host: a capability, a kernel feature,
// or what only Text describes. doctor finds out whether the first two are there, a
// Preflight can find out about anything.
type Need struct {
	Capability Capability
	Feature    Feature
	Text       string
	// For says which part of the action needs it, such as "for other users' processes" or
	// "to see what they hold"; "" for all of the action.
	For string
	// Use is what the action uses it for, such as "destroying sockets"; "" for its name.
	Use string
	// Elsewhere says that it is needed only for sockets in other network namespaces,
	// which without it are invisible anyway.
	Elsewhere bool
}

// what names the need.
func (n *Need) what() string {
	switch {
	case n.Capability.Name != "":
		return n.Capability.Name
	case n.Feature.Name != "":
		return n.Feature.String()
	}
	return n.Text
}

// NeedsText says, for people, what the action needs whatever its parameters.
func (p *Plugin) NeedsText() string {
	if len(p.Needs) == 0 {
		return "nothing"
	}
	var b strings.Builder
	for i := range p.Needs {
		n := &p.Needs[i]
		if i > 0 {
			b.WriteString(n.after(&p.Needs[i-1]))
		}
		b.WriteString(n.what())
		if last := i+1 == len(p.Needs) || n.after(&p.Needs[i+1]) != " and "; last && n.For != "" {
			b.WriteString(" " + n.For)
		}
	}
	return b.String()
}

// after is the separator between two needs: capabilities for the same thing belong
// together.
func (n *Need) after(other *Need) string {
	switch both := n.Capability.Name != "" && other.Capability.Name != ""; {
	case both && n.For == other.For:
		return " and "
	case both:
		return ", "
	}
	return "; "
}

// NeedsOf returns what the action needs with these parameters.
func (p *Plugin) NeedsOf(params map[string]any) []Need {
	if p.NeedsWith != nil {
		return p.NeedsWith(params)
	}
	return slices.Clone(p.Needs)
}
