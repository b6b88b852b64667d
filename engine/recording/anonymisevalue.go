package recording

import (
	"net/netip"
	"path"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// Anonymiser replaces single values as Anonymise replaces those of a recording: random ones
// stand for addresses and names, and equal ones stay equal.
type Anonymiser struct{ own *anonymiser }

// NewAnonymiser returns one with a random map of its own.
func NewAnonymiser() *Anonymiser { return &Anonymiser{newAnonymiser()} }

// Value is what stands for a known value of a field (collectors.Value): the value itself if
// it names nothing. Of names of processes what the kernel keeps as comm stays.
func (a *Anonymiser) Value(f collectors.Field, v any) any {
	switch v := v.(type) {
	case netip.Addr:
		return a.own.addrs.of(v)
	case string:
		return a.text(f, v)
	}
	return v
}

// named are the fields whose values are names, with the sort that replaces them.
var named = map[collectors.Field]string{
	collectors.FieldContainer: "container", collectors.FieldPeerContainer: "container", collectors.FieldComposeService: "service",
	collectors.FieldPod: "pod", collectors.FieldImage: "image",
}

func (a *Anonymiser) text(f collectors.Field, v string) string {
	const comm = 15 // TASK_COMM_LEN without its NUL
	switch f {      //nolint:exhaustive // the others are words of the kernel's or of ours
	case collectors.FieldProcess, collectors.FieldListenerProcess, collectors.FieldPeerProcess:
		return v[:min(len(v), comm)]
	case collectors.FieldInterface:
		return a.except(v, "if", "lo")
	case collectors.FieldNetNS:
		return a.except(v, "netns", world.HostName)
	case collectors.FieldUser:
		return a.except(v, "user", "root")
	case collectors.FieldHost:
		return "host"
	case collectors.FieldCmdline:
		return ""
	case collectors.FieldExe:
		return a.own.exe(v)
	case collectors.FieldCgroup:
		return a.own.path(v)
	case collectors.FieldUnit:
		return a.own.unit(v)
	case collectors.FieldContainerID:
		return a.own.id(v)
	case collectors.FieldPublished:
		if end, err := netip.ParseAddrPort(v); err == nil {
			return endText(a.own.addrs.end(end))
		}
		return v
	}
	if sort, ok := named[f]; ok {
		return a.own.name(sort, v)
	}
	return v
}

// except is what stands for a name, but for one that everybody has.
func (a *Anonymiser) except(v, sort, common string) string {
	if v == common {
		return v
	}
	return a.own.name(sort, v)
}

// exe is what stands for the path of a program, whose base name stays.
func (a *anonymiser) exe(text string) string {
	if text == "" {
		return ""
	}
	return "/" + a.name("dir", path.Dir(text)) + "/" + path.Base(text)
}
